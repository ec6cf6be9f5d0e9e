"""Consents that parties ask merchants for."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class ConsentRequestRow(Base):
    """A request as its party signed it. `state` is open, signed, refused or withdrawn; expiry follows from its date."""

    __tablename__ = "consent_requests"

    request_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, index=True)
    pseudonym: Mapped[bytes] = mapped_column(Bytes, index=True)
    payload_sha256: Mapped[bytes] = mapped_column(Bytes)
    token: Mapped[str] = mapped_column(LongText)
    state: Mapped[str] = mapped_column(String(16))
    answer_by: Mapped[int] = mapped_column(Seconds)
    created_at: Mapped[int] = mapped_column(Seconds)
    refusal: Mapped[str | None] = mapped_column(LongText)
    ended_at: Mapped[int | None] = mapped_column(Seconds)
