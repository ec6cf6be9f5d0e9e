"""Merchants' consents and their events."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.base import Token, WireModel
from crypto.wire.consent import ConsentItem, ConsentSubmission, SubmissionReceipt
from hub.api.dependencies import HubOf, RawBody, SignedParty, answer, parse
from hub.idempotency import NO_STORE

router = APIRouter(prefix="/v1", tags=["consents"])


class ConsentView(WireModel):
    """A consent, where it stands apart from its dates (given, paused, revoked, refused), and its signed events."""

    state: str
    item: ConsentItem
    events: tuple[Token, ...]


@router.post("/consents")
def submit_consents(hub: HubOf, body: RawBody) -> Response:
    """Store up to 1,000 consents, all or none; each is authorised by its merchant's signature, and gets a receipt."""
    return _acknowledged(hub.consents.submit(parse(body, ConsentSubmission).tokens))


@router.post("/consent-events")
def submit_events(hub: HubOf, body: RawBody) -> Response:
    """Store up to 1,000 changes of state, all or none, and push them to the nodes that they concern."""
    return _acknowledged(hub.consents.submit_events(parse(body, ConsentSubmission).tokens))


@router.get("/consents/{record_id}")
def read_consent(hub: HubOf, record_id: str, party: SignedParty) -> Response:
    """Return a consent to a party that it names."""
    consent = hub.consents.read(record_id, party_id=party.party_id)
    return answer(ConsentView(state=consent.state, item=consent.item, events=consent.events))


def _acknowledged(receipt: SubmissionReceipt) -> Response:
    response = answer(receipt, 201)
    # Receipts link log entries to merchants, so they are not kept; a repeated submission changes nothing, and gets them
    # anew.
    response.headers["Cache-Control"] = NO_STORE
    return response
