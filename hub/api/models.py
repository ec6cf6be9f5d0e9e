"""The registry of models. Released ones are public; others are for the administrator."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from crypto.wire.base import WireModel
from hub.api.dependencies import AdminOnly, HubOf, RawBody, parse
from hub.api.described import JOSE, about
from hub.api.views import ModelList, RollbackList
from hub.errors import NotFoundError
from hub.model_rollbacks import RolledBack
from hub.problem_details import language_of_request
from models.card import Format
from models.drift import reading_of
from models.evaluation_result import EvaluationResult
from models.points_table import MEDIA, PointsFormat, file_name
from models.published_table import PublishedTable
from models.web.headers import DOCUMENT_POLICY

router = APIRouter(prefix="/v1/models", tags=["models"])


class ReleaseOrder(WireModel):
    """Body of POST /v1/models/{model_id}/release."""

    scope: Literal["evaluation", "release"] = "release"


class RollbackOrder(WireModel):
    """Body of POST /v1/models/rollback."""

    line: Annotated[str, Field(min_length=1, max_length=160)]
    version: Annotated[int, Field(ge=1)]
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class WithdrawalOrder(WireModel):
    """Body of POST /v1/models/{model_id}/withdrawal."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]


def is_admin(request: Request, hub: HubOf) -> bool:
    """Say whether the request carries the administrator's token; a wrong one is refused, none at all is not."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        return False
    hub.admin.check(authorization)
    return True


Admin = Annotated[bool, Depends(is_admin)]


@router.get("", **about(gives=ModelList, caller="administrator", optional=True, made=True))
def list_models(hub: HubOf, admin: Admin) -> dict[str, object]:
    """List released and withdrawn models; to the administrator, all.

    Of each line the model that was released, or rolled back to, last is the current one. AUC comes from an evaluation
    stage.
    """
    found = hub.evaluations.all()
    return {
        "models": [
            {
                "model_id": model.model_id,
                "model_type": model.model_type,
                "campaign_id": model.campaign_id,
                "line": model.line,
                "version": model.version,
                "status": model.status,
                "current": model.current,
                "waiting": model.waiting,
                "epsilon": model.epsilon,
                "evaluation_epsilon": None if model.model_id not in found else found[model.model_id].epsilon,
                "auc": None if model.model_id not in found else found[model.model_id].auc.model_dump(),
                "registered_at": model.registered_at.isoformat(),
            }
            for model in hub.models.all()
            if admin or model.status != "registered"
        ]
    }


@router.get("/rollbacks", **about(gives=RollbackList, made=True))
def list_rollbacks(hub: HubOf) -> dict[str, list[str]]:
    """List what the witness signed about which models are in use: JWS `model-rollback`, the oldest first."""
    return {"rollbacks": list(hub.rollbacks.tokens())}


@router.get("/{model_id}", **about(caller="administrator", optional=True))
def read_model(hub: HubOf, model_id: str, admin: Admin) -> Response:
    """Return a model's exact bytes; their SHA-256 is its id."""
    return Response(hub.models.artefact(model_id, unreleased=admin), media_type="application/json")


@router.get("/{model_id}/card", **about(gives=("text/html", "text/markdown"), caller="administrator", optional=True))
def read_card(
    hub: HubOf,
    model_id: str,
    request: Request,
    admin: Admin,
    form: Annotated[Format | None, Query(alias="format")] = None,
    lang: Literal["zh", "en"] | None = None,
) -> Response:
    """Return a model's card; `format` and `lang` go before Accept and Accept-Language."""
    language = lang or language_of_request(request.headers.get("accept-language"))
    chosen = form or _form_of(request.headers.get("accept"))
    text = hub.cards.card(model_id, language, chosen, unreleased=admin)
    headers = {"Content-Language": language, "Vary": "Accept, Accept-Language, Authorization"}
    if chosen == "md":
        return PlainTextResponse(text, media_type="text/markdown", headers=headers)
    headers["Content-Security-Policy"] = DOCUMENT_POLICY
    return HTMLResponse(text, headers=headers)


@router.get(
    "/{model_id}/points",
    **about(gives=("text/csv", MEDIA["xlsx"]), caller="administrator", optional=True),
)
def read_points(
    hub: HubOf,
    model_id: str,
    request: Request,
    admin: Admin,
    form: Annotated[PointsFormat, Query(alias="format")] = "csv",
    lang: Literal["zh", "en"] | None = None,
) -> Response:
    """Return a scorecard's table of points for a spreadsheet: points, shares, default rates, WoE and IV of each bin.

    `lang` goes before Accept-Language. Shares, rates, WoE and IV come from the noisy table, with 95 % intervals.
    """
    language = lang or language_of_request(request.headers.get("accept-language"))
    made = hub.cards.points(model_id, language, form, unreleased=admin)
    return points_answer(made, model_id, form, language)


