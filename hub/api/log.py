"""The audit log for everybody: checkpoint, tiles (C2SP), entries, proofs, export."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BeforeValidator
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from crypto.errors import ProofError
from crypto.tiles import TILE_WIDTH, bundle_path, tile_path
from crypto.wire.audit import EntryType
from crypto.wire.base import Identifier, PartyId, Sha256Hex
from crypto.wire.service import LogFound, LogPage, LogProof, LogSearchPage
from hub.api.dependencies import HubOf, answer
from hub.api.described import BYTES, TEXT, about
from hub.errors import NotFoundError
from hub.log_reading import MAX_PAGE
from hub.log_search import MAX_FOUND, LogQuery
from models.web.begun import begun


def _written_out(value: object) -> object:
    """A time is written as RFC 3339 has it; pydantic would take a bare number for seconds."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("must be a date and time with its zone, such as 2026-01-31T08:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]

router = APIRouter(prefix="/v1/log", tags=["log"])

Size = Annotated[int, Query(ge=0, lt=1 << 62)]
_TILE = re.compile(r"([0-9]{1,2}|entries)/((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([0-9]{1,3}))?")
_NEVER_CHANGES = {"Cache-Control": "public, max-age=31536000, immutable"}
_CHANGES = {"Cache-Control": "no-cache"}
_WRITE_BYTES = 1 << 18
MAX_BY_GET = 64
"""Commitments in one request; more go in several."""


@router.get("/checkpoint", **about(gives=(TEXT,)))
def read_checkpoint(hub: HubOf, cosigned: bool = True) -> Response:
    """Return the newest cosigned checkpoint (or, asked so, the newest that the hub alone signed)."""
    return PlainTextResponse(hub.log.reader.checkpoint(cosigned=cosigned), headers=_CHANGES)


@router.get("/tile/{path:path}", **about(gives=(BYTES,)))
@router.get("/tiles/tile/{path:path}", **about(gives=(BYTES,)))
def read_tile(hub: HubOf, path: str, request: Request) -> Response:
    """Return a tile or a bundle of entries by its C2SP path, e.g. `0/x001/x234/067`, `0/000.p/8` or `entries/000`."""
    match = _TILE.fullmatch(path)
    unknown = NotFoundError("There is no such tile.", field="path", remedy="Paths are those of C2SP tlog-tiles.")
    if match is None:
        raise unknown
    below, index = match[1], int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else TILE_WIDTH
    try:
        proper = bundle_path(index, width) if below == "entries" else tile_path(int(below), index, width)
    except ProofError as error:
        raise unknown from error
    if proper != f"tile/{path}":
        raise unknown
    if below == "entries":
        return _bundle(hub.log.reader.bundle(index, width), request.headers.get("accept-encoding", ""))
    data = hub.log.reader.tile(int(below), index, width)
    return Response(data, media_type="application/octet-stream", headers=_NEVER_CHANGES)


def _bundle(data: bytes, accepted: str) -> Response:
    headers = {**_NEVER_CHANGES, "Vary": "Accept-Encoding"}
    if "gzip" in accepted:
        data, headers["Content-Encoding"] = gzip.compress(data, compresslevel=6, mtime=0), "gzip"
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get("/tiles/checkpoint", **about(gives=(TEXT,)))
def read_tiles_checkpoint(hub: HubOf) -> Response:
    """Return the newest cosigned checkpoint, at the prefix `/v1/log/tiles` of C2SP tlog-tiles."""
    return PlainTextResponse(hub.log.reader.checkpoint(), headers=_CHANGES)


@router.get("/entries", **about(gives=LogPage))
def read_entries(hub: HubOf, start: Size = 0, limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE) -> Response:
    """Return exact leaves from index `start`."""
    return answer(LogPage(start=start, size=hub.log.reader.size(), entries=tuple(hub.log.reader.entries(start, limit))))


@router.get("/search", **about(gives=LogSearchPage))
def search(
    hub: HubOf,
    party: Annotated[PartyId | None, Query()] = None,
    campaign: Annotated[Identifier | None, Query()] = None,
    model: Annotated[Identifier | None, Query()] = None,
    type: Annotated[list[EntryType] | None, Query()] = None,
    since: Annotated[Moment | None, Query()] = None,
    until: Annotated[Moment | None, Query()] = None,
    commitment: Annotated[list[Sha256Hex] | None, Query(max_length=MAX_BY_GET)] = None,
    before: Annotated[int | None, Query(ge=0, lt=1 << 62)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 50,
) -> Response:
    """Search: all that is given must hold. Newest first; `next` of the answer is `before` of the next page."""
    query = LogQuery(
        party=party,
        campaign=campaign,
        model=model,
        types=tuple(type or ()),
        since=since,
        until=until,
        commitments=None if commitment is None else tuple(map(bytes.fromhex, commitment)),
        before=before,
        limit=limit,
    )
    page = hub.log_search.find(query)
    entries = tuple(LogFound(index=each.index, entry=each.leaf) for each in page.entries)
    return answer(LogSearchPage(size=page.size, count=page.count, entries=entries, next=page.next))


@router.get("/inclusion", **about(gives=LogProof))
def prove_inclusion(hub: HubOf, index: Size, size: Size) -> Response:
    """Prove that entry `index` is in the tree of `size`."""
    return answer(LogProof(hashes=tuple(hub.log.reader.inclusion(index, size))))


@router.get("/consistency", **about(gives=LogProof))
def prove_consistency(hub: HubOf, old: Size, new: Size) -> Response:
    """Prove that the tree of `new` extends that of `old`."""
    return answer(LogProof(hashes=tuple(hub.log.reader.consistency(old, new))))


@router.get("/export", **about(gives=("application/x-ndjson",)))
def export(hub: HubOf) -> Response:
    """Stream the log up to its newest cosigned checkpoint, for `digua-hub audit verify`."""
    return StreamingResponse(begun(_in_blocks(hub.log.reader.export())), media_type="application/x-ndjson")


def _in_blocks(lines: Iterator[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= _WRITE_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)
