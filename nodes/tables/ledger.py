"""What the node sent under which manifest, and what each send was charged."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class SentRow(NodeTableBase):
    """One send: the exact bytes and its charge, written before the bytes leave. Rows are never deleted."""

    __tablename__ = "ledger_sent"

    attempt: Mapped[str] = mapped_column(primary_key=True)
    campaign_id: Mapped[str] = mapped_column(index=True)
    h: Mapped[bytes]
    payload: Mapped[bytes]
    sha256: Mapped[bytes]
    mechanisms: Mapped[str]
    """Canonical JSON of the campaign's mechanisms, all kinds and stages."""
    delta_sum: Mapped[float]
    """δ that this send's noise shares use up as they are no exact discrete Gaussian."""
    sent_at: Mapped[int]
    """Seconds since 1970, for the owner's eyes only."""
    refunded: Mapped[bool] = mapped_column(default=False)