@router.get("/{model_id}/table", **about(gives=PublishedTable, caller="administrator", optional=True))
def read_table(hub: HubOf, model_id: str, admin: Admin) -> Response:
    """Return the noisy table that a scorecard was fitted on; its digest is in the model, which the witness signed."""
    return Response(hub.cards.table(model_id, unreleased=admin).model_dump_json(), media_type="application/json")


@router.get("/{model_id}/stability", **about(gives=dict[str, Any], caller="administrator", optional=True, made=True))
def read_stability(hub: HubOf, model_id: str, admin: Admin) -> dict[str, object]:
    """Return what other noise on the same table would have made of a scorecard: refits, and how far they are apart."""
    return asdict(hub.cards.stability(model_id, unreleased=admin))


@router.get("/{model_id}/evaluation", **about(gives=EvaluationResult, caller="administrator", optional=True))
def read_evaluation(hub: HubOf, model_id: str, admin: Admin) -> Response:
    """Return what a model's newest evaluation stage found: noisy counts by band, and figures with intervals."""
    hub.models.artefact(model_id, unreleased=admin)  # refuses what its card refuses
    found = hub.evaluations.newest(model_id)
    if found is None:
        raise NotFoundError(
            "The model was not evaluated.",
            field="model_id",
            remedy="Order a campaign whose stages end with evaluation.",
        )
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/{model_id}/comparison", **about(gives=dict[str, Any], caller="administrator", optional=True, made=True))
def read_comparison(
    hub: HubOf,
    model_id: str,
    request: Request,
    admin: Admin,
    other: Annotated[str, Query(alias="with")],
    lang: Literal["zh", "en"] | None = None,
) -> dict[str, object]:
    """Compare a model with a newer one: privacy, figures with their noise, features, bins and points."""
    language = lang or language_of_request(request.headers.get("accept-language"))
    found = hub.cards.compare(model_id, other, language, unreleased=admin)
    plain = asdict(found)
    if found.stability is not None:
        plain["stability"] |= {"beyond_noise": found.stability.beyond_noise, "reading": reading_of(found.stability)}
    for each, line in zip(found.drift, plain["drift"], strict=True):
        line["reading"] = each.reading
    return plain


@router.get("/{model_id}/release", **about(gives=(JOSE,)))
def read_release(hub: HubOf, model_id: str) -> Response:
    """Return the witness's newest word on a model: a JWS `model-release` or `model-withdrawal`."""
    return PlainTextResponse(hub.models.release_token(model_id), media_type=JOSE)


@router.post(
    "/rollback",
    dependencies=[AdminOnly],
    **about(takes=RollbackOrder, gives=RolledBack, caller="administrator", made=True),
)
def roll_back(hub: HubOf, body: RawBody) -> dict[str, object]:
    """Make another version of a line its current one, under the witness's signature: `over` are out of use then."""
    order = parse(body, RollbackOrder)
    return asdict(hub.rollbacks.roll_back(order.line, order.version, order.reason))


@router.post(
    "/{model_id}/release",
    dependencies=[AdminOnly],
    **about(takes=ReleaseOrder, gives=(JOSE,), caller="administrator", optional=True),
)
def release(hub: HubOf, model_id: str, body: RawBody) -> Response:
    """Have the witness fit the model again and release it."""
    order = parse(body or b"{}", ReleaseOrder)
    return PlainTextResponse(hub.models.release(model_id, order.scope), media_type=JOSE)


@router.post(
    "/{model_id}/withdrawal",
    dependencies=[AdminOnly],
    **about(takes=WithdrawalOrder, gives=(JOSE,), caller="administrator"),
)
def withdraw(hub: HubOf, model_id: str, body: RawBody) -> Response:
    """Have the witness withdraw the model: nodes stop answering with it."""
    return PlainTextResponse(hub.models.withdraw(model_id, parse(body, WithdrawalOrder).reason), media_type=JOSE)


def points_answer(made: bytes, model_id: str, form: PointsFormat, language: str) -> Response:
    """A table of points as a file to keep."""
    headers = {
        "Content-Language": language,
        "Content-Disposition": f'attachment; filename="{file_name(model_id, form)}"',
        "Vary": "Accept-Language, Authorization",
    }
    return Response(made, media_type=MEDIA[form], headers=headers)


def _form_of(accept: str | None) -> Format:
    """A page for who asks for HTML before Markdown, as browsers do; Markdown for all others."""
    for part in (accept or "").split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            return "html"
        if kind in ("text/markdown", "text/plain", "*/*"):
            return "md"
    return "md"
