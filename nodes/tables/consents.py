"""Consents that name this node, the merchants' keys they were verified with, and their events."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class ConsentRow(NodeTableBase):
    """One consent, verified at receipt. The token is exact; the other columns are taken from it to be searched."""

    __tablename__ = "consents"

    record_id: Mapped[str] = mapped_column(primary_key=True)
    pseudonym: Mapped[bytes] = mapped_column(index=True)
    token: Mapped[str]
    sources: Mapped[str]
    """JSON: kind → party."""
    notice: Mapped[str]
    """`crypto.notices.notice_key` of the text that was shown."""
    training: Mapped[bool]
    """It has the purpose `model-training` and names this node as a source."""
    event_time: Mapped[int]
    valid_from: Mapped[int]
    valid_until: Mapped[int]
    state: Mapped[str]
    """`given`, or the last event that counts."""
    state_time: Mapped[int]


class ConsentEventRow(NodeTableBase):
    """An event that was taken, once."""

    __tablename__ = "consent_events"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    record_id: Mapped[str] = mapped_column(index=True)
    event: Mapped[str]
    event_time: Mapped[int]
    token: Mapped[str]


class MerchantKeyRow(NodeTableBase):
    """The newest key that a merchant is known to have, of a statement that was verified: an older one signs nothing."""

    __tablename__ = "merchant_keys"

    pseudonym: Mapped[bytes] = mapped_column(primary_key=True)
    issued_at: Mapped[int]
    jwk: Mapped[str]
    """JSON."""
