"""A given merchant's entries, opened by its own record. The look is recorded, and nothing of the record is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import Response

from models.web.access import access_of, needs
from models.web.pages import PagesOf
from models.web.people import Person
from models.web.problems import problem_of
from models.web.rights import Right
from nodes.errors import NodeError
from nodes.web.regulator_desk import DeskOf
from nodes.web.regulator_words import EVENT_TONES, EVENTS, PLACE_TONES, PLACES, type_text
from nodes.witness.openings import MAX_RECORD_BYTES, Opened, OpenedPlace, open_record, read_record

router = APIRouter(prefix="/regulator/merchant", include_in_schema=False)

Opener = Annotated[Person, needs(Right.OPEN_COMMITMENTS)]


@dataclass(frozen=True)
class Step:
    """A point of a time line."""

    at: datetime
    title: str
    tone: str
    index: int | None
    place: str
    by: str
    signed: bool


@router.get("")
def ask(request: Request, pages: PagesOf, _: Opener) -> Response:
    """The form."""
    return pages.render(request, "regulator/merchant.html.j2", opened=None, problem=None)


@router.post("")
def show(
    request: Request,
    pages: PagesOf,
    desk: DeskOf,
    person: Opener,
    file: Annotated[UploadFile | None, File()] = None,
    text: Annotated[str, Form(max_length=MAX_RECORD_BYTES)] = "",
) -> Response:
    """What the merchant's record opens; the look is written down before anything is shown."""
    data = file.file.read(MAX_RECORD_BYTES + 1) if file is not None and file.size else text.strip().encode()
    try:
        records = read_record(data)
        access_of(request).looks.record(person, "merchant-record", records.pii_principal_id)
        opened = open_record(records, desk.search)
    except NodeError as error:
        problem = problem_of(pages, request, error)
        return pages.render(request, "regulator/merchant.html.j2", 422, opened=None, problem=problem)
    return pages.render(
        request,
        "regulator/merchant.html.j2",
        problem=None,
        opened=opened,
        lines=timelines(opened),
        loose=[step_of(each) for each in opened.entries if each.record_id is None],
        counts=[(PLACES[place], PLACE_TONES[place], number) for place in PLACES if (number := _number(opened, place))],
    )


def timelines(opened: Opened) -> list[tuple[str, str, list[Step]]]:
    """Each consent's record id, state and history."""
    return [(each.record_id, each.state, [step_of(step) for step in each.steps]) for each in opened.histories]


def step_of(place: OpenedPlace) -> Step:
    """An entry as a point of a time line."""
    event = str(place.entry.facts.get("event"))
    title = EVENTS.get(event) if place.entry.type == "consent-event" else None
    tone = PLACE_TONES[place.place] if place.place != "verified" else EVENT_TONES.get(event, "neutral")
    if place.entry.type == "consent" and place.place == "verified":
        tone = "good"
    return Step(
        at=place.entry.time,
        title=title or type_text(place.entry.type),
        tone=tone,
        index=place.index,
        place=PLACES[place.place],
        by=place.entry.actor if place.entry.type == "query" else "",
        signed=place.signed,
    )


def _number(opened: Opened, place: str) -> int:
    return sum(each.place == place for each in opened.entries)
