"""The merchant's own account, as the platform has it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.merchants import RegisterOf
from hub.platform.merchant_book import MerchantBook, PastVersion
from hub.platform.merchants import Merchant, differences
from hub.platform.people import Member
from hub.platform.web import words
from hub.platform.web.facts_form import FactsForm, form_of, keep_facts
from hub.platform.web.merchant_parts import MERCHANTS, Owner
from models.said import Said, said
from models.web.listing import Moment, Term
from models.web.pages import NavItem, PagesOf
from models.web.signin_pages import Text

router = APIRouter(prefix="/merchant", include_in_schema=False)
NAV = (NavItem("My business", "/merchant", MERCHANTS, 10),)


@router.get("")
def read_account(request: Request, owner: Owner, register: RegisterOf, pages: PagesOf, changed: str = "") -> Response:
    """Show one's own account and how it came to be what it is."""
    return _page(request, register, pages, owner, changed=changed == "yes")


@router.post("/change")
def change(
    request: Request,
    owner: Owner,
    register: RegisterOf,
    pages: PagesOf,
    version: Text = "",
    name: Text = "",
    industry: Text = "",
    place: Text = "",
) -> Response:
    """Change one's own name, industry and place of business."""
    before = register.merchant(owner.party).facts
    facts = replace(before, name=name.strip(), industry=industry, place=place)
    read = int(version) if version.isascii() and version.isdigit() and len(version) < 9 else 0
    refused = keep_facts(request, pages, register, owner.actor, owner.party, FactsForm(facts, read))
    if refused is not None:
        return _page(request, register, pages, owner, form=refused)
    return RedirectResponse("/merchant?changed=yes", 303)


def _page(
    request: Request,
    register: MerchantBook,
    pages: PagesOf,
    owner: Member,
    *,
    form: FactsForm | None = None,
    changed: bool = False,
) -> Response:
    merchant = register.merchant(owner.party)
    form = form or form_of(merchant)
    return pages.render(
        request,
        "merchant/account.html.j2",
        form.status,
        anew="/merchant",
        merchant=merchant,
        facts=facts_shown(merchant),
        history=history_shown(register.history(owner.party)),
        form=form,
        industries=[(code, words.industry(code)) for code in register.industries.of(merchant.facts.kind)],
        places=words.place_options(merchant.facts.place),
        changed=changed,
    )


def facts_shown(merchant: Merchant) -> list[tuple[str, object]]:
    """A merchant's facts as pairs of names and cells."""
    facts = merchant.facts
    return [
        (words.FACTS["state"], words.ACCOUNTS[merchant.state]),
        *((words.FACTS[name], words.fact(facts, name)) for name in ("kind", "industry", "origin", "place")),
        ("Registered", Moment(merchant.registered_at)),
        ("Account", merchant.account_id),
    ]


def history_shown(past: list[PastVersion]) -> list[dict[str, Any]]:
    """Each version as an event of a time line: what changed, and by whom."""
    shown: list[dict[str, Any]] = []
    for number, each in enumerate(past):
        before = past[number - 1].merchant if number else None
        if before is None:
            title: Said | str = "Account opened"
        elif before.state != each.merchant.state:
            title = "Account ended"
        else:
            changed = sorted(differences(before.facts, each.merchant.facts))
            title = said(
                "Changed: {facts}",
                facts=said(
                    " · ".join(f"{{{name}}}" for name in changed), **{name: said(words.FACTS[name]) for name in changed}
                ),
            )
        shown.append({"at": each.at, "title": title, "detail": Term(words.who(each.actor)), "tone": "info"})
    return shown
