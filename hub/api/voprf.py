"""Evaluations of blinded identifiers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.party import VoprfAnswer
from hub.api.dependencies import HubOf, TokenBody, answer
from hub.api.described import about

router = APIRouter(prefix="/v1", tags=["pseudonyms"])


@router.post("/voprf", **about(takes="voprf", gives=VoprfAnswer))
def evaluate(hub: HubOf, token: TokenBody) -> Response:
    """Evaluate a batch for a party's JWS `voprf`, by the hub's key or by the witness's."""
    return answer(hub.voprf.answer(token))
