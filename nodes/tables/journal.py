"""The node's own log."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class JournalRow(NodeTableBase):
    """One entry and the hash of all entries so far. Rows are never changed or deleted."""

    __tablename__ = "journal"

    seq: Mapped[int] = mapped_column(primary_key=True)
    entry: Mapped[bytes]
    """Canonical JSON."""
    hash: Mapped[bytes]
    request_hash: Mapped[bytes | None] = mapped_column(index=True)
