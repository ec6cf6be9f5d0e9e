"""Pages of usage, ledger, data quality, contribution and journal; no merchant is named on any of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from models.points_table import MEDIA, PointsFormat, file_name
from models.web.access import needs
from models.web.begun import begun
from models.web.listing import Column, Ident, Listing, State, arrange
from models.web.people import Person
from models.web.rights import Right
from nodes.errors import JournalError
from nodes.web.bank import desks_of, lang_of, pages_of
from nodes.web.bank_journal import GROUPS
from nodes.web.bank_ledger import SendLine, ledger_csv
from nodes.web.bank_usage import UsageDay
from nodes.web.bank_words import refused_error

router = APIRouter(prefix="/bank")
DAYS = (7, 30, 92, 366)
_TONES = {"charged": "neutral", "open": "warn", "refunded": "info"}
Watcher = Annotated[Person, needs(Right.READ_USAGE)]
Steward = Annotated[Person, needs(Right.READ_LEDGER)]
Checker = Annotated[Person, needs(Right.CHECK_DATA)]
USAGE: tuple[Column[UsageDay], ...] = (
    Column("day", "Day", lambda row: row.day, lambda row: row.day, first="desc"),
    Column("purpose", "Purpose", lambda row: row.purpose, lambda row: row.purpose),
    Column("asked", "Merchants asked about", lambda row: row.asked, lambda row: row.asked, numeric=True, first="desc"),
    Column("scored", "With a score", lambda row: row.scored, lambda row: row.scored, numeric=True, first="desc"),
    Column("refused", "Without one", lambda row: row.refused, lambda row: row.refused, numeric=True, first="desc"),
)
SENDS: tuple[Column[SendLine], ...] = (
    Column("sent", "Sent", lambda row: row.sent_at, lambda row: row.sent_at, first="desc"),
    Column("campaign", "Campaign", lambda row: Ident(row.campaign), lambda row: row.campaign),
    Column("stage", "Stage", lambda row: row.stage, lambda row: row.stage),
    Column("state", "State", lambda row: State(f"charge {row.state}", _TONES[row.state]), lambda row: row.state),
    Column("paid", "What it pays for", lambda row: "; ".join(row.mechanisms)),
    Column("size", "Bytes", lambda row: row.size, lambda row: row.size, numeric=True, first="desc"),
    Column("sha256", "SHA-256", lambda row: Ident(row.sha256)),
)


@router.get("/usage")
def usage(request: Request, person: Watcher, days: str = "30") -> Response:
    """Show this bank's queries, and the models in use."""
    chosen = int(days) if days in map(str, DAYS) else 30
    sheet = desks_of(request).usage.look(days=chosen, lang=lang_of(request))
    listing = arrange(sheet.lines, USAGE, request.query_params)
    return pages_of(request).render(
        request, "bank/usage.html.j2", sheet=sheet, listing=listing, days=chosen, choices=DAYS
    )


@router.get("/models/{model_id}/points")
def points(
    request: Request,
    person: Watcher,
    model_id: str,
    form: Annotated[PointsFormat, Query(alias="format")] = "xlsx",
) -> Response:
    """Give a released scorecard's table of points as a file; it holds nothing of any merchant."""
    made = desks_of(request).usage.points(model_id, form, lang_of(request))
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(model_id, form)}"',
        "Cache-Control": "no-store",
    }
    return Response(made, media_type=MEDIA[form], headers=headers)


@router.get("/ledger")
def ledger(request: Request, person: Steward) -> Response:
    """Show privacy spent against the owner's budget."""
    sheet = desks_of(request).ledger.look(lang_of(request))
    listing: Listing[SendLine] = arrange(
        sheet.sends, SENDS, request.query_params, text=lambda row: (row.campaign, row.attempt, row.stage)
    )
    return pages_of(request).render(request, "bank/ledger.html.j2", sheet=sheet, listing=listing)


@router.get("/ledger.csv")
def ledger_file(request: Request, person: Steward) -> StreamingResponse:
    """Give the ledger's lines as CSV."""
    lines = ledger_csv(desks_of(request).services.runtime.ledger.charges())
    return _download(lines, "digua-ledger.csv", "text/csv; charset=utf-8")


@router.get("/data")
def data(request: Request, person: Checker) -> Response:
    """Show the last check of the tables, or how far the running one is."""
    sheet = desks_of(request).quality.look(lang_of(request))
    return pages_of(request).render(request, "bank/data.html.j2", sheet=sheet)


@router.post("/data")
def check_data(request: Request, person: Checker) -> RedirectResponse:
    """Begin a check, unless one runs."""
    desks_of(request).quality.start()
    return RedirectResponse("/bank/data", 303)


@router.get("/data/progress")
def data_progress(request: Request, person: Checker) -> JSONResponse:
    """Say how far the check is, for the script of its page."""
    return JSONResponse(desks_of(request).quality.look(lang_of(request)).as_json())


@router.get("/contribution")
def contribution(request: Request, person: Steward) -> Response:
    """Show what this node brought to campaigns and models."""
    sheet = desks_of(request).contribution.look(lang_of(request))
    return pages_of(request).render(request, "bank/contribution.html.j2", sheet=sheet)


@router.get("/journal")
def journal(request: Request, person: Steward, group: str = "", before: str = "") -> Response:
    """Show this node's journal, the newest entry first."""
    return _journal(request, group=group, before=before)


@router.post("/journal")
def check_journal(request: Request, person: Steward) -> Response:
    """Check the whole chain of hashes."""
    try:
        found = desks_of(request).journal.verify()
    except JournalError as problem:
        return _journal(request, problem=refused_error(problem, lang_of(request)))
    return _journal(request, check=found)


@router.get("/journal.ndjson")
def journal_file(request: Request, person: Steward) -> StreamingResponse:
    """Give all entries, as the regulator's reconciliation takes them."""
    return _download(desks_of(request).journal.export(), "digua-journal.ndjson", "application/x-ndjson")


def _journal(
    request: Request, *, group: str = "", before: str = "", check: object = None, problem: object = None
) -> Response:
    number = int(before) if before.isdecimal() and len(before) < 16 else None
    chosen = group if group in GROUPS else ""
    page = desks_of(request).journal.page(chosen, before=number, lang=lang_of(request))
    return pages_of(request).render(
        request,
        "bank/journal.html.j2",
        500 if problem else 200,
        page=page,
        group=chosen,
        groups=[("", "all"), *((name, text) for name, (text, _) in GROUPS.items())],
        check=check,
        problem=problem,
    )


def _download(lines: Iterable[str], name: str, media: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(begun(lines), media_type=media, headers=headers)
