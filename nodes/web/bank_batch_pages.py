"""Pages of batches: a file handed in, its progress while it runs, its results, and former ones."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from fastapi import APIRouter, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from crypto.errors import CryptoError
from models.errors import ModelsError
from models.web.access import needs
from models.web.begun import begun
from models.web.people import Person
from models.web.problems import PageProblem
from models.web.rights import Right
from nodes.errors import BatchUnknown, NodeError
from nodes.web.bank import desks_of, lang_of, look_at, pages_of
from nodes.web.bank_files import MAX_FILE, CheckedFile
from nodes.web.bank_score_pages import FORM, MODEL, Field
from nodes.web.bank_scores import chosen_purpose
from nodes.web.bank_words import ASKABLE, PURPOSES, refused, refused_error

router = APIRouter(prefix="/bank/batches")
UPLOADS = {"/bank/batches": MAX_FILE + (64 << 10)}
"""Beginnings of paths that take files → bytes, for the guard of all pages."""
PAGE_SIZE = 20
_BATCH = re.compile(r"[0-9a-f]{32}")
Officer = Annotated[Person, needs(Right.ASK_SCORES)]


@router.get("")
def list_batches(request: Request, person: Officer, page: str = "1") -> Response:
    """Show the form for a file, and former batches."""
    return _page(request, page=int(page) if page.isdecimal() and len(page) < 6 else 1)


@router.post("")
def hand_in(
    request: Request,
    person: Officer,
    file: UploadFile | None = None,
    purpose: Field = "",
    model: Field = "",
    form: Field = "",
) -> Response:
    """Check a file row by row, store it, and lead to its page; the same form leads to the batch that it made."""
    desks, lang = desks_of(request), lang_of(request)
    chosen = chosen_purpose(purpose, ASKABLE)
    if chosen is None or not FORM.fullmatch(form) or (model and not MODEL.fullmatch(model)):
        return _page(request, problem=refused("gateway-refused", lang))
    if file is None or not file.filename:
        return _page(request, missing=True, purpose=purpose, model=model)
    data = file.file.read(MAX_FILE + 1)
    try:
        found = desks.files.hand_in(form, person.person_id, data, purpose=chosen, model_id=model or None, lang=lang)
    except (CryptoError, ModelsError, NodeError) as problem:
        return _page(request, problem=refused_error(problem, lang))
    if isinstance(found, CheckedFile):
        return _page(request, checked=found, purpose=purpose, model=model)
    return RedirectResponse(f"/bank/batches/{found}", 303)


@router.get("/{batch_id}")
def show(request: Request, person: Officer, batch_id: str) -> Response:
    """Show how far a batch is."""
    line = desks_of(request).files.line(_known(batch_id), lang_of(request))
    return pages_of(request).render(request, "bank/batch.html.j2", batch=line)


@router.get("/{batch_id}/progress")
def progress(request: Request, person: Officer, batch_id: str) -> JSONResponse:
    """Say how far a batch is, for the script of its page."""
    return JSONResponse(desks_of(request).files.line(_known(batch_id), lang_of(request)).as_json())


@router.get("/{batch_id}/results")
def results(request: Request, person: Officer, batch_id: str) -> StreamingResponse:
    """Give the outcomes as CSV in the reader's language."""
    lang, files = lang_of(request), desks_of(request).files
    lines = files.results(_known(batch_id), lang)
    look_at(request, person, "batch-results", batch_id)
    name = f"digua-{batch_id[:8]}-{lang}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(begun(lines), media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/{batch_id}/pause")
def pause(request: Request, person: Officer, batch_id: str) -> RedirectResponse:
    """Ask nobody further."""
    desks_of(request).files.pause(_known(batch_id))
    return RedirectResponse(f"/bank/batches/{batch_id}", 303)


@router.post("/{batch_id}/resume")
def resume(request: Request, person: Officer, batch_id: str) -> RedirectResponse:
    """Go on."""
    desks_of(request).files.resume(_known(batch_id))
    return RedirectResponse(f"/bank/batches/{batch_id}", 303)


@router.post("/{batch_id}/retry")
def retry(request: Request, person: Officer, batch_id: str) -> RedirectResponse:
    """Ask again about those whose sources were away or whose answers expired."""
    desks_of(request).files.retry(_known(batch_id))
    return RedirectResponse(f"/bank/batches/{batch_id}", 303)


@router.post("/{batch_id}/forget")
def forget(request: Request, person: Officer, batch_id: str) -> RedirectResponse:
    """Delete a batch with its results."""
    desks_of(request).files.forget(_known(batch_id))
    return RedirectResponse("/bank/batches", 303)


def _known(batch_id: str) -> str:
    """A batch's id; what cannot be one is as unknown as any other."""
    if not _BATCH.fullmatch(batch_id):
        raise BatchUnknown("there is no such batch", field="batch_id", remedy="choose one from the list")
    return batch_id


def _page(
    request: Request,
    *,
    page: int = 1,
    purpose: str = "",
    model: str = "",
    missing: bool = False,
    checked: CheckedFile | None = None,
    problem: PageProblem | None = None,
) -> Response:
    desks, lang = desks_of(request), lang_of(request)
    total = desks.files.count()
    pages = max(1, -(-total // PAGE_SIZE))
    page = min(max(page, 1), pages)
    if checked is not None and checked.refusal is not None:
        problem = checked.refusal
    return pages_of(request).render(
        request,
        "bank/batches.html.j2",
        422 if missing or checked or problem else 200,
        purpose=purpose or ASKABLE[0],
        purposes=[(each, PURPOSES[each]) for each in ASKABLE],
        model=model,
        models=[("", "The newest model"), *((each.model_id, each.text) for each in desks.scores.choices(lang))],
        id_type=desks.scores.id_type(),
        form=secrets.token_hex(16),
        size=MAX_FILE >> 20,
        missing=missing,
        checked=checked,
        problem=problem,
        batches=desks.files.lines(limit=PAGE_SIZE, offset=PAGE_SIZE * (page - 1), lang=lang),
        total=total,
        page=page,
        pages=pages,
    )
