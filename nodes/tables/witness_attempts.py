"""The witness's record of every attempt it cosigned."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import AttemptStateColumns, NodeTableBase


class WitnessAttemptRow(AttemptStateColumns, NodeTableBase):
    """One attempt: its state (with seeds, for supervised audit), terms and which node holds which position."""

    __tablename__ = "witness_attempts"

    campaign_id: Mapped[str] = mapped_column(index=True)
    key: Mapped[bytes | None]
    """The X25519 key of the attempt; erased when it ends."""
    terms: Mapped[str]
    positions: Mapped[bytes]
    """uint32 positions of all nodes in order of the roster, each preceded by their number."""
