"""A small HTTP proxy that makes tunnels (CONNECT), in a thread: it notes who asked for what, and passes bytes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self


class ConnectProxy:
    """Listens on loopback while its context lasts.

    Attributes:
        asked: target of every CONNECT, `host:port`.
        authorisations: the Proxy-Authorization of each, or None.
        passed: bytes that went from clients to targets.
        account: the value that Proxy-Authorization must have; anything goes if None.
    """

    def __init__(self, *, account: str | None = None) -> None:
        self.asked: list[str] = []
        self.authorisations: list[str | None] = []
        self.passed = b""
        self.account = account
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(5)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _end(self) -> None:
        self._server.close()
        tunnels = asyncio.all_tasks() - {asyncio.current_task()}
        for tunnel in tunnels:
            tunnel.cancel()
        await asyncio.gather(*tunnels, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        self.asked.append(target)
        self.authorisations.append(fields.get("proxy-authorization"))
        if method != "CONNECT" or (self.account and fields.get("proxy-authorization") != self.account):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(self._pass(reader, far_writer, note=True), self._pass(far_reader, writer, note=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, note: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                self.passed += data if note else b""
                writer.write(data)
                await writer.drain()
        writer.close()
