"""The regulator's desk: the audit record, searched, checked as a whole and taken home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from hub.platform.api.dependencies import PlatformOf
from hub.platform.audit import Entry, Wanted
from hub.platform.errors import AuditBrokenError, EntryUnknownError
from hub.platform.people import Member
from hub.platform.statements import line_of
from hub.platform.web.members import of_party
from models.web.begun import begun
from models.web.listing import Cell, Ident, Link, Moment
from models.web.pages import NavItem, PagesOf
from models.web.problems import problem_of
from models.web.rights import Right, Role

router = APIRouter(prefix="/regulator", include_in_schema=False)
Regulator = Annotated[Member, of_party(Right.READ_RECORD)]
REGULATORS = frozenset({Role.REGULATOR.value})
NAV = (
    NavItem("Audit record", "/regulator", REGULATORS, 10),
    NavItem("Registered merchants", "/regulator/merchants", REGULATORS, 20),
)
CSV_COLUMNS = ("seq", "at", "actor", "action", "subject", "entry", "hash")
_PAGE = 50
_Text = Annotated[str, Query(max_length=160)]


def wanted_of(actor: _Text = "", action: _Text = "", subject: _Text = "") -> Wanted:
    """Which entries the address asks for."""
    return Wanted(actor.strip(), action.strip(), subject.strip())


WantedOf = Annotated[Wanted, Depends(wanted_of)]


@router.get("")
def read_record(
    request: Request,
    _member: Regulator,
    platform: PlatformOf,
    pages: PagesOf,
    wanted: WantedOf,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Show the record, the newest entries first; by actor, action or subject where one is asked for."""
    found = platform.audit.newest(wanted, before=before, limit=_PAGE)
    return pages.render(
        request,
        "regulator/record.html.j2",
        rows=[_row(each) for each in found],
        wanted=wanted,
        asked=_asked(wanted),
        actions=platform.audit.actions(),
        following=found[-1].seq if len(found) == _PAGE else None,
        first=before is None,
    )


@router.get("/entries/{seq}")
def read_entry(
    request: Request, _member: Regulator, platform: PlatformOf, pages: PagesOf, seq: Annotated[int, Path(ge=1)]
) -> Response:
    """Show one entry whole; EntryUnknownError where there is none."""
    found = platform.audit.entries(after=seq - 1, limit=1)
    if not found or found[0].seq != seq:
        raise EntryUnknownError(
            f"The record has no entry {seq}.", field="seq", remedy="Choose one from the list of entries."
        )
    entry = found[0]
    return pages.render(
        request,
        "regulator/entry.html.j2",
        entry=entry,
        facts=[
            ("Moment", Moment(entry.at, seconds=True)),
            ("Actor", entry.actor),
            ("Action", entry.action),
            ("Subject", Link(entry.subject, "/regulator?" + urlencode({"subject": entry.subject}))),
            ("Hash", entry.hash.hex()),
        ],
        what=json.dumps(dict(entry.what), ensure_ascii=False, indent=2, sort_keys=True),
    )


@router.post("/verify")
def verify(request: Request, _member: Regulator, platform: PlatformOf, pages: PagesOf) -> Response:
    """Compute the whole chain anew and tell the number of entries and the last hash, or where it breaks."""
    try:
        number, head = platform.audit.verify()
    except AuditBrokenError as broken:
        problem = problem_of(pages, request, broken)
        return pages.render(
            request, "regulator/verified.html.j2", broken.status, anew="/regulator", problem=problem, facts=[]
        )
    facts: list[tuple[str, Cell]] = [
        ("Entries", number),
        ("Head of the chain", head.hex()),
        ("Checked at", Moment(platform.clock(), seconds=True)),
    ]
    return pages.render(request, "regulator/verified.html.j2", anew="/regulator", problem=None, facts=facts)


@router.get("/record.csv")
def export_csv(_member: Regulator, platform: PlatformOf, wanted: WantedOf) -> Response:
    """Give entries as CSV; `entry` is the exact text that the hash is of, after the hash before."""

    def lines() -> Iterator[str]:
        yield line_of(CSV_COLUMNS)
        for each, text in platform.audit.written(wanted):
            at = each.at.isoformat()
            yield line_of((each.seq, at, each.actor, each.action, each.subject, text, each.hash.hex()))

    return _download(lines(), "platform-record.csv", "text/csv; charset=utf-8")


@router.get("/record.json")
def export_json(_member: Regulator, platform: PlatformOf, wanted: WantedOf) -> Response:
    """Give entries as a JSON array; `entry` is the exact text that the hash is of, after the hash before."""

    def lines() -> Iterator[str]:
        before = "["
        for each, text in platform.audit.written(wanted):
            yield before + json.dumps({"entry": text, "hash": each.hash.hex()}, ensure_ascii=False)
            before = ",\n"
        yield "[]" if before == "[" else "]\n"

    return _download(lines(), "platform-record.json", "application/json")


def _download(lines: Iterator[str], name: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(begun(lines), media_type=media_type, headers=headers)


def _asked(wanted: Wanted) -> str:
    """The search as a query, for links."""
    return urlencode({name: value for name, value in vars(wanted).items() if value})


def _row(entry: Entry) -> tuple[Cell, ...]:
    return (
        Link(str(entry.seq), f"/regulator/entries/{entry.seq}"),
        Moment(entry.at, seconds=True),
        entry.actor,
        entry.action,
        Ident(entry.subject, "/regulator?" + urlencode({"subject": entry.subject})),
        Ident(entry.hash.hex()),
    )
