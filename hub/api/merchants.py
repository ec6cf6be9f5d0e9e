"""What is recorded about a merchant, for the merchant."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.consent_request import ReceivedRequests
from crypto.wire.receipt import ReceiptFiles
from crypto.wire.service import MerchantRecords
from hub.api.dependencies import HubOf, TokenBody, answer
from hub.api.described import about
from hub.idempotency import NO_STORE

router = APIRouter(prefix="/v1/merchants", tags=["merchants"])


@router.post("/records", **about(takes="merchant-request", gives=MerchantRecords))
def read_records(hub: HubOf, token: TokenBody) -> Response:
    """Return a merchant's consents, their events, and every query about it, to a JWS `merchant-request` of its own."""
    response = answer(hub.merchant_records.of(hub.merchant_auth.check(token)))
    response.headers["Cache-Control"] = NO_STORE  # neither here: the answer links log entries to the merchant
    return response


@router.post("/requests", **about(takes="merchant-request", gives=ReceivedRequests))
def read_requests(hub: HubOf, token: TokenBody) -> Response:
    """Return what parties ask a merchant's consent for, to a JWS `merchant-request` of its own."""
    response = answer(hub.consent_requests.of_merchant(hub.merchant_auth.check(token)))
    response.headers["Cache-Control"] = NO_STORE
    return response


@router.post("/receipts", **about(takes="merchant-request", gives=ReceiptFiles))
def read_receipts(hub: HubOf, token: TokenBody) -> Response:
    """Return receipts of a merchant's consents that verify offline, to a JWS `merchant-request` of its own."""
    response = answer(hub.record_receipts.of_merchant(hub.merchant_auth.check(token)))
    response.headers["Cache-Control"] = NO_STORE
    return response
