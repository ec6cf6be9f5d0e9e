"""The registry of models. Released ones are public; others are for the administrator."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import PlainTextResponse, Response

from crypto.wire.base import WireModel
from hub.api.dependencies import AdminOnly, HubOf, RawBody, parse
from hub.api.parties import JOSE
from hub.problems import language_of_request

router = APIRouter(prefix="/v1/models", tags=["models"])


class ReleaseOrder(WireModel):
    """Body of POST /v1/models/{model_id}/release."""

    scope: Literal["evaluation", "release"] = "release"


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


@router.get("")
def list_models(hub: HubOf, admin: Admin) -> dict[str, object]:
    """List released and withdrawn models; to the administrator, all."""
    return {
        "models": [
            {
                "model_id": model.model_id,
                "model_type": model.model_type,
                "campaign_id": model.campaign_id,
                "status": model.status,
                "registered_at": model.registered_at.isoformat(),
            }
            for model in hub.models.all()
            if admin or model.status != "registered"
        ]
    }


@router.get("/{model_id}")
def read_model(hub: HubOf, model_id: str, admin: Admin) -> Response:
    """Return a model's exact bytes; their SHA-256 is its id."""
    return Response(hub.models.artefact(model_id, unreleased=admin), media_type="application/json")


@router.get("/{model_id}/card")
def read_card(
    hub: HubOf, model_id: str, request: Request, admin: Admin, lang: Literal["zh", "en"] | None = None
) -> Response:
    """Return a model's card in Markdown, in the language of `lang` or Accept-Language."""
    language = lang or language_of_request(request.headers.get("accept-language"))
    text = hub.models.card(model_id, language, unreleased=admin)
    return PlainTextResponse(text, media_type="text/markdown", headers={"Content-Language": language})


@router.get("/{model_id}/release")
def read_release(hub: HubOf, model_id: str) -> Response:
    """Return the witness's newest word on a model: a JWS `model-release` or `model-withdrawal`."""
    return PlainTextResponse(hub.models.release_token(model_id), media_type=JOSE)


@router.post("/{model_id}/release", dependencies=[AdminOnly])
def release(hub: HubOf, model_id: str, body: RawBody) -> Response:
    """Have the witness fit the model again and release it."""
    order = parse(body or b"{}", ReleaseOrder)
    return PlainTextResponse(hub.models.release(model_id, order.scope), media_type=JOSE)


@router.post("/{model_id}/withdrawal", dependencies=[AdminOnly])
def withdraw(hub: HubOf, model_id: str, body: RawBody) -> Response:
    """Have the witness withdraw the model: nodes stop answering with it."""
    return PlainTextResponse(hub.models.withdraw(model_id, parse(body, WithdrawalOrder).reason), media_type=JOSE)
