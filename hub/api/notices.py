"""Privacy notices: registered by the administrator, read by anyone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import PlainTextResponse, Response

from crypto.wire.notice import NoticeList, NoticeReceipt, NoticeSubmission
from hub.api.dependencies import AdminOnly, HubOf, RawBody, answer, parse
from hub.api.described import about

router = APIRouter(prefix="/v1/notices", tags=["notices"])


@router.post(
    "",
    dependencies=[AdminOnly],
    **about(takes=NoticeSubmission, gives=NoticeReceipt, status=201, caller="administrator"),
)
def register_notice(hub: HubOf, body: RawBody) -> Response:
    """Register a version of a notice in both languages, for good; every party's feed is told."""
    return answer(hub.notices.register(parse(body, NoticeSubmission)), 201)


@router.get("", **about(gives=NoticeList))
def list_notices(hub: HubOf) -> Response:
    """List the hub's signed statements of all registered notices, the oldest first: JWS of type `notice`."""
    return answer(NoticeList(statements=hub.notices.tokens()))


@router.get("/{sha256}", **about(gives=("text/markdown",)))
def read_notice(hub: HubOf, sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]) -> Response:
    """Return the exact text of this SHA-256, as it was shown to merchants."""
    found = hub.notices.text(sha256)
    return PlainTextResponse(
        found.text.encode(),
        media_type="text/markdown",
        headers={"Content-Language": found.language, "X-Content-Type-Options": "nosniff"},
    )
