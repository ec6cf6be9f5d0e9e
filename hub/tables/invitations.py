"""Invitations of merchants, with the keys that they offered."""

from __future__ import annotations

from sqlalchemy import Boolean, Index
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class InvitationRow(Base):
    """An invitation by the hash of its one-time token. `token` is the inviter's JWS, `offer` the merchant's."""

    __tablename__ = "invitations"

    token_sha256: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName)
    pseudonym: Mapped[bytes] = mapped_column(Bytes)
    replaces: Mapped[bool] = mapped_column(Boolean)
    token: Mapped[str] = mapped_column(LongText)
    expires_at: Mapped[int] = mapped_column(Seconds)
    created_at: Mapped[int] = mapped_column(Seconds)
    offer: Mapped[str | None] = mapped_column(LongText)
    offered_at: Mapped[int | None] = mapped_column(Seconds)

    __table_args__ = (Index("ix_invitations_party_pseudonym", "party_id", "pseudonym"),)
