"""Evaluations of blinded identifiers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from hub.api.dependencies import HubOf, TokenBody, answer

router = APIRouter(prefix="/v1", tags=["pseudonyms"])


@router.post("/voprf")
def evaluate(hub: HubOf, token: TokenBody) -> Response:
    """Evaluate a batch for a party's JWS `voprf`, by the hub's key or by the witness's."""
    return answer(hub.voprf.answer(token))
