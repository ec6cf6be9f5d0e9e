"""The declarative base that all tables of the node's store share."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class NodeTableBase(DeclarativeBase):
    """Base of every table of a node's store."""


class AttemptStateColumns:
    """The protocol state of an attempt, as `crypto.attempts` writes it; `phase` and `progress` are the state's, for
    comparing."""

    attempt: Mapped[str] = mapped_column(primary_key=True)
    phase: Mapped[str]
    progress: Mapped[int]
    state: Mapped[bytes]
