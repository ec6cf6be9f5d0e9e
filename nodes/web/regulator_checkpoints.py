"""Checkpoints that the witness cosigned, those that it refused, and the proof that any two are of one log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from crypto.canonical import canonical_bytes
from crypto.wire.audit import ConsistencyProof
from models.web.access import needs
from models.web.pages import PagesOf
from models.web.people import Person
from models.web.problems import PageProblem, problem_of
from models.web.rights import Right
from nodes.errors import MirrorBroken
from nodes.web.regulator_desk import DeskOf, RegulatorDesk, refused
from nodes.web.regulator_log import download
from nodes.witness.evidence import EvidenceMissing

router = APIRouter(prefix="/regulator/checkpoints", include_in_schema=False)

Reader = Annotated[Person, needs(Right.OVERSEE)]
PAGE = 50


@router.get("")
def checkpoints(request: Request, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """The list, newest first, and the comparison of two of them where two are named."""
    params = request.query_params
    below = _size(params.get("below"))
    listed = desk.checkpoints.newest(limit=PAGE, below=below)
    old, new = _size(params.get("old")), _size(params.get("new"))
    proof: ConsistencyProof | None = None
    problem: PageProblem | None = None
    if params.get("old") or params.get("new"):
        try:
            proof = _proof(desk, old, new)
        except (EvidenceMissing, MirrorBroken) as error:
            problem = problem_of(pages, request, error)
    return pages.render(
        request,
        "regulator/checkpoints.html.j2",
        422 if problem else 200,
        listed=listed,
        number=desk.checkpoints.count(),
        older=listed[-1].size if len(listed) == PAGE else None,
        refused=desk.checkpoints.refused(),
        proof=proof,
        hashes=[] if proof is None else [each.hex() for each in proof.hashes],
        signers=() if proof is None else desk.signers(proof.new),
        problem=problem,
        old=params.get("old", "")[:20],
        new=params.get("new", "")[:20],
        progress=desk.mirror.progress(),
    )


@router.get("/proof.json")
def proof(request: Request, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """The proof between two checkpoints as a file: `crypto.wire.audit.ConsistencyProof`."""
    old, new = (_size(request.query_params.get(name)) for name in ("old", "new"))
    try:
        found = _proof(desk, old, new)
    except (EvidenceMissing, MirrorBroken) as problem:
        return refused(pages, request, problem, 404)
    return download(canonical_bytes(found), f"digua-consistency-{old}-{new}.json")


def _proof(desk: RegulatorDesk, old: int | None, new: int | None) -> ConsistencyProof:
    return desk.evidence.consistency(old or 0, new or 0)


def _size(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None
