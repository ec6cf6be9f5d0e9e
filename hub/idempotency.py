"""Idempotency-Key on every POST: a request that is sent again takes effect once and gets the same answer.

A key belongs to one path and one authorisation. Only successes are kept: after a refusal the same key may be tried
again, for its cause may have gone. Answers that say `Cache-Control: no-store` are not kept either.
"""

from __future__ import annotations

import hashlib

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.errors import (
    HubError,
    IdempotencyKeyMissingError,
    RequestError,
    RequestSizeError,
)
from hub.idempotent_answers import IdempotencyStore, StoredAnswer
from hub.problems import AWAY, database_unavailable, respond

HEADER = "idempotency-key"
REPLAYED = b"idempotent-replayed"
NO_STORE = "no-store"
MAX_KEY = 128
INTERNAL = "/v1/internal/"
API = "/v1/"
REPEATABLE = frozenset({"/v1/queries"})
"""Paths whose signed body is its own key: the same request gets the same answers, until it expires (7). They carry a
key like any other; nothing is kept under it, least of all sealed answers past their end."""


class IdempotencyMiddleware:
    """ASGI middleware around the whole application; other methods than POST, internal paths and pages pass."""

    def __init__(self, app: ASGIApp, *, store: IdempotencyStore, max_body: int) -> None:
        self._app = app
        self._store = store
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        # Browsers send forms of pages, and can give no key; pages guard what must not happen twice themselves.
        api = path.startswith(API) and not path.startswith(INTERNAL)
        if scope["type"] != "http" or scope["method"] != "POST" or not api:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            key = _key(headers)
            body = await _read(receive, headers, self._max_body)
            name = hashlib.sha256(
                b"\x00".join(part.encode() for part in (key, scope["path"], headers.get("authorization", "")))
            ).digest()
            known = None
            if path not in REPEATABLE:
                known = await to_thread.run_sync(self._store.begin, name, hashlib.sha256(body).digest())
        except HubError as error:
            await respond(error, headers.get("accept-language"))(scope, receive, send)
            return
        except AWAY as error:
            await database_unavailable(scope, error)(scope, receive, send)
            return
        if path in REPEATABLE:
            await self._app(scope, _replayed(body, receive), send)
            return
        if known is not None:
            await _replay(known, send)
            return
        await self._serve(name, body, scope, receive, send)

    async def _serve(self, name: bytes, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        replayed = _replayed(body, receive)
        start: Message = {}
        chunks: list[bytes] = []

        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            chunks.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            # Kept before it is sent: who sees the answer can rely on getting it again.
            try:
                await to_thread.run_sync(self._end, name, start, b"".join(chunks))
            except AWAY as error:  # what the request did, the same request will find done
                self._store.abandon(name)
                await database_unavailable(scope, error)(scope, receive, send)
                return
            await send(start)
            await send({"type": "http.response.body", "body": b"".join(chunks)})

        try:
            await self._app(scope, replayed, kept)
        except BaseException:
            await to_thread.run_sync(self._release, name)
            raise

    def _release(self, name: bytes) -> None:
        try:
            self._store.release(name)
        except AWAY:
            self._store.abandon(name)

    def _end(self, name: bytes, start: Message, body: bytes) -> None:
        status = int(start["status"])
        headers = Headers(raw=list(start["headers"]))
        if 200 <= status < 300 and headers.get("cache-control") != NO_STORE:
            self._store.finish(name, StoredAnswer(status, headers.get("content-type", ""), body))
        else:
            self._store.release(name)


def _key(headers: Headers) -> str:
    key = headers.get(HEADER)
    if not key:
        raise IdempotencyKeyMissingError(
            "Every POST needs an Idempotency-Key header.",
            field="Idempotency-Key",
            remedy="Send a fresh random key with each new request, and the same one when you repeat it.",
        )
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise RequestError(
            f"An idempotency key is 1 to {MAX_KEY} printable ASCII characters.",
            field="Idempotency-Key",
            remedy="Use a UUID or 32 hex digits.",
        )
    return key


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes:
    too_large = RequestSizeError(
        f"The body is larger than {limit >> 20} MiB.", field="body", remedy="Send it in smaller parts."
    )
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise RequestError("The request broke off.", field="body", remedy="Send it again.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, then what else comes."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


async def _replay(answer: StoredAnswer, send: Send) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (REPLAYED, b"true"),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
