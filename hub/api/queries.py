"""Scoring queries."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from hub.api.dependencies import HubOf, TokenBody, answer

router = APIRouter(prefix="/v1", tags=["queries"])


@router.post("/queries")
async def ask(hub: HubOf, token: TokenBody) -> Response:
    """Forward a JWS `score-request` to its sources and return their sealed answers with inclusion proofs."""
    return answer(await hub.queries.ask(token))
