"""The merchant's pages. There is no account: the key in the merchant's browser is its identity (docs/protocol.md, 2).

A page itself says nothing about anybody. What is the merchant's own comes to it as a part, a file or a count, each for
a `merchant-request` that the browser signed for this one time; who asks is who signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from hub.api.dependencies import HubOf, TokenBody, answer
from hub.services import Hub
from hub.web import merchant_views as views
from hub.web.merchant_delivery import Deliveries
from hub.web.merchant_proposals import proposal, proposals_of
from hub.web.merchant_receipt import receipt_view
from hub.web.merchant_tickets import help_of
from models.web.pages import NavItem, Pages

router = APIRouter(prefix="/merchant", tags=["merchant pages"], include_in_schema=False)
NAV = (
    NavItem("Requests to answer", "/merchant/requests", order=10),
    NavItem("My consents", "/merchant/consents", order=20),
    NavItem("Queries about me", "/merchant/queries", order=30),
    NavItem("My rights", "/merchant/help", order=40),
    NavItem("My own record", "/merchant/record", order=50),
    NavItem("My key", "/merchant/keys", order=60),
)
PAGES = {
    "join": "join",
    "requests": "page",
    "consent": "consent",
    "consents": "page",
    "queries": "page",
    "keys": "keys-page",
    "help": "help",
    "record": "page",
    "receipt": "page",
    "counter": "counter",
}
"""Page → the module that brings it to life."""
_NO_STORE = {"Cache-Control": "no-store"}

RecordId = Annotated[str, Query(pattern=r"^[a-f0-9]{32}$")]


def pages_of(request: Request) -> Pages:
    """Return the pages of the application."""
    pages: Pages = request.app.state.pages
    return pages


PagesOf = Annotated[Pages, Depends(pages_of)]


def merchant_of(hub: HubOf, token: TokenBody) -> bytes:
    """Return the pseudonym of the merchant who signed this very question."""
    return hub.merchant_auth.check(token)


Merchant = Annotated[bytes, Depends(merchant_of)]


@router.get("")
def read_home(request: Request, pages: PagesOf) -> Response:
    """Show where to go."""
    return pages.render(request, "merchant/home.html.j2", script="page")


def _page(name: str) -> Callable[[Request, PagesOf], Response]:
    def read(request: Request, pages: PagesOf) -> Response:
        return pages.render(request, f"merchant/{name}.html.j2", script=PAGES[name])

    read.__doc__ = f"Show the page {name}, which says nothing about anybody."
    return read


for _name in PAGES:
    router.add_api_route(f"/{_name}", _page(_name), methods=["GET"], name=f"merchant-{_name}")


@router.post("/views/consents")
def show_consents(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant) -> Response:
    """Show the merchant's consents."""
    records = hub.merchant_records.of(merchant)
    return pages.render(request, "merchant/consents.part.j2", consents=views.consents_of(records, _parties(hub)))


@router.post("/views/requests")
def show_requests(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant) -> Response:
    """Show what parties ask the merchant's consent for."""
    received = hub.consent_requests.of_merchant(merchant)
    found = proposals_of(received, _parties(hub))
    return pages.render(request, "merchant/requests.part.j2", proposals=found)


@router.post("/views/request")
def show_request(
    request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant, wanted: Annotated[str, Query(alias="request")]
) -> Response:
    """Show one request with all that is to be ticked."""
    each = proposal(hub.consent_requests.of_merchant(merchant), wanted, _parties(hub))
    return pages.render(request, "merchant/request.part.j2", each=each, notice=hub.notices.shown(each.notice_sha256))


@router.post("/views/queries")
def show_queries(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant) -> Response:
    """Show the queries about the merchant."""
    records = hub.merchant_records.of(merchant)
    return pages.render(request, "merchant/queries.part.j2", queries=views.queries_of(records, _parties(hub)))


@router.post("/views/keys")
def show_keys(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant) -> Response:
    """Show the keys that are enrolled for the merchant."""
    records = hub.merchant_records.of(merchant)
    return pages.render(request, "merchant/keys.part.j2", keys=views.keys_of(records, _parties(hub)))


@router.post("/views/help")
def show_help(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant) -> Response:
    """Show whom the merchant can ask for what, and its tickets so far."""
    records, standings = hub.merchant_records.of(merchant), hub.tickets.of_merchant(merchant)
    return pages.render(request, "merchant/help.part.j2", help=help_of(records, standings, _parties(hub)))


@router.post("/views/record")
def show_record(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant) -> Response:
    """Show all that is kept about the merchant, as it prints."""
    records = hub.merchant_records.of(merchant)
    return pages.render(request, "merchant/record.part.j2", printed=views.printed(records, _parties(hub)))


@router.post("/views/receipt")
def show_receipt(request: Request, hub: HubOf, pages: PagesOf, merchant: Merchant, record: RecordId) -> Response:
    """Show the receipt of one consent in the fields of ISO/IEC TS 27560."""
    found = hub.record_receipts.of_own(record, pseudonym=merchant)
    return pages.render(request, "merchant/receipt.part.j2", receipt=receipt_view(found, _parties(hub)))


@router.post("/files/receipt")
def save_receipt(hub: HubOf, merchant: Merchant, record: RecordId) -> Response:
    """Give the receipt of one consent as a file that verifies offline."""
    response = answer(hub.record_receipts.of_own(record, pseudonym=merchant))
    response.headers.update(_NO_STORE)
    return response


@router.post("/files/record")
def save_record(hub: HubOf, merchant: Merchant) -> Response:
    """Give all that is kept about the merchant, as a file."""
    return JSONResponse(views.readable(hub.merchant_records.of(merchant)), headers=_NO_STORE)


@router.post("/delivery")
def count_delivery(hub: HubOf, merchant: Merchant, record: RecordId) -> Response:
    """Say how many of a consent's parties hold its last change."""
    deliveries = Deliveries(hub.db, hub.consents, hub.link_view.acknowledged)
    response = answer(deliveries.of(merchant, record))
    response.headers.update(_NO_STORE)
    return response


def _parties(hub: Hub) -> views.Parties:
    return views.Parties(hub.parties.all())
