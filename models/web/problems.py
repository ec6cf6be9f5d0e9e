"""Problem details as pages, for readers; programs go on getting JSON (RFC 9457).

The application's own handlers stay the one mapping of errors: what they answer is shown, with a support id that the
log has too.
"""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from models.i18n import title_of
from models.web.language import APIS, language_of_reader
from models.web.pages import Pages

MEDIA_TYPE = "application/problem+json"
_logger = structlog.get_logger("models.web.problems")
_Handler = Callable[[Request, Exception], Awaitable[Response]]


@dataclass(frozen=True)
class PageProblem:
    """What a page says of a refusal.

    Attributes:
        title: in the reader's language.
        detail, remedy: message ids, or sentences as the error gave them.
        code: stable, machine-readable.
        support_id: what the operator finds the request by in the log; None where nothing was logged.
    """

    title: str
    detail: str = ""
    remedy: str | None = None
    code: str | None = None
    field: str | None = None
    party: str | None = None
    support_id: str | None = None


def wants_page(request: Request) -> bool:
    """Whether a reader asked: one whose browser takes HTML, and not of an API."""
    accept = request.headers.get("accept", "")
    return "text/html" in accept and not request.url.path.startswith(APIS)


def route_of(request: Request) -> str:
    """The route of a request for logs: without what stands in its places, which may be a secret link."""
    return getattr(request.scope.get("route"), "path", "")


def page_problem(pages: Pages, request: Request, body: dict[str, Any]) -> PageProblem:
    """Return what a page says of problem details, its title translated by the code."""
    code = str(body.get("code", ""))
    title = title_of(code, language_of_reader(request), *pages.catalogues) if code else None
    cause = body.get("cause") if isinstance(body.get("cause"), dict) else None
    detail = str(body.get("detail", ""))
    if cause is not None and cause.get("detail"):
        detail = f"{detail} {cause['detail']}"
    return PageProblem(
        title=title or str(body.get("title", "")),
        detail=detail,
        remedy=body.get("remedy"),
        code=code or None,
        field=body.get("field"),
        party=body.get("party"),
    )


def problem_of(pages: Pages, request: Request, error: Exception) -> PageProblem:
    """Return what a page says of one of our errors, e.g. beside the form that it is about."""
    code = getattr(error, "code", None)
    title = title_of(code, language_of_reader(request), *pages.catalogues) if isinstance(code, str) else None
    return PageProblem(
        title=title or getattr(type(error), "title", None) or type(error).__name__,
        detail=str(error),
        remedy=getattr(error, "remedy", None),
        code=code if isinstance(code, str) else None,
        field=getattr(error, "field", None),
        party=getattr(error, "party", None),
    )


def install_problem_pages(app: FastAPI, pages: Pages) -> None:
    """Show readers as a page what the handlers that the application has by now answer as JSON."""
    for kind, handler in list(app.exception_handlers.items()):
        app.exception_handlers[kind] = _shown(handler, pages)


def _shown(handler: Callable[[Request, Exception], Any], pages: Pages) -> _Handler:
    async def handle(request: Request, error: Exception) -> Response:
        found = handler(request, error)
        response: Response = await found if inspect.isawaitable(found) else found
        if not wants_page(request) or response.media_type != MEDIA_TYPE:
            return response
        support_id = secrets.token_hex(4)
        body = json.loads(bytes(response.body))
        problem = page_problem(pages, request, body)
        _logger.info("problem-page", support_id=support_id, code=problem.code, path=route_of(request))
        page = pages.render(
            request,
            "web/problem.html.j2",
            response.status_code,
            of=PageProblem(**{**problem.__dict__, "support_id": support_id}),
        )
        for name in ("www-authenticate", "allow", "retry-after"):
            if name in response.headers:
                page.headers[name] = response.headers[name]
        return page

    return handle
