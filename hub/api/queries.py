"""Scoring queries."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.errors import CryptoError
from crypto.wire.scoring import QueryResult
from hub.api.dependencies import HubOf, TokenBody, answer
from hub.api.described import about
from hub.errors import HubError
from hub.metrics import QUERIES, count_answer

router = APIRouter(prefix="/v1", tags=["queries"])


@router.post("/queries", **about(takes="score-request", gives=QueryResult))
async def ask(hub: HubOf, token: TokenBody) -> Response:
    """Forward a JWS `score-request` to its sources and return their sealed answers with inclusion proofs."""
    try:
        result = await hub.queries.ask(token)
    except (HubError, CryptoError):
        QUERIES.labels("refused").inc()
        raise
    count_answer(result)
    return answer(result)
