"""Reports of programme statistics as the hub published them and the platform's own node verified them."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, LongText, Seconds
from hub.platform.tables.base import Base


class StatisticsRow(Base):
    """One report, by the campaign that opened its counts; never changed."""

    __tablename__ = "programme_statistics"

    number: Mapped[int] = mapped_column(BigId, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(String(128), unique=True)
    year: Mapped[int] = mapped_column(Integer)
    document: Mapped[str] = mapped_column(LongText)
    sha256: Mapped[str] = mapped_column(String(64))
    taken_at: Mapped[int] = mapped_column(Seconds)
