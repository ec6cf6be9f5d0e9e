"""Scoring requests that were forwarded, by hash; their sealed answers only until they expire."""

from __future__ import annotations

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class QueryRow(Base):
    """A request. `log_ids` is JSON: the ids of its log entries, one an item; `result` is JSON of answers so far."""

    __tablename__ = "queries"

    request_hash: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    requester: Mapped[str] = mapped_column(PartyName)
    nonce: Mapped[bytes] = mapped_column(Bytes)
    expires_at: Mapped[int] = mapped_column(Seconds, index=True)
    log_ids: Mapped[str] = mapped_column(LongText)
    result: Mapped[str | None] = mapped_column(LongText)

    __table_args__ = (Index("ix_queries_requester_nonce", "requester", "nonce", unique=True),)
