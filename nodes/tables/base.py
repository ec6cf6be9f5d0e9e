"""The declarative base that all tables of the node's store share."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase


class NodeTableBase(DeclarativeBase):
    """Base of every table of a node's store."""
