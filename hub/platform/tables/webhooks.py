"""Where banks want to be told of events, and what waits to be delivered there."""

from __future__ import annotations

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, LongText, PartyName, Seconds
from hub.platform.tables.base import Base


class WebhookEventRow(Base):
    """An event for one bank, written with the change that it tells of."""

    __tablename__ = "webhook_events"

    number: Mapped[int] = mapped_column(BigId, primary_key=True)
    event_id: Mapped[str] = mapped_column(String(32), unique=True)
    """Stays the same however often it is sent: what the bank has seen it leaves aside."""
    bank: Mapped[str] = mapped_column(PartyName)
    body: Mapped[str] = mapped_column(LongText)
    state: Mapped[str] = mapped_column(String(16))
    tries: Mapped[int] = mapped_column(Integer)
    made_at: Mapped[int] = mapped_column(Seconds)
    due_at: Mapped[int] = mapped_column(Seconds)
    last_failure: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (
        Index("ix_webhook_events_state_due_at", "state", "due_at"),
        Index("ix_webhook_events_bank_state", "bank", "state"),
    )
