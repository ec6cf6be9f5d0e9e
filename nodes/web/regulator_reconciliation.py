"""Reconciliation: a node's exported journal against the verified log, each query that one has and the other lacks."""

from __future__ import annotations

import io
from typing import Annotated

from fastapi import APIRouter, File, Request, UploadFile
from starlette.responses import Response

from crypto.reconciliation import Discrepancy
from models.web.access import needs
from models.web.listing import Column, Ident, Moment, Term, arrange
from models.web.pages import PagesOf
from models.web.people import Person
from models.web.problems import problem_of
from models.web.rights import Right
from nodes.errors import JournalError
from nodes.web.regulator_desk import DeskOf
from nodes.witness.comparing import Reconciled, reconcile_journal

router = APIRouter(prefix="/regulator/reconciliation", include_in_schema=False)

Reconciler = Annotated[Person, needs(Right.RECONCILE)]
_MOST = 1000
ONLY_IN = {"hub": "in the hub's log only", "node": "in the node's journal only"}
COLUMNS = (
    Column[Discrepancy]("time", "Time", lambda row: Moment(row.time, seconds=True)),
    Column[Discrepancy]("request", "Request hash", lambda row: Ident(row.request_hash)),
    Column[Discrepancy]("item", "Item", lambda row: row.item, numeric=True),
    Column[Discrepancy]("only", "Where", lambda row: Term(ONLY_IN[row.only_in])),
)


@router.get("")
def ask(request: Request, pages: PagesOf, _: Reconciler) -> Response:
    """The form."""
    return pages.render(request, "regulator/reconciliation.html.j2", of=None, table=None, problem=None, most=_MOST)


@router.post("")
def compare(
    request: Request, pages: PagesOf, desk: DeskOf, _: Reconciler, file: Annotated[UploadFile, File()]
) -> Response:
    """The comparison; the file is read and forgotten."""
    found: Reconciled | None = None
    problem = None
    try:
        found = reconcile_journal(io.TextIOWrapper(file.file, encoding="utf-8"), desk.search)
    except JournalError as error:
        problem = problem_of(pages, request, error)
    except UnicodeDecodeError as error:
        broken = JournalError("the file is no journal", field="journal", remedy="export the journal again")
        broken.__cause__ = error
        problem = problem_of(pages, request, broken)
    rows = [] if found is None else found.comparison.discrepancies
    return pages.render(
        request,
        "regulator/reconciliation.html.j2",
        422 if problem else 200,
        of=found,
        table=arrange(rows, COLUMNS, {}, page_size=_MOST),
        problem=problem,
        most=_MOST,
    )
