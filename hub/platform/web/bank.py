"""A bank's desk: its own products with their reach, merchants with an offer of its own, events not delivered.

Everything goes by the bank that the person acts for; nothing of another bank's is ever read.
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.financing_orders import financing_id_of
from hub.platform.lending_errors import ProductUnknownError, ReachUnknownError
from hub.platform.overviews import Overviews
from hub.platform.people import Member
from hub.platform.products import Published
from hub.platform.reach import Reach
from hub.platform.services import Platform
from hub.platform.web import lending_words, words
from hub.platform.web.members import of_party
from hub.platform.webhook_box import Event
from models.i18n import Language
from models.said import Said, said
from models.web.language import language_of_reader
from models.web.listing import Cell, Column, Ident, Link, Moment, arrange
from models.web.pages import NavItem, PagesOf
from models.web.rights import Right, Role

router = APIRouter(prefix="/bank", include_in_schema=False)
BankMember = Annotated[Member, of_party(Right.BANK_DESK)]
BANKS = frozenset({Role.BANK.value})
NAV = (
    NavItem("Overview", "/bank", BANKS, 10),
    NavItem("Products", "/bank/products", BANKS, 20),
    NavItem("Merchants with an offer", "/bank/offers", BANKS, 30),
    NavItem("Financings", "/bank/financings", BANKS, 40),
    NavItem("Events not delivered", "/bank/events", BANKS, 50),
)
_EVENTS = 500
EventId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


@router.get("")
def read_overview(request: Request, member: BankMember, platform: PlatformOf, pages: PagesOf) -> Response:
    """Show how the bank's business on the platform stands, in a few figures."""
    states = Overviews(platform.db).financing_states(member.party)
    dead = len(platform.events.events(bank=member.party, state="dead", limit=_EVENTS))
    figures = [
        {"name": "Products on offer today", "value": _on_offer(platform, member.party)},
        {"name": "Events not delivered", "value": dead},
        {"name": "Financings in all", "value": sum(states.values())},
    ]
    by_state = [(name, state, states[name]) for name, state in words.FINANCINGS.items() if name in states]
    return pages.render(
        request, "bank/overview.html.j2", bank=member.party, figures=figures, by_state=by_state, dead=dead
    )


@router.get("/products")
def read_products(request: Request, member: BankMember, platform: PlatformOf, pages: PagesOf) -> Response:
    """List the bank's products, each in its newest version, with its reach."""
    language, today = language_of_reader(request), platform.lending.today()
    columns = (
        Column[Published]("product", "Product", lambda each: _product_link(each, language), key=_product_id),
        Column[Published]("version", "Version", lambda each: each.version, numeric=True),
        Column[Published]("amount", "Amount", lambda each: lending_words.yuan_span(each.terms.amount_fen)),
        Column[Published]("rate", "Yearly rate", lambda each: lending_words.rate_span(each.terms.annual_rate)),
        Column[Published]("reach", "Merchants it would reach", lambda each: _reach_cell(platform, each), numeric=True),
        Column[Published]("offer", "On offer today", lambda each: each.terms.on_offer(today)),
    )
    found = platform.products.newest(bank=member.party)
    return pages.render(request, "bank/products.html.j2", listing=arrange(found, columns, request.query_params))


@router.get("/products/{product_id}")
def read_product(
    request: Request,
    member: BankMember,
    platform: PlatformOf,
    pages: PagesOf,
    product_id: Annotated[str, Path(max_length=64)],
) -> Response:
    """Show one product: terms, reach, and every version; ProductUnknownError where the bank has none such."""
    versions = platform.products.versions(member.party, product_id)
    if not versions:
        raise ProductUnknownError(
            "The bank has no such product.", field="product_id", remedy="Choose one from the list of products."
        )
    newest, language = versions[-1], language_of_reader(request)
    reach = _reach_of(platform, newest)
    return pages.render(
        request,
        "bank/product.html.j2",
        title=lending_words.in_language(newest.terms.title, language),
        summary=lending_words.in_language(newest.terms.summary, language),
        facts=_terms_shown(newest),
        reach=reach,
        unsegmented=None
        if reach is None
        else lending_words.listed([said(lending_words.UNSEGMENTED[each]) for each in reach.unsegmented]),
        versions=[
            (
                each.version,
                lending_words.yuan_span(each.terms.amount_fen),
                lending_words.rate_span(each.terms.annual_rate),
                lending_words.day(each.terms.on_offer_from),
                lending_words.day(each.terms.on_offer_until),
                Ident(each.sha256),
            )
            for each in reversed(versions)
        ],
    )


