"""Products, financings with their plans and payments, and offers to merchants. Amounts are fen, rates millionths."""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger, Date, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, LongText, PartyName, Seconds
from hub.platform.tables.base import Base

_ID = String(32)
_STATE = String(16)


class ProductRow(Base):
    """A published version of a product; never changed, and deleted never."""

    __tablename__ = "products"

    bank: Mapped[str] = mapped_column(PartyName, primary_key=True)
    product_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    terms: Mapped[str] = mapped_column(LongText)
    sha256: Mapped[str] = mapped_column(String(64))
    published_at: Mapped[int] = mapped_column(Seconds)


class ReachTableRow(Base):
    """A published table of noisy counts; the newest is used."""

    __tablename__ = "reach_tables"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    model_id: Mapped[str] = mapped_column(String(71))
    document: Mapped[str] = mapped_column(LongText)
    taken_at: Mapped[int] = mapped_column(Seconds)


class FinancingRow(Base):
    """A financing as it stands; `version` counts its changes."""

    __tablename__ = "financings"

    financing_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    account_id: Mapped[str] = mapped_column(_ID)
    bank: Mapped[str] = mapped_column(PartyName)
    reference: Mapped[str] = mapped_column(String(64))
    product_id: Mapped[str] = mapped_column(String(64))
    product_version: Mapped[int] = mapped_column(Integer)
    amount_fen: Mapped[int] = mapped_column(BigInteger)
    annual_rate: Mapped[int] = mapped_column(Integer)
    term_months: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(_STATE)
    applied_on: Mapped[date] = mapped_column(Date)
    contracted_on: Mapped[date | None] = mapped_column(Date)
    disbursed_on: Mapped[date | None] = mapped_column(Date)
    ended_on: Mapped[date | None] = mapped_column(Date)
    version: Mapped[int] = mapped_column(Integer)
    applied_sha256: Mapped[str] = mapped_column(String(64))
    """Of the application as it came, so that another under the same reference is told apart."""

    __table_args__ = (
        UniqueConstraint("bank", "reference"),
        Index("ix_financings_account_id", "account_id"),
        Index("ix_financings_bank_state", "bank", "state"),
    )


class InstalmentRow(Base):
    """What is due on a day."""

    __tablename__ = "instalments"

    financing_id: Mapped[str] = mapped_column(ForeignKey("financings.financing_id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    due_on: Mapped[date] = mapped_column(Date)
    principal_fen: Mapped[int] = mapped_column(BigInteger)
    interest_fen: Mapped[int] = mapped_column(BigInteger)


class RepaymentRow(Base):
    """A payment that came in; never changed."""

    __tablename__ = "repayments"

    financing_id: Mapped[str] = mapped_column(ForeignKey("financings.financing_id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    paid_on: Mapped[date] = mapped_column(Date)
    principal_fen: Mapped[int] = mapped_column(BigInteger)
    interest_fen: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str] = mapped_column(String(64))

    __table_args__ = (UniqueConstraint("financing_id", "reference"),)


class ScoreRow(Base):
    """A consented score for an application; deleted once the bank has decided, or `keep_until` is over."""

    __tablename__ = "financing_scores"

    financing_id: Mapped[str] = mapped_column(ForeignKey("financings.financing_id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(_ID)
    """Of the consent that was asked for at the platform's gateway."""
    answer: Mapped[str | None] = mapped_column(LongText)
    """None until the merchant has consented and the score has come."""
    keep_until: Mapped[int] = mapped_column(Seconds)


class AllowanceRow(Base):
    """A merchant's word on whether a bank may learn that it meets the bank's rules; the newest counts."""

    __tablename__ = "allowances"

    number: Mapped[int] = mapped_column(BigId, primary_key=True)
    request_id: Mapped[str] = mapped_column(_ID, unique=True)
    account_id: Mapped[str] = mapped_column(_ID)
    bank: Mapped[str] = mapped_column(PartyName)
    state: Mapped[str] = mapped_column(_STATE)
    link: Mapped[str] = mapped_column(LongText)
    asked_at: Mapped[int] = mapped_column(Seconds)
    changed_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (Index("ix_allowances_account_id_bank", "account_id", "bank"),)


class OfferRow(Base):
    """An offer of a product that a merchant was found to be eligible for, and what it said to it."""

    __tablename__ = "offers"

    offer_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    account_id: Mapped[str] = mapped_column(_ID)
    bank: Mapped[str] = mapped_column(PartyName)
    product_id: Mapped[str] = mapped_column(String(64))
    product_version: Mapped[int] = mapped_column(Integer)
    request_id: Mapped[str] = mapped_column(ForeignKey("allowances.request_id"))
    state: Mapped[str] = mapped_column(_STATE)
    made_on: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)

    __table_args__ = (
        Index("ix_offers_account_id", "account_id"),
        Index("ix_offers_bank_state", "bank", "state"),
    )
