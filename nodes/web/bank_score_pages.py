"""Pages of one score and of a merchant's consents. Identifiers come in bodies of forms alone: no address holds one."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from crypto.errors import IdentifierError
from crypto.identifiers import IdentifierType, normalise
from crypto.wire.consent import Purpose
from models.web.access import needs
from models.web.people import Person
from models.web.problems import PageProblem
from models.web.rights import Right
from nodes.web.bank import desks_of, first_place, lang_of, look_at, pages_of
from nodes.web.bank_scores import NoScore, chosen_purpose
from nodes.web.bank_words import ASKABLE, PURPOSES, refused, refused_error

router = APIRouter()
FORM = re.compile(r"[0-9a-f]{32}")
MODEL = re.compile(r"sha256:[0-9a-f]{64}")
LONGEST = 256
Anyone = Annotated[Person, needs(Right.OWN_ACCOUNT)]
Officer = Annotated[Person, needs(Right.ASK_SCORES)]
Reader = Annotated[Person, needs(Right.READ_CONSENTS)]
Field = Annotated[str, Form()]


@router.get("/bank")
def enter(person: Anyone) -> RedirectResponse:
    """Lead to the first page that the person may open."""
    return RedirectResponse(first_place(person), 303)


@router.get("/bank/score")
def score_form(request: Request, person: Officer) -> Response:
    """Show the empty form."""
    return _score_form(request)


@router.post("/bank/score")
def score(
    request: Request, person: Officer, identifier: Field = "", purpose: Field = "", model: Field = "", form: Field = ""
) -> Response:
    """Ask for one score; the same form sent again shows the same answer and asks nobody."""
    desks, lang = desks_of(request), lang_of(request)
    chosen = chosen_purpose(purpose, ASKABLE)
    wrong = _wrong(desks.scores.id_type(), identifier, lang)
    if wrong:
        return _score_form(request, identifier=identifier, purpose=purpose, model=model, form=form, wrong=wrong)
    if chosen is None or not FORM.fullmatch(form) or (model and not MODEL.fullmatch(model)):
        return _score_form(request, identifier=identifier, problem=refused("gateway-refused", lang))
    name = normalise(desks.scores.id_type(), identifier)
    look_at(request, person, "score", name)
    found = desks.scores.score(form, person.person_id, name, purpose=chosen, model_id=model or None, lang=lang)
    if isinstance(found, NoScore):
        return _score_form(
            request,
            identifier=name,
            purpose=purpose,
            model=model,
            form=form if found.refused.code != "gateway-refused" else "",
            problem=found.refused,
            sources=found.sources,
        )
    return pages_of(request).render(request, "bank/score.html.j2", sheet=found, person_name=person.name)


@router.get("/bank/consents")
def consents_form(request: Request, person: Reader) -> Response:
    """Show the empty form."""
    return _consents(request)


@router.post("/bank/consents")
def consents(request: Request, person: Reader, identifier: Field = "", purpose: Field = "") -> Response:
    """Show what is held of one merchant."""
    desks, lang = desks_of(request), lang_of(request)
    wrong = _wrong(desks.scores.id_type(), identifier, lang)
    if wrong:
        return _consents(request, identifier=identifier, wrong=wrong)
    chosen: Purpose = chosen_purpose(purpose, ASKABLE) or ASKABLE[0]
    name = normalise(desks.scores.id_type(), identifier)
    look_at(request, person, "consents", name)
    found = desks.consents.look(name, purpose=chosen, lang=lang)
    return _consents(request, identifier=name, purpose=chosen, found=found)


def _score_form(
    request: Request,
    *,
    identifier: str = "",
    purpose: str = "",
    model: str = "",
    form: str = "",
    wrong: str = "",
    problem: PageProblem | None = None,
    sources: object = (),
) -> Response:
    desks, lang = desks_of(request), lang_of(request)
    return pages_of(request).render(
        request,
        "bank/score_form.html.j2",
        422 if wrong or problem else 200,
        identifier=identifier[:LONGEST],
        id_type=desks.scores.id_type(),
        purpose=purpose or ASKABLE[0],
        purposes=[(each, PURPOSES[each]) for each in ASKABLE],
        model=model,
        models=[("", "The newest model"), *((each.model_id, each.text) for each in desks.scores.choices(lang))],
        form=form if FORM.fullmatch(form) else secrets.token_hex(16),
        wrong=wrong,
        problem=problem,
        sources=sources,
    )


def _consents(
    request: Request,
    *,
    identifier: str = "",
    purpose: str = "",
    wrong: str = "",
    found: object = None,
) -> Response:
    return pages_of(request).render(
        request,
        "bank/consents.html.j2",
        422 if wrong else 200,
        identifier=identifier[:LONGEST],
        id_type=desks_of(request).scores.id_type(),
        purpose=purpose or ASKABLE[0],
        purposes=[(each, PURPOSES[each]) for each in ASKABLE],
        wrong=wrong,
        found=found,
    )


def _wrong(id_type: IdentifierType, identifier: str, lang: str) -> str:
    """What is wrong with an identifier as it was typed, and the remedy; "" where nothing is."""
    try:
        normalise(id_type, identifier)
    except IdentifierError as problem:
        found = refused_error(problem, lang)
        return f"{found.detail}{'。' if lang == 'zh' else '. '}{found.remedy}"
    return ""
