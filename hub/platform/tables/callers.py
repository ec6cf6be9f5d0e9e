"""Who may call the platform's API, and what was answered to which call."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, LongText, PartyName, Seconds
from hub.platform.tables.base import Base


class ApiKeyRow(Base):
    """A key of a caller's software; the key itself is not kept."""

    __tablename__ = "api_keys"

    key_sha256: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    key_id: Mapped[str] = mapped_column(String(16), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    party: Mapped[str] = mapped_column(PartyName)
    made_at: Mapped[int] = mapped_column(Seconds)
    revoked_at: Mapped[int | None] = mapped_column(Seconds)


class AnsweredCallRow(Base):
    """A call that changed something, by its Idempotency-Key, and its answer."""

    __tablename__ = "answered_calls"

    scope: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    body_sha256: Mapped[bytes] = mapped_column(Bytes)
    status: Mapped[int] = mapped_column(Integer)
    answer: Mapped[str] = mapped_column(LongText)
    at: Mapped[int] = mapped_column(Seconds, index=True)
