"""Proofs of deletion that nodes send; each is authorised by its own signature."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.deletion import DeletionReceipt, DeletionSubmission
from hub.api.dependencies import HubOf, RawBody, answer, parse
from hub.api.described import about

router = APIRouter(prefix="/v1/deletions", tags=["deletions"])


@router.post("", **about(takes=DeletionSubmission, gives=DeletionReceipt, status=201))
def submit_deletions(hub: HubOf, body: RawBody) -> Response:
    """Take up to 500 signed statements of deletion, all or none; the same ones again change nothing."""
    return answer(hub.deletions.submit(parse(body, DeletionSubmission).reports), 201)
