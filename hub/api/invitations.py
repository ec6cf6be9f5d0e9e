"""Merchants invited by a party, and the keys that they bring."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from crypto.wire.invitation import (
    InvitationQuestion,
    InvitationReceipt,
    InvitationStanding,
    KeyOfferReceipt,
    OfferedKeys,
)
from hub.api.dependencies import HubOf, RawBody, SignedParty, TokenBody, answer, parse
from hub.api.described import about
from hub.idempotency import NO_STORE

router = APIRouter(prefix="/v1/invitations", tags=["merchants"])


@router.post("", **about(takes="invitation", gives=InvitationReceipt, status=201))
def invite(hub: HubOf, token: TokenBody) -> Response:
    """Invite a merchant with a JWS `invitation`; the reply says where its link leads."""
    return answer(hub.invitations.invite(token), 201)


@router.post("/key", **about(takes="merchant-key-offer", gives=KeyOfferReceipt, status=201))
def offer_key(request: Request, hub: HubOf, token: TokenBody) -> Response:
    """Bring a merchant's new public key with a JWS `merchant-key-offer` by that key."""
    return _unkept(answer(hub.invitations.offer(token, address=_address(request)), 201))


@router.post("/state", **about(takes=InvitationQuestion, gives=InvitationStanding))
def read_state(request: Request, hub: HubOf, body: RawBody) -> Response:
    """Say where an invitation stands, to whoever has its token."""
    question = parse(body, InvitationQuestion)
    return _unkept(answer(hub.invitations.standing(question.token_sha256, address=_address(request))))


@router.get("/pending", **about(gives=OfferedKeys, caller="party"))
def list_pending(hub: HubOf, party: SignedParty) -> Response:
    """List the keys that the asking party's own invitations brought and that are not enrolled yet."""
    return _unkept(answer(hub.invitations.pending(party.party_id)))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _unkept(response: Response) -> Response:
    response.headers["Cache-Control"] = NO_STORE  # states change, and answers name pseudonyms
    return response
