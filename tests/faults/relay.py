"""A relay between a party and the hub that spoils one connection at the place that a test names.

`Relay` passes bytes on as they are and cuts, truncates or delays them: what a network does to TCP, TLS or not. It
understands nothing; a test names bytes that the request holds. `Doubler` ends the connections instead, HTTP and
WebSocket, and passes a request or frame on twice: what proxies with retries of their own do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import httpx
import uvicorn
import websockets
from starlette.types import Receive, Scope, Send

Spoil = Literal["cut", "truncate", "delay"]
_CHUNK = 65_536
_TRUNCATED = 60
"""Bytes that still come of what is truncated: not even a whole head."""


@dataclass
class Order:
    """What happens once.

    Attributes:
        spoil: `cut` ends the connection before anything of the request or answer is passed on, `truncate` after some
            of its bytes, `delay` passes it on late.
        request: bytes that the request holds.
        direction: `up` for requests of the party (HTTP), `down` for those of the hub over the party's link.
        of: the request, or what comes back after it.
        seconds: of a delay.
    """

    spoil: Spoil
    request: bytes
    direction: Literal["up", "down"] = "up"
    of: Literal["request", "answer"] = "request"
    seconds: float = 2.0
    done: threading.Event = field(default_factory=threading.Event)


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


class Relay:
    """Passes connections on, and spoils one when it is told to.

    Args:
        port: of the hub, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._hub = self._port = port
        self._thread = _Loop()
        self._order: Order | None = None
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._thread.loop
        ).result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def spoil(self, order: Order) -> Order:
        """Have it happen to the next request that holds the order's bytes."""
        self._order = order
        return order

    def let_pass(self) -> None:
        """Forget an order that did not happen."""
        self._order = None

    def lead_to(self, port: int | None) -> bool:
        """Pass connections on to another port from now on, or to the hub's again; where that changes, open ones end."""
        before, self._port = self._port, self._hub if port is None else port
        if before != self._port:
            self._thread.loop.call_soon_threadsafe(self._drop_all)
        return before != self._port

    def shut(self) -> None:
        """End all connections and refuse new ones, until `reopen`."""
        self._open = False
        self._thread.loop.call_soon_threadsafe(self._drop_all)

    def reopen(self) -> None:
        """Pass connections on again."""
        self._open = True

    def close(self) -> None:
        self.shut()
        self._thread.loop.call_soon_threadsafe(self._server.close)
        self._thread.close()

    def _drop_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # the hub is away
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        passing = _Passing(self, both)
        with contextlib.suppress(OSError):
            await asyncio.gather(
                passing.run(reader, far_writer, "up"), passing.run(far_reader, writer, "down"), return_exceptions=True
            )
        for each in both:
            each.transport.abort()
        self._writers -= both

    def take(self, data: bytes, direction: str) -> Order | None:
        """The order, if these bytes are the request that it names."""
        order = self._order
        if order is None or order.direction != direction or order.request not in data:
            return None
        self._order = None
        return order


class _Passing:
    """One connection, both ways."""

    def __init__(self, relay: Relay, writers: set[asyncio.StreamWriter]) -> None:
        self._relay = relay
        self._writers = writers
        self._awaited: tuple[Order, str] | None = None

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        while data := await reader.read(_CHUNK):
            order = self._relay.take(data, direction)
            if order is not None and order.of == "answer":
                self._awaited, order = (order, "down" if direction == "up" else "up"), None
            elif order is None and self._awaited is not None and self._awaited[1] == direction:
                order, self._awaited = self._awaited[0], None
            if order is not None and not await self._spoil(order, data, writer):
                return
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _spoil(self, order: Order, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the bytes still are to be passed on."""
        order.done.set()
        if order.spoil == "delay":
            await asyncio.sleep(order.seconds)
            return True
        if order.spoil == "truncate":
            writer.write(data[:_TRUNCATED])
            await writer.drain()
        for each in self._writers:
            each.transport.abort()
        return False


class Doubler:
    """Ends connections of a party and passes requests on; those that hold certain bytes go out twice, in order.

    Args:
        url: of the hub.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._request: bytes | None = None
        self._direction = "up"
        self.doubled = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        config = uvicorn.Config(
            self._serve, host="127.0.0.1", port=self.port, interface="asgi3", log_config=None, lifespan="off",
            ws="websockets-sansio", ws_max_size=256 << 20, ws_per_message_deflate=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="doubler", daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.02)

    def double(self, request: bytes, direction: Literal["up", "down"] = "up") -> None:
        """Pass everything on twice that holds these bytes, until `once`."""
        self._request, self._direction, self.doubled = request, direction, 0

    def once(self) -> None:
        """Pass everything on once."""
        self._request = None

    def close(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(20)

    def _times(self, data: bytes, direction: str) -> int:
        if self._request is None or direction != self._direction or self._request not in data:
            return 1
        self.doubled += 1
        return 2

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._link(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        target = scope["raw_path"].split(b"?")[0] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"connection", b"content-length")]
        said = b"%s %s\n%s" % (scope["method"].encode(), target, body)
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            for _ in range(self._times(said, "up")):
                url = self._url + target.decode()
                answer = await client.request(scope["method"], url, content=body, headers=headers)
        kept = [each for each in answer.headers.raw if each[0].lower() in (b"content-type", b"content-language")]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        await send({"type": "http.response.body", "body": answer.content})

    async def _link(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        where = urlsplit(self._url)
        async with websockets.connect(
            f"ws://{where.netloc}/v1/link", compression=None, max_size=256 << 20, proxy=None
        ) as far:

            async def up() -> None:
                while (message := await receive())["type"] == "websocket.receive":
                    for _ in range(self._times(message["bytes"], "up")):
                        await far.send(message["bytes"])
                await far.close()

            async def down() -> None:
                async for data in far:
                    for _ in range(self._times(bytes(data), "down")):
                        await send({"type": "websocket.send", "bytes": data})
                await send({"type": "websocket.close", "code": 1000})

            await _first(up, down)


async def _first(*each: Callable[[], Awaitable[None]]) -> None:
    """Run until one of them ends."""
    tasks = [asyncio.ensure_future(run()) for run in each]
    _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
