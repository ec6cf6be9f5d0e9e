"""Merchants' accounts and their history. Identifiers are sealed; a keyed digest finds them. No pseudonym is here."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, LongText, Seconds
from hub.platform.tables.base import Base

_ID = String(32)


class MerchantRow(Base):
    """An account as it stands; `version` counts its changes."""

    __tablename__ = "merchants"

    account_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    id_type: Mapped[str] = mapped_column(String(16))
    identifier_digest: Mapped[bytes] = mapped_column(Bytes, unique=True)
    """Of the canonical identifier, under the platform's own key."""
    identifier_sealed: Mapped[bytes] = mapped_column(Bytes)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(100))
    industry: Mapped[str] = mapped_column(String(4))
    origin: Mapped[str] = mapped_column(String(6))
    place: Mapped[str] = mapped_column(String(6))
    state: Mapped[str] = mapped_column(String(16))
    merged_into: Mapped[str | None] = mapped_column(_ID)
    registered_at: Mapped[int] = mapped_column(Seconds)
    version: Mapped[int] = mapped_column(Integer)

    __table_args__ = (Index("ix_merchants_origin_kind", "origin", "kind"),)


class MerchantVersionRow(Base):
    """An account as it stood after a change; never changed."""

    __tablename__ = "merchant_versions"

    account_id: Mapped[str] = mapped_column(ForeignKey("merchants.account_id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(Seconds)
    actor: Mapped[str] = mapped_column(String(128))
    account: Mapped[str] = mapped_column(LongText)
