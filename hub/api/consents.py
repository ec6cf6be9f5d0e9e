"""Merchants' consents and their events."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.consent import ConsentSubmission, SubmissionReceipt
from crypto.wire.consent_request import ConsentRequestReceipt, ConsentRequestStanding, ConsentView, ConsentViews
from crypto.wire.receipt import ReceiptFile
from hub.api.dependencies import HubOf, RawBody, SignedParty, TokenBody, answer, parse
from hub.api.described import about
from hub.idempotency import NO_STORE

router = APIRouter(prefix="/v1", tags=["consents"])


@router.post("/consents", **about(takes=ConsentSubmission, gives=SubmissionReceipt, status=201))
def submit_consents(hub: HubOf, body: RawBody) -> Response:
    """Store up to 1,000 consents, all or none; each is authorised by its merchant's signature, and gets a receipt."""
    return _acknowledged(hub.consents.submit(parse(body, ConsentSubmission).tokens))


@router.post("/consent-events", **about(takes=ConsentSubmission, gives=SubmissionReceipt, status=201))
def submit_events(hub: HubOf, body: RawBody) -> Response:
    """Store up to 1,000 changes of state, all or none, and push them to the nodes that they concern."""
    return _acknowledged(hub.consents.submit_events(parse(body, ConsentSubmission).tokens))


@router.post("/consents/of-merchant", **about(takes="consents-question", gives=ConsentViews))
def list_consents(hub: HubOf, token: TokenBody) -> Response:
    """List a merchant's consents that name the party which asks with a JWS `consents-question`."""
    question = hub.party_auth.question(token)
    found = hub.consents.naming(question.party_id, question.pii_principal_id)
    views = tuple(ConsentView(state=each.state, item=each.item, events=each.events) for each in found)
    return _unkept(answer(ConsentViews(consents=views, manage_url=hub.merchant_page("consents"))))


@router.post("/consent-requests", **about(takes="consent-request", gives=ConsentRequestReceipt, status=201))
def propose(hub: HubOf, token: TokenBody) -> Response:
    """Ask a merchant for a consent with a JWS `consent-request`; the reply has the link on which it answers."""
    return answer(hub.consent_requests.propose(token), 201)


@router.post("/consent-requests/refusals", **about(takes="consent-event", gives=ConsentRequestStanding))
def refuse(hub: HubOf, token: TokenBody) -> Response:
    """Refuse a request with the merchant's JWS `consent-event` `refused`, whose `record_id` is the request's id."""
    return _unkept(answer(hub.consent_requests.refuse(token)))


@router.get("/consent-requests/{request_id}", **about(gives=ConsentRequestStanding, caller="party"))
def read_request(hub: HubOf, request_id: str, party: SignedParty) -> Response:
    """Say where a request stands, to the party that made it."""
    return answer(hub.consent_requests.standing(request_id, party_id=party.party_id))


@router.delete("/consent-requests/{request_id}", **about(gives=ConsentRequestStanding, caller="party"))
def withdraw_request(hub: HubOf, request_id: str, party: SignedParty) -> Response:
    """Withdraw a request that was not answered."""
    return answer(hub.consent_requests.withdraw(request_id, party_id=party.party_id))


@router.get("/consents/{record_id}", **about(gives=ConsentView, caller="party"))
def read_consent(hub: HubOf, record_id: str, party: SignedParty) -> Response:
    """Return a consent to a party that it names."""
    consent = hub.consents.read(record_id, party_id=party.party_id)
    return answer(ConsentView(state=consent.state, item=consent.item, events=consent.events))


@router.get("/consents/{record_id}/receipt", **about(gives=ReceiptFile, caller="party"))
def read_receipt(hub: HubOf, record_id: str, party: SignedParty) -> Response:
    """Return a consent's receipt (ISO/IEC TS 27560), which verifies offline, to a party that it names."""
    return _unkept(answer(hub.record_receipts.of_consent(record_id, party_id=party.party_id)))


def _acknowledged(receipt: SubmissionReceipt) -> Response:
    # Receipts link log entries to merchants, so they are not kept; a repeated submission changes nothing, and gets them
    # anew.
    return _unkept(answer(receipt, 201))


def _unkept(response: Response) -> Response:
    response.headers["Cache-Control"] = NO_STORE
    return response
