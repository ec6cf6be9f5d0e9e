"""Programmes of subsidies in versions, grants with what is set aside for them, and what was accrued."""

from __future__ import annotations

from datetime import date

from sqlalchemy import CheckConstraint, Date, ForeignKey, ForeignKeyConstraint, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, LongText, Seconds
from hub.platform.tables.base import Base, Fen

_ID = String(32)
_NAME = String(64)


class ProgrammeRow(Base):
    """A published version of a programme's rule; never changed."""

    __tablename__ = "subsidy_programmes"

    programme: Mapped[str] = mapped_column(_NAME, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rule: Mapped[str] = mapped_column(LongText)
    sha256: Mapped[str] = mapped_column(String(64))
    published_at: Mapped[int] = mapped_column(Seconds)


class GrantRow(Base):
    """The subsidy of a loan or a policy under a version of a programme; `accrued_until` is not yet looked at."""

    __tablename__ = "subsidy_grants"

    number: Mapped[int] = mapped_column(BigId, primary_key=True)
    programme: Mapped[str] = mapped_column(_NAME)
    version: Mapped[int] = mapped_column(Integer)
    financing_id: Mapped[str | None] = mapped_column(ForeignKey("financings.financing_id"))
    policy_id: Mapped[str | None] = mapped_column(ForeignKey("insurance_policies.policy_id"))
    account_id: Mapped[str] = mapped_column(_ID)
    state: Mapped[str] = mapped_column(String(16))
    granted_on: Mapped[date] = mapped_column(Date)
    accrued_until: Mapped[date | None] = mapped_column(Date)

    __table_args__ = (
        ForeignKeyConstraint(["programme", "version"], ["subsidy_programmes.programme", "subsidy_programmes.version"]),
        UniqueConstraint("programme", "financing_id", name="uq_subsidy_grants_programme"),
        UniqueConstraint("programme", "policy_id", name="uq_subsidy_grants_policy"),
        CheckConstraint("(financing_id IS NULL) <> (policy_id IS NULL)", name="one_thing"),
        Index("ix_subsidy_grants_financing_id", "financing_id"),
        Index("ix_subsidy_grants_policy_id", "policy_id"),
        Index("ix_subsidy_grants_account_id", "account_id"),
        Index("ix_subsidy_grants_programme_state", "programme", "state"),
    )


class GrantYearRow(Base):
    """What is set aside for a grant in a calendar year, and what of it was accrued."""

    __tablename__ = "subsidy_grant_years"

    number: Mapped[int] = mapped_column(ForeignKey("subsidy_grants.number"), primary_key=True)
    year: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    aside_fen: Mapped[int] = mapped_column(Fen)
    accrued_fen: Mapped[int] = mapped_column(Fen)


class AccrualRow(Base):
    """A booking; never changed. Negative where a payment became known late, or the subsidy was taken back."""

    __tablename__ = "subsidy_accruals"

    entry: Mapped[int] = mapped_column(BigId, primary_key=True)
    number: Mapped[int] = mapped_column(ForeignKey("subsidy_grants.number"))
    year: Mapped[int] = mapped_column(Integer)
    until: Mapped[date] = mapped_column(Date)
    fen: Mapped[int] = mapped_column(Fen)
    booked_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (Index("ix_subsidy_accruals_number", "number"),)
