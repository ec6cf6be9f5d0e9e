"""What the desks' pages count and list: financings, merchants and the money of programmes, read in few queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeAlias

from sqlalchemy import Select, func, or_, select

from hub.db import Database
from hub.platform.tables.lending import FinancingRow
from hub.platform.tables.merchants import MerchantRow
from hub.platform.tables.subsidies import GrantRow, GrantYearRow

FinancingOrder: TypeAlias = Literal["applied_on", "amount_fen", "annual_rate", "reference"]


@dataclass(frozen=True)
class FinancingLine:
    """A financing in a list; amounts in fen, `annual_rate` in millionths."""

    financing_id: str
    bank: str
    reference: str
    account_id: str
    product_id: str
    product_version: int
    state: str
    amount_fen: int
    annual_rate: int
    term_months: int
    applied_on: date


@dataclass(frozen=True)
class MerchantCount:
    """How many accounts there are from a county, of a kind, in a state."""

    origin: str
    kind: str
    state: str
    merchants: int


@dataclass(frozen=True)
class YearMoney:
    """Fen of a programme in a calendar year: set aside in all, and what of it was accrued."""

    year: int
    aside_fen: int
    accrued_fen: int


class Overviews:
    """Reads; nothing here changes anything."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def financings(
        self,
        *,
        bank: str,
        state: str | None = None,
        text: str = "",
        by: FinancingOrder = "applied_on",
        descending: bool = True,
        offset: int = 0,
        limit: int = 50,
    ) -> tuple[int, list[FinancingLine]]:
        """Return how many of a bank's financings match, and one page of them.

        Args:
            text: the beginning of a reference, or a whole account; all where it is empty.
        """
        query: Select[Any] = select(FinancingRow).where(FinancingRow.bank == bank)
        if state is not None:
            query = query.where(FinancingRow.state == state)
        if text:
            query = query.where(
                or_(FinancingRow.reference.startswith(text, autoescape=True), FinancingRow.account_id == text)
            )
        column = getattr(FinancingRow, by)
        order = column.desc() if descending else column.asc()
        with self._db.reading() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            page = query.order_by(order, FinancingRow.financing_id).offset(offset).limit(limit)
            return total, [_line(row) for row in session.scalars(page)]

    def financing_states(self, bank: str) -> Mapping[str, int]:
        """How many of a bank's financings are in each state; states without any are left out."""
        query = select(FinancingRow.state, func.count()).where(FinancingRow.bank == bank).group_by(FinancingRow.state)
        with self._db.reading() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def merchants(self) -> list[MerchantCount]:
        """Count accounts by county, kind and state, in this order."""
        keys = (MerchantRow.origin, MerchantRow.kind, MerchantRow.state)
        query = select(*keys, func.count()).group_by(*keys).order_by(*keys)
        with self._db.reading() as session:
            return [MerchantCount(*row) for row in session.execute(query)]

    def programme_years(self, programme: str) -> list[YearMoney]:
        """Return a programme's money by calendar year, the first one first."""
        query = (
            select(GrantYearRow.year, func.sum(GrantYearRow.aside_fen), func.sum(GrantYearRow.accrued_fen))
            .join(GrantRow, GrantRow.number == GrantYearRow.number)
            .where(GrantRow.programme == programme)
            .group_by(GrantYearRow.year)
            .order_by(GrantYearRow.year)
        )
        with self._db.reading() as session:
            return [YearMoney(row[0], int(row[1]), int(row[2])) for row in session.execute(query)]

    def grant_states(self, programme: str) -> Mapping[str, int]:
        """How many of a programme's grants are in each state."""
        query = select(GrantRow.state, func.count()).where(GrantRow.programme == programme).group_by(GrantRow.state)
        with self._db.reading() as session:
            return {row[0]: row[1] for row in session.execute(query)}


def _line(row: FinancingRow) -> FinancingLine:
    return FinancingLine(
        financing_id=row.financing_id,
        bank=row.bank,
        reference=row.reference,
        account_id=row.account_id,
        product_id=row.product_id,
        product_version=row.product_version,
        state=row.state,
        amount_fen=row.amount_fen,
        annual_rate=row.annual_rate,
        term_months=row.term_months,
        applied_on=row.applied_on,
    )
