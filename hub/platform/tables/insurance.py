"""Policies of insurance as their insurers reported them. Amounts are fen."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Date, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, PartyName, Seconds
from hub.platform.tables.base import Base, Fen


class PolicyRow(Base):
    """A policy; `ended_on` is the first day without cover, where it ended before its time."""

    __tablename__ = "insurance_policies"

    number: Mapped[int] = mapped_column(BigId, primary_key=True)
    policy_id: Mapped[str] = mapped_column(String(32))
    insurer: Mapped[str] = mapped_column(PartyName)
    reference: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[str] = mapped_column(String(32))
    covers: Mapped[str] = mapped_column(String(100))
    sum_insured_fen: Mapped[int] = mapped_column(Fen)
    premium_fen: Mapped[int] = mapped_column(Fen)
    since: Mapped[date] = mapped_column(Date)
    until: Mapped[date] = mapped_column(Date)
    ended_on: Mapped[date | None] = mapped_column(Date)
    cause: Mapped[str | None] = mapped_column(String(16))
    reported_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (
        UniqueConstraint("policy_id"),
        UniqueConstraint("insurer", "reference"),
        Index("ix_insurance_policies_account_id", "account_id"),
    )
