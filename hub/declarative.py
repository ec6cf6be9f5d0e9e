"""What all databases of ours declare alike: types for every database, names of constraints, finding the tables."""

from __future__ import annotations

import importlib
import pkgutil

from sqlalchemy import BigInteger, Integer, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

BigId: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit key; SQLite numbers rows by itself only in a plain INTEGER."""
Seconds = BigInteger
"""Whole seconds since 1970-01-01T00:00:00Z."""
PartyName = String(64)
Bytes = LargeBinary
LongText = Text


def named() -> MetaData:
    """Metadata that names constraints the same everywhere, so that migrations can find them."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def all_tables(package: str, base: type[DeclarativeBase]) -> MetaData:
    """Import every module of a package and return the metadata of all their tables."""
    found = importlib.import_module(package)
    for module in pkgutil.iter_modules(found.__path__, f"{package}."):
        importlib.import_module(module.name)
    return base.metadata
