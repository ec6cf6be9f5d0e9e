"""Around an application: every request gets its id, is counted and timed by its route, and told in the log if it fails.

Outermost, so that what other middleware refuses counts too. It never looks at bodies, queries or cookies, and of the
path only at the route's template, since what stands in its places may be a secret link.
"""

from __future__ import annotations

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.ops import trace_context
from models.ops.metrics import HTTP_REQUESTS, HTTP_SECONDS, METHODS, OTHER
from models.ops.trace_context import TraceContext, carrying
from models.ops.tracing import span

REQUEST_ID = b"x-request-id"
UNMATCHED = "unmatched"
_TRACE = trace_context.HEADER.encode()
_logger = structlog.get_logger("requests")


class Observed:
    """ASGI middleware around a whole application.

    Args:
        app: the application.
        name: of the application in metrics: `hub`, `gateway`, `pages`.
        told: log requests that succeed, too.
    """

    def __init__(self, app: ASGIApp, *, name: str, told: bool = False) -> None:
        self._app = app
        self._name = name
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is no request passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        request_id = b""

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id)]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else OTHER
        with carrying(_brought(scope)), span(f"{self._name} {method}", kind="server", method=method) as recorded:
            here = trace_context.current()
            request_id = b"" if here is None else here.trace_id.encode()
            try:
                await self._app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", None) or UNMATCHED
                taken = time.perf_counter() - started
                HTTP_REQUESTS.labels(self._name, method, route, str(status)).inc()
                HTTP_SECONDS.labels(self._name, route).observe(taken)
                if recorded is not None:
                    recorded.update_name(f"{self._name} {method} {route}")
                    recorded.set_attribute("http.response.status_code", status)
                if self._told or status >= 500:
                    level = _logger.warning if status >= 500 else _logger.info
                    level("request", method=method, path=route, status=status, ms=round(taken * 1000, 1))


def _brought(scope: Scope) -> TraceContext | None:
    for name, value in scope["headers"]:
        if name == _TRACE:
            return TraceContext.parse(value.decode("latin-1"))
    return None
