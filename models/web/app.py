"""Puts pages on an application: guard, people's own pages, refusals that lead to the sign-in."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from models.errors import ModelsError
from models.web import account_pages, signin_pages
from models.web.access import Access
from models.web.errors import FormTooLarge, SignInNeeded, TooManyAttempts, WebError
from models.web.headers import PageGuard, PageRules
from models.web.pages import Pages
from models.web.problems import install_problem_pages, wants_page

_Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


def install_pages(
    app: FastAPI,
    access: Access,
    pages: Pages,
    *,
    uploads: Mapping[str, int] | None = None,
    apart: tuple[str, ...] = (),
) -> None:
    """Make an application one with pages; it has its exception handlers already, and its own routers come after.

    Args:
        app: the application; its handlers of `ModelsError` and `Exception` answer with problem details.
        access: the people's side, `app.state.access` from now on.
        pages: the look, `app.state.pages` from now on.
        uploads: beginnings of paths that take files → bytes.
        apart: beginnings of paths that are an API.
    """
    app.state.access = access
    pages.install(app)
    answer: _Handler = app.exception_handlers[ModelsError]
    for kind in (SignInNeeded, TooManyAttempts):
        app.add_exception_handler(kind, _leading_on(answer))
    app.add_exception_handler(HTTPException, _too_large(answer, app.exception_handlers[HTTPException]))
    install_problem_pages(app, pages)
    app.include_router(signin_pages.router)
    app.include_router(account_pages.router)

    async def refuse(request: Request, error: WebError) -> Response:
        return await _awaited(app.exception_handlers[ModelsError](request, error))

    async def fail(request: Request, error: Exception) -> Response:
        return await _awaited(app.exception_handlers[Exception](request, error))

    app.add_middleware(
        PageGuard, rules=PageRules(access.site, refuse=refuse, fail=fail, uploads=uploads or {}, apart=apart)
    )


def _leading_on(answer: _Handler) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Readers who have to sign in are led there and back; others are told when to come again."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, SignInNeeded) and request.method in ("GET", "HEAD") and wants_page(request):
            query = f"?{request.url.query}" if request.url.query else ""
            again = "&again=1" if error.again else ""
            return RedirectResponse(f"/signin?next={quote(request.url.path + query, safe='/')}{again}", 303)
        response = await _awaited(answer(request, error))
        if isinstance(error, TooManyAttempts):
            response.headers["retry-after"] = str(error.retry_after)
        return response

    return handle


def _too_large(answer: _Handler, other: _Handler) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What `models.web.headers` raises where a body turns out too large while it is read."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 413:
            error = FormTooLarge("The form is too large.", field="body", remedy="Send less, or a smaller file.")
            return await _awaited(answer(request, error))
        return await _awaited(other(request, error))

    return handle


async def _awaited(found: Response | Awaitable[Response]) -> Response:
    return await found if inspect.isawaitable(found) else found
