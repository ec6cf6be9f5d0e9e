"""The platform's declarative base, and its whole schema.

It is another database than the hub's: neither holds a foreign key, nor a row, of the other.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, MetaData
from sqlalchemy.orm import DeclarativeBase

from hub.declarative import all_tables, named

Fen = BigInteger
"""Money: whole fen."""


class Base(DeclarativeBase):
    """Of the platform's database."""

    metadata = named()


def load_tables() -> MetaData:
    """Import every module of `hub.platform.tables` and return the metadata of all their tables."""
    return all_tables("hub.platform.tables", Base)
