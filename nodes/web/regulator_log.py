"""The log as the witness verified it: search, and each entry with the proof that the reader's browser checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from crypto.canonical import canonical_bytes
from models.web.access import needs
from models.web.pages import PagesOf
from models.web.people import Person
from models.web.rights import Right
from nodes.web.regulator_desk import DeskOf, RegulatorDesk, refused
from nodes.web.regulator_words import FACTS, type_text
from nodes.witness.evidence import EvidenceMissing
from nodes.witness.mirror_index import CHINA
from nodes.witness.mirror_search import Wanted

router = APIRouter(prefix="/regulator/log", include_in_schema=False)

Reader = Annotated[Person, needs(Right.OVERSEE)]
Index = Annotated[int, Path(ge=0, lt=1 << 53)]
PAGE = 50
FIELDS = ("party", "campaign", "model", "type")
_LONGEST = 160


@dataclass(frozen=True)
class AskedSearch:
    """What the form of a search says: as typed, as it is looked for, and which of its fields are no days."""

    typed: dict[str, str]
    wanted: Wanted
    wrong: tuple[str, ...]

    def address(self, **more: object) -> str:
        """The query string of this search."""
        given = {name: value for name, value in self.typed.items() if value} | more
        return f"?{urlencode(given)}" if given else ""


def asked_search(params: Mapping[str, str]) -> AskedSearch:
    """A search from its form. What is too long is cut; a day that is none is named, and not looked for."""
    typed = {name: params.get(name, "").strip()[:_LONGEST] for name in (*FIELDS, "since", "until")}
    wrong: list[str] = []
    moments: dict[str, int | None] = {"since": None, "until": None}
    for name in moments:
        if typed[name]:
            try:
                day = date.fromisoformat(typed[name])
                end = day + timedelta(days=name == "until")
                moments[name] = int(datetime(end.year, end.month, end.day, tzinfo=CHINA).timestamp())
            except (ValueError, OverflowError):
                wrong.append(name)
    values = {name: typed[name] or None for name in FIELDS}
    wanted = Wanted(**values, since=moments["since"], until=moments["until"])
    return AskedSearch(typed, wanted, tuple(wrong))


def search_choices(desk: RegulatorDesk) -> dict[str, list[tuple[str, str]]]:
    """For each field what occurs in the log: value and text."""
    found = {name: [(value, value) for value in desk.search.values(name)] for name in FIELDS}
    found["model"] = [(value, f"{value[:17]}…") for value, _ in found["model"]]
    found["type"] = [(value, type_text(value)) for value, _ in found["type"]]
    return found


@router.get("")
def search(request: Request, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """Entries by party, campaign, model, type and days, newest first."""
    asked = asked_search(request.query_params)
    below = request.query_params.get("below", "")
    before = int(below) if below.isascii() and below.isdigit() and len(below) < 16 else None
    found = desk.search.search(asked.wanted, limit=PAGE, below=before)
    older = None if found.next_below is None else asked.address(below=found.next_below)
    return pages.render(
        request,
        "regulator/log.html.j2",
        asked=asked,
        choices=search_choices(desk),
        found=found,
        older=older,
        newest=asked.address() if before is not None else None,
        progress=desk.mirror.progress(),
        type_text=type_text,
    )


@router.get("/{index}")
def entry(request: Request, index: Index, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """An entry, its leaf, and its inclusion proof."""
    try:
        proved = desk.evidence.entry(index)
    except EvidenceMissing as problem:
        return refused(pages, request, problem, 404)
    what = proved.found.entry
    facts = [] if what is None else sorted(what.facts.items())
    return pages.render(
        request,
        "regulator/entry.html.j2",
        index=index,
        entry=what,
        leaf=proved.proof.entry,
        facts=[(FACTS.get(name, name), value) for name, value in facts],
        hashes=[each.hex() for each in proved.proof.hashes],
        checkpoint=proved.checkpoint,
        cosigned_at=datetime.fromtimestamp(proved.checkpoint.time, UTC),
        signers=desk.signers(proved.checkpoint.note),
        last=proved.checkpoint.size - 1,
        type_text=type_text,
    )


@router.get("/{index}/proof.json")
def proof(request: Request, index: Index, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """The proof as a file: `crypto.wire.audit.InclusionProof`, which `audit verify` and others read."""
    try:
        proved = desk.evidence.entry(index)
    except EvidenceMissing as problem:
        return refused(pages, request, problem, 404)
    return download(canonical_bytes(proved.proof), f"digua-entry-{index}.json")


def download(data: bytes, name: str) -> Response:
    """A file for the reader to keep."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(data, media_type="application/json", headers=headers)
