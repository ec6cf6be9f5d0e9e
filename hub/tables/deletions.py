"""Nodes' signed statements about data that they deleted."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class DeletionRow(Base):
    """A statement with the salt that opens which consent it is about."""

    __tablename__ = "deletions"

    deletion_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    record_id: Mapped[str] = mapped_column(String(32), ForeignKey("consents.record_id"), index=True)
    party_id: Mapped[str] = mapped_column(PartyName)
    payload_sha256: Mapped[bytes] = mapped_column(Bytes)
    salt: Mapped[bytes] = mapped_column(Bytes)
    token: Mapped[str] = mapped_column(LongText)
    received_at: Mapped[int] = mapped_column(Seconds)
