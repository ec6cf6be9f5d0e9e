"""Merchants' tickets: human review, correction, deletion."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.ticket import TicketItems, TicketStanding, TicketStandings
from hub.api.dependencies import HubOf, SignedParty, TokenBody, answer
from hub.api.described import about
from hub.idempotency import NO_STORE

router = APIRouter(prefix="/v1", tags=["tickets"])


@router.post("/merchants/tickets", **about(takes="merchant-ticket", gives=TicketStanding, status=201))
def open_ticket(hub: HubOf, token: TokenBody) -> Response:
    """Take a merchant's JWS `merchant-ticket`."""
    return _unkept(answer(hub.tickets.open(token), 201))


@router.post("/merchants/tickets/list", **about(takes="merchant-request", gives=TicketStandings))
def list_own(hub: HubOf, token: TokenBody) -> Response:
    """List a merchant's tickets and their answers, to a JWS `merchant-request` of its own."""
    return _unkept(answer(hub.tickets.of_merchant(hub.merchant_auth.check(token))))


@router.post("/merchants/tickets/close", **about(takes="ticket-closing", gives=TicketStanding))
def close_ticket(hub: HubOf, token: TokenBody) -> Response:
    """Close a ticket with the merchant's JWS `ticket-closing`."""
    return _unkept(answer(hub.tickets.close(token)))


@router.get("/tickets", **about(gives=TicketItems, caller="party"))
def list_tickets(hub: HubOf, party: SignedParty) -> Response:
    """List the tickets that the asking party must answer."""
    return _unkept(answer(hub.tickets.of_party(party.party_id)))


@router.post("/tickets/answers", **about(takes="ticket-answer", gives=(), status=204))
def answer_ticket(hub: HubOf, token: TokenBody) -> Response:
    """Take a party's JWS `ticket-answer`."""
    hub.tickets.answer(token)
    return Response(status_code=204)


def _unkept(response: Response) -> Response:
    response.headers["Cache-Control"] = NO_STORE
    return response
