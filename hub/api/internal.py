"""The parties' links for the hub's other processes; only with the internal token (see `hub.relayed_links`)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from crypto.wire.base import PartyId
from crypto.wire.link import FrameType
from hub.api.dependencies import HubOf, parse
from hub.errors import PeerError, RequestError, RequestSizeError
from hub.link import WS_MAX_BYTES
from hub.peers import PeerLinks
from hub.problems import respond
from hub.relayed_links import INSTANCE, PREFIX, TIMEOUT
from hub.replica_links import STATES, LinkStateView
from hub.services import Hub


def internal_only(request: Request, hub: HubOf) -> None:
    """Let the hub's own processes pass."""
    hub.internal_auth.check(request.headers.get("authorization"))


router = APIRouter(prefix=PREFIX, tags=["internal"], dependencies=[Depends(internal_only)], include_in_schema=False)


class FeedNews(BaseModel):
    """Whose feeds have new items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parties: tuple[PartyId, ...]


def _links(hub: Hub) -> PeerLinks:
    """Those of this process: who asks a replica has looked up where a party's link is (M2)."""
    return hub.links if hub.replica_set is None else hub.link_server


@router.get("/links")
def list_links(hub: HubOf) -> Response:
    """Say which parties are connected to this process, and since when it is there."""
    found = {"connected": sorted(_links(hub).connected()), "since": hub.opened_at}
    return JSONResponse(found, headers={INSTANCE: hub.instance})


@router.get("/link-states")
def list_states(hub: HubOf) -> Response:
    """Say more of these links."""
    found = {
        party: LinkStateView(since=each.since, software=each.software, acked=each.acked)
        for party, each in hub.link_server.states().items()
    }
    return Response(STATES.dump_json(found), media_type="application/json", headers={INSTANCE: hub.instance})


@router.post("/links/{party_id}/{frame_type}")
async def relay(
    hub: HubOf,
    request: Request,
    party_id: PartyId,
    frame_type: FrameType,
    timeout: Annotated[float, Header(alias=TIMEOUT, gt=0, le=86_400)],
) -> Response:
    """Send a frame's body to a party and return the reply's."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise RequestError("The body's length is not given.", field="Content-Length", remedy="Send it in one piece.")
    if int(length) > WS_MAX_BYTES:
        raise RequestSizeError(
            f"A frame is at most {WS_MAX_BYTES >> 20} MiB.", field="body", remedy="Send it in smaller parts."
        )
    try:
        reply = await _links(hub).request_async(party_id, frame_type, await request.body(), timeout)
    except PeerError as error:
        failure = respond(error, None)
        failure.headers[INSTANCE] = hub.instance
        return failure
    return Response(reply, media_type="application/octet-stream", headers={INSTANCE: hub.instance})


@router.post("/feeds")
async def announce_feeds(hub: HubOf, request: Request) -> Response:
    """Push the parties' new feed items."""
    news = parse(await request.body(), FeedNews)
    hub.links.notify_feed(news.parties)
    return Response(status_code=204, headers={INSTANCE: hub.instance})
