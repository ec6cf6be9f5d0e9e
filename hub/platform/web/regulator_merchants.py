"""Merchants as the regulator reads them: accounts and their history, with neither name nor identifier."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from hub.platform.api.merchants import RegisterOf
from hub.platform.merchant_book import MAX_PAGE
from hub.platform.merchants import Merchant
from hub.platform.web import words
from hub.platform.web.members import people_of
from hub.platform.web.merchant import history_shown
from hub.platform.web.regulator import Regulator
from models.web.listing import Cell, Ident, Moment, Term
from models.web.pages import PagesOf

router = APIRouter(prefix="/regulator/merchants", include_in_schema=False)
AccountId = Annotated[str, Path(pattern=r"^[0-9a-z]{1,32}$")]


@router.get("")
def read_merchants(
    request: Request,
    _member: Regulator,
    register: RegisterOf,
    pages: PagesOf,
    after: Annotated[str, Query(pattern=r"^[0-9a-z]{0,32}$")] = "",
    origin: Annotated[str, Query(max_length=6)] = "",
    kind: Annotated[str, Query(max_length=16)] = "",
) -> Response:
    """List accounts, up to 500 at a time."""
    found = register.listed(after=after, origin=origin or None, kind=kind or None)
    return pages.render(
        request,
        "regulator/merchants.html.j2",
        rows=[_row(each) for each in found],
        counties=list(words.COUNTIES.items()),
        kinds=list(words.KINDS.items()),
        origin=origin,
        kind=kind,
        following=found[-1].account_id if len(found) == MAX_PAGE else None,
        first=not after,
    )


@router.get("/{account_id}")
def read_history(
    request: Request, member: Regulator, register: RegisterOf, pages: PagesOf, account_id: AccountId
) -> Response:
    """Show an account as it stood after each change; the look is written down."""
    merchant, past = register.merchant(account_id), register.history(account_id)
    people_of(request).access.looks.record(member.person, "account", account_id)
    return pages.render(
        request,
        "regulator/merchant.html.j2",
        merchant=merchant,
        facts=account_shown(merchant),
        history=history_shown(past),
    )


def account_shown(merchant: Merchant) -> list[tuple[str, object]]:
    """An account's facts without the name; where it was merged, into which."""
    into = merchant.merged_into
    return [
        ("Account", merchant.account_id),
        (words.FACTS["state"], words.ACCOUNTS[merchant.state]),
        *((words.FACTS[each], words.fact(merchant.facts, each)) for each in ("kind", "industry", "origin", "place")),
        ("Registered", Moment(merchant.registered_at)),
        ("Version", merchant.version),
        *((("Merged into", into),) if into is not None else ()),
    ]


def _row(merchant: Merchant) -> tuple[Cell, ...]:
    facts = merchant.facts
    return (
        Ident(merchant.account_id, f"/regulator/merchants/{merchant.account_id}"),
        words.ACCOUNTS[merchant.state],
        Term(words.KINDS.get(facts.kind, facts.kind)),
        words.county(facts.origin),
        words.place(facts.place),
        Moment(merchant.registered_at),
    )
