"""The inspection file: a search as a page to print, and as a file that the witness signs and that verifies offline."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel
from starlette.responses import Response

from models.web.access import needs
from models.web.pages import PagesOf
from models.web.people import Person
from models.web.rights import Right
from nodes.config import key_to_text
from nodes.web.regulator_desk import DeskOf, refused
from nodes.web.regulator_log import asked_search, download, search_choices
from nodes.web.regulator_words import type_text
from nodes.witness.evidence import EvidenceMissing
from nodes.witness.inspector import MAX_ENTRIES

router = APIRouter(prefix="/regulator/inspection", include_in_schema=False)

Inspecting = Annotated[Person, needs(Right.INSPECTION_FILE)]
SHOWN = 200
"""Entries on the page to print; the signed file holds more."""


class SearchForm(BaseModel):
    """The search that is signed, as the page's form carries it."""

    party: str = ""
    campaign: str = ""
    model: str = ""
    type: str = ""
    since: str = ""
    until: str = ""
    csrf_token: str = ""


@router.get("")
def preview(request: Request, pages: PagesOf, desk: DeskOf, person: Inspecting) -> Response:
    """The search, what it finds, and the form that makes the signed file of it."""
    asked = asked_search(request.query_params)
    try:
        checkpoint = desk.evidence.covering()
    except EvidenceMissing as problem:
        return refused(pages, request, problem, 404)
    found = desk.search.search(asked.wanted, limit=SHOWN, below=checkpoint.size)
    return pages.render(
        request,
        "regulator/inspection.html.j2",
        asked=asked,
        choices=search_choices(desk),
        found=found,
        checkpoint=checkpoint,
        cosigned_at=datetime.fromtimestamp(checkpoint.time, UTC),
        command=f"digua-node witness verify-inspection FILE --witness-key {key_to_text(desk.witness_key)}",
        witness=desk.party_id,
        inspector=person.name,
        most=MAX_ENTRIES,
        type_text=type_text,
    )


@router.post("")
def sign(
    request: Request, pages: PagesOf, desk: DeskOf, person: Inspecting, search: Annotated[SearchForm, Form()]
) -> Response:
    """The signed file."""
    asked = asked_search(search.model_dump(exclude={"csrf_token"}))
    try:
        data = desk.inspector.file(asked.wanted, inspector=person.name)
    except EvidenceMissing as problem:
        return refused(pages, request, problem, 404)
    return download(data, f"digua-inspection-{datetime.now(UTC):%Y%m%d-%H%M%S}.json")
