"""Merchants who ask for an account, until somebody has decided; what they wrote is sealed, and deleted then."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, Seconds
from hub.platform.tables.base import Base


class RegistrationRow(Base):
    """Somebody's application; anybody can type an identifier, so it is no account."""

    __tablename__ = "registrations"

    number: Mapped[str] = mapped_column(String(16), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    asked_at: Mapped[int] = mapped_column(Seconds)
    sealed: Mapped[bytes | None] = mapped_column(Bytes)
    """None once it was decided, or its time is over."""
    decided_at: Mapped[int | None] = mapped_column(Seconds)
    account_id: Mapped[str | None] = mapped_column(String(32))
