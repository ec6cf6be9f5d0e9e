"""The operator's desk: a merchant's facts changed. Kind and home county are here alone: they decide who is eligible."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.merchants import RegisterOf
from hub.platform.merchant_book import MerchantBook
from hub.platform.merchants import Facts
from hub.platform.people import Member
from hub.platform.web import words
from hub.platform.web.facts_form import FactsForm, form_of, keep_facts
from hub.platform.web.members import people_of
from hub.platform.web.operator_register import AccountId, Keeper, Text
from hub.platform.web.regulator_merchants import account_shown
from models.web.pages import Pages, PagesOf

router = APIRouter(prefix="/operator/merchants/{account_id}/change", include_in_schema=False)


@router.get("")
def read_form(
    request: Request, member: Keeper, register: RegisterOf, pages: PagesOf, account_id: AccountId
) -> Response:
    """Show the form with the facts as they are; the look is written down."""
    return _page(request, pages, register, member, account_id)


@router.post("")
def change(
    request: Request,
    member: Keeper,
    register: RegisterOf,
    pages: PagesOf,
    account_id: AccountId,
    version: Annotated[int, Form(ge=1)],
    name: Text = "",
    kind: Text = "",
    industry: Text = "",
    origin: Text = "",
    place: Text = "",
) -> Response:
    """Change facts, all or none; MerchantUnknownError where there is no such account."""
    facts = Facts(kind, name.strip(), industry, origin, place.strip())
    refused = keep_facts(request, pages, register, member.actor, account_id, FactsForm(facts, version))
    if refused is not None:
        return _page(request, pages, register, member, account_id, refused)
    return RedirectResponse(f"/operator/merchants/{account_id}?changed=yes", 303)


def _page(
    request: Request,
    pages: Pages,
    register: MerchantBook,
    member: Member,
    account_id: str,
    form: FactsForm | None = None,
) -> Response:
    merchant = register.merchant(account_id)
    people_of(request).access.looks.record(member.person, "account", account_id)
    form = form or form_of(merchant)
    return pages.render(
        request,
        "operator/change.html.j2",
        form.status,
        merchant=merchant,
        facts=account_shown(merchant),
        form=form,
        kinds=list(words.KINDS.items()),
        industries=words.industry_options(register.industries, merchant.facts.industry),
        counties=list(words.COUNTIES.items()),
    )
