"""How many identifiers each party had evaluated, and the nonces of its recent requests."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, PartyName, Seconds
from hub.tables.base import Base


class VoprfUseRow(Base):
    """Evaluations in all, per party and key holder; never reset."""

    __tablename__ = "voprf_use"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    target: Mapped[str] = mapped_column(String(16), primary_key=True)
    used: Mapped[int] = mapped_column(Integer)


class VoprfNonceRow(Base):
    """A nonce, kept as long as its request could be sent again."""

    __tablename__ = "voprf_nonces"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    nonce: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    issued_at: Mapped[int] = mapped_column(Seconds, index=True)
