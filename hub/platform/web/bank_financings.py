"""A bank's own financings: by state, each with its time line from the record, and its score while it may be seen."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Annotated, get_args

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.audit import Entry
from hub.platform.errors import PlatformError
from hub.platform.financing_book import Standing
from hub.platform.financing_scores import ShownScore
from hub.platform.financing_states import State
from hub.platform.overviews import FinancingLine, FinancingOrder, Overviews
from hub.platform.people import Member
from hub.platform.services import Platform
from hub.platform.web import lending_words, words
from hub.platform.web.bank import BankMember
from hub.platform.web.members import people_of
from models.web.listing import PAGE_SIZE, Cell, Choice, Column, Ident, Link, Listing, ListQuery, read_query
from models.web.pages import Pages, PagesOf
from models.web.problems import problem_of

router = APIRouter(prefix="/bank/financings", include_in_schema=False)
FinancingId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")]
_SCORED = frozenset({State.SCORED, State.OFFERED})
"""States in which the bank may see the consented score."""
_ENTRIES = 500
COLUMNS = (
    Column[FinancingLine](
        "reference",
        "Reference",
        lambda each: Link(each.reference, f"/bank/financings/{each.financing_id}"),
        key=lambda each: each.reference,
    ),
    Column[FinancingLine]("state", "State", lambda each: words.FINANCINGS[each.state]),
    Column[FinancingLine]("account", "Account", lambda each: Ident(each.account_id)),
    Column[FinancingLine](
        "product", "Product", lambda each: Link(each.product_id, f"/bank/products/{each.product_id}")
    ),
    Column[FinancingLine](
        "amount_fen",
        "Amount",
        lambda each: words.yuan(each.amount_fen),
        key=lambda each: each.amount_fen,
        numeric=True,
        first="desc",
    ),
    Column[FinancingLine](
        "annual_rate",
        "Yearly rate",
        lambda each: lending_words.loan_rate(each.annual_rate),
        key=lambda each: each.annual_rate,
        numeric=True,
    ),
    Column[FinancingLine](
        "applied_on",
        "Applied on",
        lambda each: lending_words.day(each.applied_on),
        key=lambda each: each.applied_on,
        first="desc",
    ),
)
STATES = Choice("state", "State", tuple((name, state.name) for name, state in words.FINANCINGS.items()))


@router.get("")
def read_financings(request: Request, member: BankMember, platform: PlatformOf, pages: PagesOf) -> Response:
    """List the bank's financings, the newest application first; searched by reference or account."""
    query = read_query(request.query_params, COLUMNS, (STATES,))
    total, rows = _found(platform, member.party, query)
    if total and not rows:  # past the end: the last page
        query = replace(query, page=ceil(total / PAGE_SIZE))
        total, rows = _found(platform, member.party, query)
    of = sum(Overviews(platform.db).financing_states(member.party).values())
    listing = Listing(COLUMNS, rows, query, total=total, of=of, choices=(STATES,))
    return pages.render(request, "bank/financings.html.j2", listing=listing)


@router.get("/{financing_id}")
def read_financing(
    request: Request, member: BankMember, platform: PlatformOf, pages: PagesOf, financing_id: FinancingId
) -> Response:
    """Show one financing of the bank's; the look is written down. FinancingUnknownError where it is another's."""
    standing = platform.financings.get(financing_id, bank=member.party)
    people_of(request).access.looks.record(member.person, "financing", standing.financing.account_id)
    return _page(request, pages, platform, standing, None)


@router.post("/{financing_id}/score")
def read_score(
    request: Request, member: BankMember, platform: PlatformOf, pages: PagesOf, financing_id: FinancingId
) -> Response:
    """Show the consented score once; a form, so that nothing but a press looks at it. Each look is written down."""
    standing = platform.financings.get(financing_id, bank=member.party)
    try:
        shown = _score(platform, standing, member)
    except PlatformError as refused:
        return _page(request, pages, platform, standing, refused)
    people_of(request).access.looks.record(member.person, "score", standing.financing.account_id)
    return _page(request, pages, platform, standing, shown)


def _found(platform: Platform, bank: str, query: ListQuery) -> tuple[int, list[FinancingLine]]:
    by: dict[str, FinancingOrder] = {name: name for name in get_args(FinancingOrder)}
    return Overviews(platform.db).financings(
        bank=bank,
        state=query.chosen.get("state"),
        text=query.q,
        by=by.get(query.sort, "applied_on"),
        descending=query.dir == "desc" if query.sort else True,
        offset=(query.page - 1) * PAGE_SIZE,
        limit=PAGE_SIZE,
    )


def _score(platform: Platform, standing: Standing, member: Member) -> ShownScore:
    financing = standing.financing
    with platform.db.reading() as session:
        borrower = platform.merchants.borrower(session, financing.account_id)
    return platform.scores.show(financing.financing_id, member.party, borrower, actor=member.actor)


def _page(
    request: Request, pages: Pages, platform: Platform, standing: Standing, score: ShownScore | PlatformError | None
) -> Response:
    financing, today = standing.financing, platform.lending.today()
    refused = score if isinstance(score, PlatformError) else None
    return pages.render(
        request,
        "bank/financing.html.j2",
        200 if refused is None else refused.status,
        anew=f"/bank/financings/{financing.financing_id}",
        reference=standing.reference,
        own=f"/bank/financings/{financing.financing_id}",
        facts=_facts(standing),
        money=[
            {"name": "Outstanding principal", "value": words.yuan(financing.outstanding_fen)},
            {"name": "Arrears", "value": words.yuan(financing.arrears_fen(today))},
            {"name": "Days overdue", "value": financing.overdue_days(today)},
        ],
        paid_out=financing.disbursed_on is not None,
        plan=[
            (each.due_on.isoformat(), words.yuan(each.principal_fen), words.yuan(each.interest_fen))
            for each in financing.plan
        ],
        payments=[
            (each.paid_on.isoformat(), words.yuan(each.principal_fen), words.yuan(each.interest_fen), each.reference)
            for each in financing.repayments
        ],
        history=[lending_words.event_of(each) for each in _history(platform, financing.financing_id)],
        may_see_score=financing.state in _SCORED,
        score=score if isinstance(score, ShownScore) else None,
        problem=None if refused is None else problem_of(pages, request, refused),
    )


def _history(platform: Platform, financing_id: str) -> list[Entry]:
    return platform.audit.entries(subject=financing_id, limit=_ENTRIES)


def _facts(standing: Standing) -> list[tuple[str, Cell]]:
    financing = standing.financing
    return [
        ("State", words.FINANCINGS[financing.state.value]),
        ("Account", financing.account_id),
        ("Product", Link(financing.product_id, f"/bank/products/{financing.product_id}")),
        ("Version of the product", financing.product_version),
        ("Amount", words.yuan(financing.amount_fen)),
        ("Yearly rate", lending_words.loan_rate(financing.annual_rate)),
        ("Term", lending_words.months(financing.term_months)),
        ("Applied on", lending_words.day(financing.applied_on)),
        ("Contract of", lending_words.day(financing.contracted_on)),
        ("Paid out on", lending_words.day(financing.disbursed_on)),
        ("Ended on", lending_words.day(financing.ended_on)),
    ]
