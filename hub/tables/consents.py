"""Consents as their merchants signed them, and the events that changed their state."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class ConsentRow(Base):
    """A consent. `payload_sha256` identifies it: an ES256 signature can be altered into another valid one.

    `state_time` is the event time of the change that led to `state`; `sources` is JSON, party by kind;
    `notice` is `crypto.notices.notice_key` of the text that was shown.
    """

    __tablename__ = "consents"

    record_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    pseudonym: Mapped[bytes] = mapped_column(Bytes, index=True)
    payload_sha256: Mapped[bytes] = mapped_column(Bytes)
    token: Mapped[str] = mapped_column(LongText)
    key_id: Mapped[int] = mapped_column(BigId, ForeignKey("merchant_keys.id"))
    state: Mapped[str] = mapped_column(String(16))
    state_time: Mapped[int] = mapped_column(Seconds)
    training: Mapped[bool] = mapped_column(Boolean)
    sources: Mapped[str] = mapped_column(LongText)
    notice: Mapped[str] = mapped_column(String(128))
    event_time: Mapped[int] = mapped_column(Seconds)
    valid_from: Mapped[int] = mapped_column(Seconds)
    valid_until: Mapped[int] = mapped_column(Seconds)
    received_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (Index("ix_consents_training_state", "training", "state"),)


class ConsentPartyRow(Base):
    """A party that a consent names, as source, recipient or both."""

    __tablename__ = "consent_parties"

    record_id: Mapped[str] = mapped_column(String(32), ForeignKey("consents.record_id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)


class ConsentEventRow(Base):
    """A signed change of state, in order of receipt."""

    __tablename__ = "consent_events"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    event_id: Mapped[str] = mapped_column(String(32), unique=True)
    record_id: Mapped[str] = mapped_column(String(32), ForeignKey("consents.record_id"), index=True)
    payload_sha256: Mapped[bytes] = mapped_column(Bytes)
    event: Mapped[str] = mapped_column(String(16))
    token: Mapped[str] = mapped_column(LongText)
    key_id: Mapped[int] = mapped_column(BigId, ForeignKey("merchant_keys.id"))
    event_time: Mapped[int] = mapped_column(Seconds)
    received_at: Mapped[int] = mapped_column(Seconds)