@router.get("/offers")
def read_offers(
    request: Request,
    member: BankMember,
    platform: PlatformOf,
    pages: PagesOf,
    after: Annotated[str, Query(pattern=r"^[0-9a-f]{0,32}$")] = "",
) -> Response:
    """List merchants that allowed offers of this bank and have one, and no others."""
    found = platform.offers.offers_of(member.party, after=after)
    rows: list[tuple[Cell, ...]] = [
        (
            each.account_id,
            Link(each.product_id, f"/bank/products/{each.product_id}"),
            each.product_version,
            words.OFFERS[each.state],
            lending_words.day(each.made_on),
            lending_words.day(each.valid_until),
            _application_link(member.party, each.offer_id) if each.state == "accepted" else None,
        )
        for each in found.offers
    ]
    return pages.render(request, "bank/offers.html.j2", rows=rows, following=found.next, first=not after)


@router.get("/events")
def read_events(request: Request, member: BankMember, platform: PlatformOf, pages: PagesOf, done: str = "") -> Response:
    """List events whose delivery to the bank's core system was given up."""
    columns = (
        Column[Event]("kind", "Event", _kind_of, key=_kind_of),
        Column[Event]("made", "Written", lambda each: Moment(each.made_at), key=lambda each: each.made_at),
        Column[Event]("tries", "Tries", lambda each: each.tries, numeric=True),
        Column[Event]("failure", "Last failure", lambda each: each.last_failure),
        Column[Event]("retry", "Try again", lambda _each: None),
    )
    dead = platform.events.events(bank=member.party, state="dead", limit=_EVENTS)
    return pages.render(
        request, "bank/events.html.j2", listing=arrange(dead, columns, request.query_params), retried=done == "retried"
    )


@router.post("/events/{event_id}/retry")
def retry_event(member: BankMember, platform: PlatformOf, event_id: EventId) -> Response:
    """Have an event that was given up tried again at once; WebhookUnknownError where it is none of the bank's."""
    platform.events.retry(event_id, bank=member.party)
    return RedirectResponse("/bank/events?done=retried", 303)


def _on_offer(platform: Platform, bank: str) -> int:
    return len(platform.products.newest(bank=bank, on=platform.lending.today()))


def _product_id(published: Published) -> str:
    return published.terms.product_id


def _product_link(published: Published, language: Language) -> Link:
    terms = published.terms
    return Link(lending_words.in_language(terms.title, language), f"/bank/products/{terms.product_id}")


def _application_link(bank: str, offer_id: str) -> Ident:
    name = financing_id_of(bank, f"offer-{offer_id}")
    return Ident(name, f"/bank/financings/{name}")


def _reach_of(platform: Platform, published: Published) -> Reach | None:
    """Reach by the newest published table; None where the platform has none."""
    try:
        return platform.products.reach(published.terms)
    except ReachUnknownError:
        return None


def _reach_cell(platform: Platform, published: Published) -> Said | None:
    reach = _reach_of(platform, published)
    if reach is None:
        return None
    shown = {"merchants": f"{reach.merchants:,}", "low": f"{reach.low:,}", "high": f"{reach.high:,}"}
    if reach.unsegmented:
        return said("at most {merchants} ({low}–{high})", **shown)
    return said("{merchants} ({low}–{high})", **shown)


def _terms_shown(published: Published) -> list[tuple[str, Cell]]:
    terms, rule = published.terms, published.terms.rule
    everywhere = said("everywhere")
    return [
        ("Product", terms.product_id),
        ("Version", published.version),
        ("Amount", lending_words.yuan_span(terms.amount_fen)),
        ("Term in months", f"{terms.term_months.least} – {terms.term_months.most}"),
        ("Yearly rate", lending_words.rate_span(terms.annual_rate)),
        ("Security", said(words.GUARANTEES[terms.guarantee])),
        ("Repayment", said(words.REPAYMENTS[terms.repayment])),
        ("Kinds of merchants", lending_words.listed([said(words.KINDS[each]) for each in rule.kinds])),
        ("Home counties", lending_words.listed([words.county(each) for each in rule.origins]) or everywhere),
        ("Places of business", lending_words.listed([words.place(each) for each in rule.places]) or everywhere),
        ("Bands of the score", " · ".join(rule.bands)),
        ("On offer from", lending_words.day(terms.on_offer_from)),
        ("On offer until", lending_words.day(terms.on_offer_until)),
    ]


def _kind_of(event: Event) -> str:
    return str(json.loads(event.body).get("kind", ""))
