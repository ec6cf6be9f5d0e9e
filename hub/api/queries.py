"""Scoring queries."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.scoring import QueryResult
from hub.api.dependencies import HubOf, TokenBody, answer
from hub.api.described import about

router = APIRouter(prefix="/v1", tags=["queries"])


@router.post("/queries", **about(takes="score-request", gives=QueryResult))
async def ask(hub: HubOf, token: TokenBody) -> Response:
    """Forward a JWS `score-request` to its sources and return their sealed answers with inclusion proofs."""
    return answer(await hub.queries.ask(token))
