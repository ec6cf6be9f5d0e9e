"""Merchants' tickets and their answers; their texts are sealed to others than the hub."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class TicketRow(Base):
    """A ticket as its merchant signed it, and the party's signed answer."""

    __tablename__ = "tickets"

    ticket_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    pseudonym: Mapped[bytes] = mapped_column(Bytes, index=True)
    party_id: Mapped[str] = mapped_column(PartyName, index=True)
    payload_sha256: Mapped[bytes] = mapped_column(Bytes)
    token: Mapped[str] = mapped_column(LongText)
    key_id: Mapped[int] = mapped_column(BigId, ForeignKey("merchant_keys.id"))
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(Seconds)
    due_at: Mapped[int] = mapped_column(Seconds)
    answer: Mapped[str | None] = mapped_column(LongText)
    answered_at: Mapped[int | None] = mapped_column(Seconds)
    closed_at: Mapped[int | None] = mapped_column(Seconds)
