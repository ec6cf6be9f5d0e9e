"""Every refusal of a request is answered with problem details (`hub.problem_details`), by `Accept-Language`.

Unforeseen errors say nothing of their cause to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from crypto.errors import CryptoError
from hub.errors import (
    ForbiddenError,
    HubError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
    UnauthorisedError,
)
from hub.problem_details import describe, kind_of, language_of_request
from hub.state_errors import DatabaseUnavailableError
from models.errors import ModelsError
from models.ops.metrics import PROBLEMS
from models.web.problems import route_of

MEDIA_TYPE = "application/problem+json"

_logger = structlog.get_logger("hub.problems")


AWAY = (OperationalError, InterfaceError)
"""What the database raises where it is gone, full or busy; the same may go at the next try."""

_BY_STATUS: dict[int, type[HubError]] = {
    401: UnauthorisedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
}


def respond(error: HubError | CryptoError | ModelsError, accept_language: str | None) -> JSONResponse:
    """Return the response that carries an error."""
    problem = describe(error, language_of_request(accept_language))
    headers = {"Content-Language": language_of_request(accept_language)}
    if isinstance(error, HubError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
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


def database_unavailable(scope: Scope, error: Exception) -> JSONResponse:
    """Return the refusal of a request during which the database was away.

    Whether a commit under way went through is not known: hence the key.
    """
    request = Request(scope)
    _logger.error("database-unavailable", path=route_of(request), reason=str(getattr(error, "orig", error)))
    refusal = DatabaseUnavailableError(
        "The hub's database cannot be used now.",
        remedy="Send the same request again with the same Idempotency-Key; if it persists, the hub's operator looks at"
        " the database and at the room on its disk.",
        party=request.app.state.own_name,
    )
    return respond(refusal, request.headers.get("accept-language"))


def install(app: FastAPI) -> None:
    """Let every error of the application come out as problem details."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, (HubError, CryptoError, ModelsError)):
            PROBLEMS.labels("hub", error.code).inc()
            if kind_of(error).status >= 500:
                _logger.warning("problem", code=error.code, reason=error.message, path=route_of(request))
            return respond(error, request.headers.get("accept-language"))
        if isinstance(error, (ValidationError, RequestValidationError)):
            return respond(request_error(error), request.headers.get("accept-language"))
        if isinstance(error, DataError) and holds_nul(error.params):
            refusal = RequestError("A text holds a NUL character.", field="body", remedy="Leave the character out.")
            return respond(refusal, request.headers.get("accept-language"))
        return await unforeseen(request, error)

    async def away(request: Request, error: Exception) -> JSONResponse:
        return database_unavailable(request.scope, error)

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
        PROBLEMS.labels("hub", InternalError.code).inc()
        _logger.error("unforeseen-error", path=route_of(request), exc_info=error)
        failure = InternalError(
            "The hub failed on this request.", remedy="Try again; if it persists, ask the operator to read its log."
        )
        return respond(failure, request.headers.get("accept-language"))

    for each in (HubError, CryptoError, ModelsError, ValidationError, RequestValidationError, DataError):
        app.add_exception_handler(each, known)
    for lost in AWAY:
        app.add_exception_handler(lost, away)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)
