"""The regulator's word: parties by name and fingerprint, models by their exact bytes with the card beside them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import RedirectResponse, Response

from models.artefact import ModelArtefact
from models.card import card_of, render_card
from models.web.access import needs
from models.web.language import language_of_reader
from models.web.listing import Column, Ident, State, Term, arrange
from models.web.pages import PagesOf
from models.web.people import Person
from models.web.problems import problem_of
from models.web.rights import Right
from nodes.errors import ConfigError
from nodes.web.regulator_desk import DeskOf, RegulatorDesk, refused
from nodes.web.regulator_words import MODEL_STATES, MODEL_TONES
from nodes.witness.model_approvals import ProposedModel

router = APIRouter(prefix="/regulator", include_in_schema=False)

Reader = Annotated[Person, needs(Right.OVERSEE)]
Decider = Annotated[Person, needs(Right.APPROVE, fresh=True)]
PartyId = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
ModelId = Annotated[str, Path(pattern=r"^sha256:[0-9a-f]{64}$")]
MODELS = (
    Column[ProposedModel]("id", "Model", lambda row: Ident(row.model_id, f"/regulator/models/{row.model_id}")),
    Column[ProposedModel]("state", "State", lambda row: State(MODEL_STATES[row.state], MODEL_TONES[row.state])),
    Column[ProposedModel]("campaign", "Campaign", lambda row: None if row.artefact is None else row.artefact.campaign),
    Column[ProposedModel]("type", "Type", lambda row: None if row.artefact is None else Term(row.artefact.model_type)),
    Column[ProposedModel]("epsilon", "ε", lambda row: _epsilon(row.artefact), numeric=True),
    Column[ProposedModel]("reason", "Reason", lambda row: row.reason),
)


def _epsilon(artefact: ModelArtefact | None) -> float | None:
    return None if artefact is None else artefact.privacy.epsilon


@router.get("/parties")
def parties(request: Request, pages: PagesOf, desk: DeskOf, person: Reader) -> Response:
    """Approved parties, and those that the hub proposes."""
    return _parties(request, pages, desk, person)


def _parties(
    request: Request, pages: PagesOf, desk: RegulatorDesk, person: Person, error: ConfigError | None = None
) -> Response:
    found = desk.approvals.list()
    return pages.render(
        request,
        "regulator/parties.html.j2",
        422 if error else 200,
        proposed=[each for each in found if each.proposed is not None],
        approved=[each for each in found if each.fingerprint is not None],
        may_act=person.may(Right.APPROVE),
        own=desk.party_id,
        problem=None if error is None else problem_of(pages, request, error),
    )


@router.post("/parties/{party_id}/approve")
def approve_party(
    request: Request,
    party_id: PartyId,
    pages: PagesOf,
    desk: DeskOf,
    person: Decider,
    fingerprint: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Approve a party under the fingerprint that its owner told, typed in and compared with the hub's proposal."""
    try:
        desk.approvals.approve(party_id, fingerprint)
    except ConfigError as error:
        return _parties(request, pages, desk, person, error)
    return RedirectResponse("/regulator/parties", 303)


@router.post("/parties/{party_id}/withdraw")
def withdraw_party(party_id: PartyId, desk: DeskOf, _: Decider) -> Response:
    """Take an approval back: the next roster lacks the party."""
    if party_id != desk.party_id:
        desk.approvals.withdraw(party_id)
    return RedirectResponse("/regulator/parties", 303)


@router.get("/models")
def models(request: Request, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """All models that were proposed or signed here."""
    table = arrange(desk.models.list(), MODELS, request.query_params)
    return pages.render(request, "regulator/models.html.j2", table=table, by_hand=desk.by_hand)


@router.get("/models/{model_id}")
def model(request: Request, model_id: ModelId, pages: PagesOf, desk: DeskOf, person: Reader) -> Response:
    """One model with its card, and the forms to decide on it."""
    return _model(request, model_id, pages, desk, person)


def _model(
    request: Request,
    model_id: str,
    pages: PagesOf,
    desk: RegulatorDesk,
    person: Person,
    error: ConfigError | None = None,
) -> Response:
    found = next((each for each in desk.models.list() if each.model_id == model_id), None)
    if found is None:
        missing = ConfigError(
            f"no model {model_id} was proposed or signed here",
            field="model_id",
            remedy="choose one of the list of models",
        )
        return refused(pages, request, missing, 404)
    card = None
    if found.artefact is not None:
        card = card_of(desk.models.card_facts(model_id), language_of_reader(request))
    return pages.render(
        request,
        "regulator/model.html.j2",
        422 if error else 200,
        of=found,
        state=(MODEL_STATES[found.state], MODEL_TONES[found.state]),
        card=card,
        may_act=person.may(Right.APPROVE) and desk.by_hand and found.artefact is not None,
        problem=None if error is None else problem_of(pages, request, error),
    )


@router.get("/models/{model_id}/card")
def card_file(request: Request, model_id: ModelId, pages: PagesOf, desk: DeskOf, _: Reader) -> Response:
    """The card with its charts as a file of its own, which needs nothing else."""
    try:
        facts = desk.models.card_facts(model_id)
    except ConfigError as error:
        return refused(pages, request, error, 404)
    text = render_card(facts, language_of_reader(request), "html")
    headers = {
        "Content-Disposition": f'attachment; filename="digua-card-{model_id[7:19]}.html"',
        "Cache-Control": "no-store",
    }
    return Response(text, media_type="text/html", headers=headers)


@router.post("/models/{model_id}/approve")
def approve_model(request: Request, model_id: ModelId, pages: PagesOf, desk: DeskOf, person: Decider) -> Response:
    """Let a model out for scoring."""
    try:
        desk.models.approve(model_id)
    except ConfigError as error:
        return _model(request, model_id, pages, desk, person, error)
    return RedirectResponse(f"/regulator/models/{model_id}", 303)


@router.post("/models/{model_id}/refuse")
def refuse_model(
    request: Request,
    model_id: ModelId,
    pages: PagesOf,
    desk: DeskOf,
    person: Decider,
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Refuse a model, with a reason that the hub's operator reads."""
    try:
        if not reason.strip():
            raise _no_reason()
        desk.models.refuse(model_id, reason.strip())
    except ConfigError as error:
        return _model(request, model_id, pages, desk, person, error)
    return RedirectResponse(f"/regulator/models/{model_id}", 303)


def _no_reason() -> ConfigError:
    return ConfigError(
        "a refusal needs a reason", field="reason", remedy="write in a sentence why; the hub's operator reads it"
    )
