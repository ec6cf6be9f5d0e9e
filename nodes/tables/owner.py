"""Whose store this is."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class OwnerRow(NodeTableBase):
    """One row: the party that opened the store first. Two parties must not share one ledger."""

    __tablename__ = "owner"

    id: Mapped[int] = mapped_column(primary_key=True)
    party_id: Mapped[str]
