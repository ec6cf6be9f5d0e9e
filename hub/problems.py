"""Every refusal as RFC 9457 problem details: one catalogue from an error's code to its status and title.

The detail is the error's own sentence; titles are translated by `Accept-Language`. Unforeseen errors say nothing of
their cause to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from crypto.errors import CryptoError
from crypto.wire.link import ProblemBody
from hub.errors import (
    ForbiddenError,
    HubError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    PeerRefused,
    RequestError,
    UnauthorisedError,
)
from models.errors import ModelsError
from models.i18n import catalogue, title_of
from models.web.problems import route_of

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:digua:problem:"

_logger = structlog.get_logger("hub.problems")


@dataclass(frozen=True)
class Kind:
    """What is the same for all errors of one code."""

    status: int
    title: str


BELOW: dict[str, Kind] = {
    "crypto-error": Kind(400, "A cryptographic check failed"),
    "signature-invalid": Kind(401, "The signature is not valid"),
    "key-unreadable": Kind(422, "The key cannot be read"),
    "sealed-box-unreadable": Kind(422, "The sealed box cannot be opened"),
    "canonical-form": Kind(422, "The value has no canonical form"),
    "identifier-invalid": Kind(422, "The identifier is not valid"),
    "pseudonym-unverified": Kind(422, "The blinded batch is refused"),
    "range-exceeded": Kind(422, "A value leaves the exact range"),
    "row-not-one-hot": Kind(422, "A row is not one-hot"),
    "manifest-invalid": Kind(422, "The manifest is not valid"),
    "exchange-invalid": Kind(422, "The exchange is not what the slice implies"),
    "attempt-state": Kind(409, "The attempt is in another state"),
    "noise-parameters": Kind(422, "The noise parameters are out of range"),
    "proof-invalid": Kind(422, "The proof does not verify"),
    "frame-invalid": Kind(400, "The frame is not valid"),
    "models-error": Kind(400, "A model check failed"),
    "schema-invalid": Kind(422, "The schema or file is not valid"),
    "data-invalid": Kind(422, "The data do not fit the schema"),
    "budget-exceeded": Kind(409, "The privacy budget does not allow this"),
    "device-unavailable": Kind(422, "The computing device asked for is not available"),
    "fit-impossible": Kind(422, "The model cannot be fitted"),
    "artefact-invalid": Kind(422, "The model artefact is not valid"),
    "page-refused": Kind(400, "The page refuses this"),
    "sign-in-needed": Kind(401, "Please sign in"),
    "sign-in-refused": Kind(401, "Sign-in refused"),
    "right-missing": Kind(403, "Your role does not allow this"),
    "form-foreign": Kind(403, "The form is not from this session"),
    "attempts-too-many": Kind(429, "Too many attempts"),
    "link-spent": Kind(410, "The link is no longer valid"),
    "form-invalid": Kind(422, "A field of the form is not right"),
    "form-too-large": Kind(413, "The form is too large"),
    "host-unknown": Kind(421, "Not served under this name"),
    "person-unknown": Kind(404, "There is no such person"),
    "person-known": Kind(409, "The person has an account already"),
    "access-state": Kind(500, "The accounts' key file cannot be used"),
}
"""Kinds of the layers below, which know nothing of HTTP; the hub's own errors carry theirs."""

_BY_STATUS: dict[int, type[HubError]] = {
    401: UnauthorisedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
}


class Problem(BaseModel):
    """The body of every refusal; `code` is stable, `remedy` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    remedy: str | None = None
    party: str | None = None
    cause: ProblemBody | None = None
    """Where another party refused: its own words."""


def kind_of(error: HubError | CryptoError | ModelsError) -> Kind:
    """Return status and English title of an error."""
    if isinstance(error, HubError):
        return Kind(error.status, error.title)
    return BELOW.get(error.code) or BELOW["crypto-error" if isinstance(error, CryptoError) else "models-error"]


def title_in(code: str, english: str, language: str) -> str:
    """Return the title of a code in the caller's language."""
    if language != "zh":
        return english
    return title_of(code, language, catalogue("hub")) or english


def describe(error: HubError | CryptoError | ModelsError, language: str = "en") -> Problem:
    """Return an error's problem details."""
    kind = kind_of(error)
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=title_in(error.code, kind.title, language),
        status=kind.status,
        detail=error.message,
        code=error.code,
        field=error.field,
        remedy=error.remedy,
        party=error.party if isinstance(error, HubError) else None,
        cause=error.problem if isinstance(error, PeerRefused) else None,
    )


def language_of_request(accept_language: str | None) -> str:
    """Return `zh` or `en`, whichever the header ranks higher (RFC 9110, 12.5.4); English where it says nothing."""
    best, language = 0.0, "en"
    for part in (accept_language or "").split(","):
        tag, _, parameters = part.strip().partition(";")
        name = tag.strip().lower().partition("-")[0]
        if name not in ("zh", "en"):
            continue
        quality = 1.0
        if parameters.strip().startswith("q="):
            try:
                quality = float(parameters.strip()[2:])
            except ValueError:
                quality = 0.0
        if quality > best:
            best, language = quality, name
    return language


def respond(error: HubError | CryptoError | ModelsError, accept_language: str | None) -> JSONResponse:
    """Return the response that carries an error."""
    problem = describe(error, language_of_request(accept_language))
    headers = {"Content-Language": language_of_request(accept_language)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer, Digua"
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def request_error(error: ValidationError | RequestValidationError) -> RequestError:
    """Return the first fault of a validation as an error of ours; inputs are never repeated."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return RequestError(
        f"{field}: {first['msg']}" if field else str(first["msg"]),
        field=field or None,
        remedy="Correct the field and send the request again.",
    )


def holds_nul(values: object) -> bool:
    """Say whether a text among a statement's values has a character that PostgreSQL cannot store."""
    if isinstance(values, str):
        return "\x00" in values
    if isinstance(values, Mapping):
        return any(map(holds_nul, values.values()))
    return isinstance(values, list | tuple) and any(map(holds_nul, values))


def install(app: FastAPI) -> None:
    """Let every error of the application come out as problem details."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, (HubError, CryptoError, ModelsError)):
            if kind_of(error).status >= 500:
                _logger.warning("problem", code=error.code, reason=error.message, path=route_of(request))
            return respond(error, request.headers.get("accept-language"))
        if isinstance(error, (ValidationError, RequestValidationError)):
            return respond(request_error(error), request.headers.get("accept-language"))
        if isinstance(error, DataError) and holds_nul(error.params):
            refusal = RequestError("A text holds a NUL character.", field="body", remedy="Leave the character out.")
            return respond(refusal, request.headers.get("accept-language"))
        return await unforeseen(request, error)

    async def http(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else ""
        refusal = _BY_STATUS.get(status, RequestError)(
            f"{request.method} {request.url.path}: {detail}", remedy="See /v1/openapi.json for what the hub offers."
        )
        response = respond(refusal, request.headers.get("accept-language"))
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        _logger.error("unforeseen-error", path=route_of(request), exc_info=error)
        failure = InternalError(
            "The hub failed on this request.", remedy="Try again; if it persists, ask the operator to read its log."
        )
        return respond(failure, request.headers.get("accept-language"))

    for each in (HubError, CryptoError, ModelsError, ValidationError, RequestValidationError, DataError):
        app.add_exception_handler(each, known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)
