"""What the node received under consents, and what it stated about deleting it."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class ReceivedRow(NodeTableBase):
    """A consent under which this node received an answer that it has not stated the deletion of."""

    __tablename__ = "received"

    record_id: Mapped[str] = mapped_column(primary_key=True)
    keep_until: Mapped[int] = mapped_column(index=True)
    """Of the newest answer."""


class DeletionRow(NodeTableBase):
    """A deletion. It is written with the deletion itself; the statement follows once the bytes are gone from disk."""

    __tablename__ = "deletions"

    deletion_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str]
    counts: Mapped[str]
    """JSON: kind → number."""
    salt: Mapped[bytes]
    deleted_at: Mapped[int]
    statement: Mapped[str | None]
    sent: Mapped[bool] = mapped_column(index=True)
