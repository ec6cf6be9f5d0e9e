"""What is recorded about a merchant, for the merchant."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from hub.api.dependencies import HubOf, TokenBody, answer
from hub.idempotency import NO_STORE

router = APIRouter(prefix="/v1/merchants", tags=["merchants"])


@router.post("/records")
def read_records(hub: HubOf, token: TokenBody) -> Response:
    """Return a merchant's consents, their events, and every query about it, to a JWS `merchant-request` of its own."""
    response = answer(hub.merchant_records.of(hub.merchant_auth.check(token)))
    response.headers["Cache-Control"] = NO_STORE  # neither here: the answer links log entries to the merchant
    return response


@router.post("/requests")
def read_requests(hub: HubOf, token: TokenBody) -> Response:
    """Return what parties ask a merchant's consent for, to a JWS `merchant-request` of its own."""
    response = answer(hub.consent_requests.of_merchant(hub.merchant_auth.check(token)))
    response.headers["Cache-Control"] = NO_STORE
    return response
