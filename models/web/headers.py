"""What surrounds every page: its host is checked, its body limited, its answer closed to all it does not need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.web.errors import FormTooLarge, HostUnknown, WebError
from models.web.site import PageSite

FORM_BYTES = 64 << 10
"""What a form may hold; pages that take files say more."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Of documents that are one file with their own style and no script: model cards, reports of programme statistics."""
_ALWAYS = {
    "x-content-type-options": "nosniff",
    # To this site itself the referrer goes: with `no-referrer` browsers would hide the Origin of its own forms too.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_HSTS = "max-age=31536000; includeSubDomains"


@dataclass(frozen=True)
class PageRules:
    """What holds for the pages of an application.

    Attributes:
        site: where they are served.
        refuse: makes the answer to a request that is refused here.
        fail: makes the answer to one that fails unforeseen.
        uploads: beginnings of paths that take files, and how many bytes.
        apart: beginnings of paths that are no pages (an API): they get the headers, and keep their own limits; hosts
            are not checked there, as machines reach it by several names.
    """

    site: PageSite
    refuse: Callable[[Request, WebError], Awaitable[ASGIApp]]
    fail: Callable[[Request, Exception], Awaitable[ASGIApp]]
    uploads: Mapping[str, int] = field(default_factory=dict)
    apart: tuple[str, ...] = ()

    def limit(self, path: str) -> int:
        """How many bytes a request's body may have."""
        return max((size for start, size in self.uploads.items() if path.startswith(start)), default=FORM_BYTES)


class PageGuard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, rules: PageRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        page = not scope["path"].startswith(self._rules.apart) if self._rules.apart else True
        closed = self._closing(send, page=page)
        if not page:
            await self._serve(scope, receive, closed)
            return
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            limit = self._rules.limit(scope["path"])
            declared = headers.get("content-length", "0")
            if not declared.isdigit() or int(declared) > limit:
                raise _too_large()
        except (HostUnknown, FormTooLarge) as error:
            answer = await self._rules.refuse(Request(scope), error)
            await answer(scope, receive, closed)
            return
        await self._serve(scope, _limited(receive, limit), closed)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What fails unforeseen is answered here: what surrounds us would answer it without our headers."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if not started:
                answer = await self._rules.fail(Request(scope), error)
                await answer(scope, receive, watched)
            raise

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        if len(given) != 1 or given[0] not in self._rules.site.hosts:
            raise HostUnknown(
                "This site is not served under the name that was asked for.",
                field="Host",
                remedy=f"Open {self._rules.site.origin}.",
            )

    def _closing(self, send: Send, *, page: bool) -> Send:
        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("content-security-policy", CONTENT_POLICY)
                if page:
                    headers.setdefault("cache-control", "no-store")
                if self._rules.site.secure:
                    headers.setdefault("strict-transport-security", _HSTS)
                message = {**message, "headers": headers.raw}
            await send(message)

        return closed


def proxy_options(proxies: Sequence[IPv4Network | IPv6Network]) -> dict[str, Any]:
    """Options of uvicorn: whose X-Forwarded-For and -Proto are believed; nobody's where there is no proxy."""
    return {"proxy_headers": bool(proxies), "forwarded_allow_ips": ",".join(map(str, proxies))}


def _limited(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            # Of this kind, as FastAPI makes a 400 of all others that come while it reads a body.
            raise HTTPException(413)
        return message

    return limited


def _too_large() -> FormTooLarge:
    return FormTooLarge("The form is too large.", field="body", remedy="Send less, or a smaller file.")
