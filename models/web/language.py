"""The reader's language: chosen by one click, kept in a cookie, Chinese at first."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from models.i18n import LANGUAGES, Language

COOKIE = "digua_lang"
PARAMETER = "lang"
ONE_YEAR = 365 * 24 * 3600
APIS = ("/v1/", "/internal/", "/healthz", "/readyz", "/metrics")
"""Paths of programs, whose language goes by Accept-Language."""


def language_of_reader(request: Request) -> Language:
    """Return the language of the reader's cookie; Chinese where there is none, or an unknown one."""
    chosen = request.cookies.get(COOKIE)
    return next((each for each in LANGUAGES if each == chosen), "zh")


def local_path(path: str, query: str = "") -> str:
    """Return path and query as an address on this server, whatever they hold.

    A path that begins with two slashes, or with a backslash, would name another server.
    """
    bare = "/" + quote(path.lstrip("/\\"), safe="/:@!$&'()*+,;=~-._")
    return f"{bare}?{query}" if query else bare


def without_language(query: str) -> str:
    """Return a query string without the choice of a language; all else as it stood."""
    return urlencode([(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != PARAMETER])


def address_in(url: URL, language: Language) -> str:
    """Return the address of the same page that chooses a language."""
    rest = without_language(url.query)
    return local_path(url.path, f"{rest}&{PARAMETER}={language}" if rest else f"{PARAMETER}={language}")


class LanguageMiddleware:
    """Takes a choice of language (``?lang=en``) into the cookie and sends the reader back to the same page.

    Args:
        app: the application within.
        apis: beginnings of paths whose ``lang`` is a parameter of their own.
    """

    def __init__(self, app: ASGIApp, apis: tuple[str, ...] = APIS) -> None:
        self.app = app
        self.apis = apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the choice; pass on all other requests."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and b"lang=" in scope["query_string"]:
            request = Request(scope)
            path = request.url.path
            chosen = request.query_params.get(PARAMETER)
            if chosen in LANGUAGES and not path.startswith(self.apis):
                await _chosen(request, str(chosen))(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _chosen(request: Request, language: str) -> RedirectResponse:
    back = RedirectResponse(local_path(request.url.path, without_language(request.url.query)), status_code=303)
    secure = request.url.scheme == "https"
    back.set_cookie(COOKIE, language, max_age=ONE_YEAR, path="/", secure=secure, httponly=True, samesite="lax")
    back.headers["Cache-Control"] = "no-store"
    return back
