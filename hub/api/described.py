"""What the OpenAPI document says beyond what signatures show: exact bodies, tokens, refusals, who may call.

Bodies that are verified before they are parsed reach a route as bytes, so that FastAPI cannot know their shape; `about`
says it. Every refusal is problem details, and every POST carries an Idempotency-Key; `document` adds both to all.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import Response

from hub.idempotency import HEADER, MAX_KEY
from hub.problem_details import Problem
from models.web.openapi import REF, complete

JSON = "application/json"
JOSE = "application/jose"
TEXT = "text/plain"
BYTES = "application/octet-stream"
Caller = Literal["administrator", "party"]

_TOKEN = {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"}
_SCHEMES: dict[str, dict[str, str]] = {
    "administrator": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token in the file that hub.yaml names as admin_token_file.",
    },
    "party": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Digua <JWS of type request>`, signed for this method and path, used once.",
    },
}


def about(
    *,
    takes: type[BaseModel] | str | None = None,
    gives: type[Any] | tuple[str, ...] = (JSON,),
    status: int = 200,
    caller: Caller | None = None,
    optional: bool = False,
    made: bool = False,
) -> dict[str, Any]:
    """Return a route's arguments that describe it.

    Args:
        takes: the model of a JSON body, or the type (`typ`) of a JWS; None for no body.
        gives: the model of a JSON answer, or the media types of another; an empty tuple for no body.
        status: of the answer.
        caller: whose credentials are needed.
        optional: the body, or the credentials where there is no body, may be left out.
        made: the route returns plain values, from which FastAPI makes `gives`, and fails where it cannot.
    """
    extra: dict[str, Any] = {}
    if isinstance(takes, str):
        content = {JOSE: {"schema": {**_TOKEN, "description": f"Compact JWS of type `{takes}`."}}}
        extra["requestBody"] = {"required": True, "content": content}
    elif takes is not None:
        schema = takes.model_json_schema(ref_template=REF, mode="validation")
        extra["requestBody"] = {"required": not optional, "content": {JSON: {"schema": schema}}}
    if caller is not None:
        extra["security"] = [{caller: []}] + ([{}] if optional and takes is None else [])
    if made:
        return {
            "status_code": status,
            "response_model": gives,
            "response_model_exclude_unset": True,
            "openapi_extra": extra,
        }
    if isinstance(gives, tuple):
        answer: dict[str, Any] = {
            "content": {media: {} if media == JSON else {"schema": {"type": "string"}} for media in gives}
        }
    else:
        answer = {"model": gives}
    return {
        "status_code": status,
        "response_class": Response,
        "responses": {status: {"description": "Done", **answer}},
        "openapi_extra": extra,
    }


def document(app: FastAPI) -> dict[str, Any]:
    """Make the application's OpenAPI document, once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        complete(made, Problem.model_json_schema(ref_template=REF, mode="serialization"))
        made["components"] |= {"securitySchemes": _SCHEMES, "parameters": {"IdempotencyKey": _KEY}}
        for operations in made["paths"].values():
            if "post" in operations:
                operations["post"].setdefault("parameters", []).append(
                    {"$ref": "#/components/parameters/IdempotencyKey"}
                )
        app.openapi_schema = made
    return app.openapi_schema


_KEY: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": True,
    "description": "The same for a repeated request: it takes effect once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": r"^[!-~]+$"},
}
