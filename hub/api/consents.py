"""Merchants' consents and their events."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.base import Token, WireModel
from crypto.wire.consent import ConsentItem, ConsentSubmission
from hub.api.dependencies import HubOf, RawBody, SignedParty, answer, parse

router = APIRouter(prefix="/v1", tags=["consents"])


class SubmissionReceipt(WireModel):
    """How many artefacts were new, and how many were stored before."""

    stored: int
    known: int


class ConsentView(WireModel):
    """A consent, where it stands apart from its dates (given, paused, revoked, refused), and its signed events."""

    state: str
    item: ConsentItem
    events: tuple[Token, ...]


@router.post("/consents")
def submit_consents(hub: HubOf, body: RawBody) -> Response:
    """Store up to 1,000 consents, all or none; each is authorised by its merchant's signature."""
    receipt = hub.consents.submit(parse(body, ConsentSubmission).tokens)
    return answer(SubmissionReceipt(stored=receipt.stored, known=receipt.known), 201)


@router.post("/consent-events")
def submit_events(hub: HubOf, body: RawBody) -> Response:
    """Store up to 1,000 changes of state, all or none, and push them to the nodes that they concern."""
    receipt = hub.consents.submit_events(parse(body, ConsentSubmission).tokens)
    return answer(SubmissionReceipt(stored=receipt.stored, known=receipt.known), 201)


@router.get("/consents/{record_id}")
def read_consent(hub: HubOf, record_id: str, party: SignedParty) -> Response:
    """Return a consent to a party that it names."""
    consent = hub.consents.read(record_id, party_id=party.party_id)
    return answer(ConsentView(state=consent.state, item=consent.item, events=consent.events))
