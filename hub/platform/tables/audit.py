"""The platform's audit record; rows are never changed or deleted."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, Seconds
from hub.platform.tables.base import Base


class AuditRow(Base):
    """An entry: its canonical JSON, and the columns that it is found by."""

    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(Seconds)
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(160))
    entry: Mapped[str] = mapped_column(LongText)
    hash: Mapped[bytes] = mapped_column(Bytes)

    __table_args__ = (Index("ix_audit_subject", "subject"), Index("ix_audit_action", "action"))
