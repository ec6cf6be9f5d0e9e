"""The hub's declarative base, and its whole schema."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from hub.declarative import all_tables, named


class Base(DeclarativeBase):
    """Of the hub's database."""

    metadata = named()


def load_tables() -> MetaData:
    """Import every module of `hub.tables` and return the metadata of all their tables."""
    return all_tables("hub.tables", Base)
