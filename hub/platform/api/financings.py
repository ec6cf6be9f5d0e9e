"""Financings: orders of banks' core systems, and how they stand."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from hub.platform.api.dependencies import BankOf, CallerOf, ChangeOf, PlatformOf, takes
from hub.platform.callers import Caller
from hub.platform.financing_book import PAGE, Standing
from hub.platform.financing_orders import Orders
from hub.platform.financing_scores import ShownScore
from hub.platform.financing_states import State

router = APIRouter(prefix="/v1/financings", tags=["financings"])
FinancingId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class FinancingLine(BaseModel):
    """A financing as it stands; amounts in fen, `annual_rate` in millionths, days in Asia/Shanghai."""

    financing_id: str
    reference: str
    account_id: str
    bank: str
    product_id: str
    product_version: int
    state: State
    version: int
    amount_fen: int
    annual_rate: int
    term_months: int
    applied_on: date
    contracted_on: date | None
    disbursed_on: date | None
    ended_on: date | None
    outstanding_fen: int
    arrears_fen: int
    overdue_days: int


class DueLine(BaseModel):
    """An instalment."""

    due_on: date
    principal_fen: int
    interest_fen: int


class PaidLine(BaseModel):
    """A payment."""

    paid_on: date
    principal_fen: int
    interest_fen: int
    payment: str


class FinancingDetail(FinancingLine):
    """With its plan and payments."""

    plan: list[DueLine]
    repayments: list[PaidLine]


class FinancingList(BaseModel):
    """Financings in order of their identifiers; `next` is the `after` of the next page, or null."""

    financings: list[FinancingLine]
    next: str | None


class Executed(BaseModel):
    """What each order left its financing as, in order of the orders."""

    financings: list[FinancingLine]


@router.post("/orders", openapi_extra=takes(Orders), response_model=Executed)
def execute(change: ChangeOf) -> Response:
    """Carry out up to 500 orders on the calling bank's financings, in their order: all of them, or none."""
    bank = change.caller.one_of("bank")
    orders, platform = change.parsed(Orders).orders, change.platform
    today = platform.lending.today()
    return change.once(
        lambda session: Executed(
            financings=[
                _line(each, today) for each in platform.financings.within(session, bank.party, bank.actor, orders)
            ]
        )
    )


@router.get("")
def list_financings(
    platform: PlatformOf,
    caller: CallerOf,
    state: State | None = None,
    after: Annotated[str, Query(pattern=r"^[0-9a-f]{0,32}$")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
) -> FinancingList:
    """List financings: a bank its own; the programme office, operators and the regulator all."""
    found = platform.financings.page(bank=_whose(caller), state=state, after_id=after, limit=limit)
    today = platform.lending.today()
    return FinancingList(
        financings=[_line(each, today) for each in found],
        next=found[-1].financing.financing_id if len(found) == limit else None,
    )


@router.get("/{financing_id}")
def read_financing(platform: PlatformOf, caller: CallerOf, financing_id: FinancingId) -> FinancingDetail:
    """Return a financing with its plan and payments."""
    found = platform.financings.get(financing_id, bank=_whose(caller))
    financing = found.financing
    return FinancingDetail(
        **dict(_line(found, platform.lending.today())),
        plan=[
            DueLine(due_on=each.due_on, principal_fen=each.principal_fen, interest_fen=each.interest_fen)
            for each in financing.plan
        ],
        repayments=[
            PaidLine(
                paid_on=each.paid_on,
                principal_fen=each.principal_fen,
                interest_fen=each.interest_fen,
                payment=each.reference,
            )
            for each in financing.repayments
        ],
    )


@router.get("/{financing_id}/score", responses={403: {"description": "No consent (any more)"}})
def read_score(platform: PlatformOf, bank: BankOf, financing_id: FinancingId) -> ShownScore:
    """Return the consented score of an application that waits for the bank's decision; each look is written down."""
    found = platform.financings.get(financing_id, bank=bank.party)
    with platform.db.reading() as session:
        borrower = platform.merchants.borrower(session, found.financing.account_id)
    return platform.scores.show(financing_id, bank.party, borrower, actor=bank.actor)


def _whose(caller: Caller) -> str | None:
    """The bank whose financings a caller may see; None for all of them, ForbiddenError for none."""
    caller.one_of("bank", "government", "operator", "regulator")
    return caller.party if caller.kind == "bank" else None


def _line(standing: Standing, today: date) -> FinancingLine:
    financing = standing.financing
    return FinancingLine(
        financing_id=financing.financing_id,
        reference=standing.reference,
        account_id=financing.account_id,
        bank=financing.bank,
        product_id=financing.product_id,
        product_version=financing.product_version,
        state=financing.state,
        version=financing.version,
        amount_fen=financing.amount_fen,
        annual_rate=financing.annual_rate,
        term_months=financing.term_months,
        applied_on=financing.applied_on,
        contracted_on=financing.contracted_on,
        disbursed_on=financing.disbursed_on,
        ended_on=financing.ended_on,
        outstanding_fen=financing.outstanding_fen,
        arrears_fen=financing.arrears_fen(today),
        overdue_days=financing.overdue_days(today),
    )
