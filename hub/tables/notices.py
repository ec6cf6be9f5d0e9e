"""Registered privacy notices; rows are never changed or deleted."""

from __future__ import annotations

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import LongText, Seconds
from hub.tables.base import Base


class NoticeRow(Base):
    """A version of a notice in both languages, and the statement that the hub signed about it."""

    __tablename__ = "notices"

    serial: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    notice: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    zh: Mapped[str] = mapped_column(LongText)
    en: Mapped[str] = mapped_column(LongText)
    zh_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    en_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    token: Mapped[str] = mapped_column(LongText)
    issued_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (Index("ix_notices_notice_version", "notice", "version", unique=True),)
