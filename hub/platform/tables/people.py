"""People of the platform's pages, whom each of them acts for, their sessions, and the record of who looked at what."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import PartyName
from hub.platform.tables.base import Base
from models.web.tables import access_tables

ACCESS = access_tables(Base.metadata)


class MembershipRow(Base):
    """Whom a person acts for."""

    __tablename__ = "memberships"

    person_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    party: Mapped[str] = mapped_column(PartyName, index=True)
    """The bank's id, the office's or authority's name, an operator's own name, or a merchant's account."""
