"""One hop from this process to the replica that holds a party's link, and the answer back (docs/adr/0007).

P1  The request carries the internal token; the answer is the party's own, or the problem that `hub.links` raises.
P2  The answer names the instance that gave it. Where nobody answers, or another instance than the registered one, the
    link that was asked for is gone and nobody knows whether the request arrived: `ReplicaAwayError`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from http import HTTPStatus
from urllib.parse import quote

import httpx

from crypto.wire.link import FrameType
from hub.config import HubConfig
from hub.errors import PeerTimeout
from hub.own_address import own_certificate
from hub.relayed_links import INSTANCE, PREFIX, TIMEOUT, peer_error, refused
from hub.replicas import Replica

_CONNECT_S = 2.0
_GRACE_S = 5.0
_STATES_S = 2.0
_CONNECTIONS = 256
_IDLE_S = 2.0
"""Shorter than a server keeps idle connections, so that no request meets one that is just being closed."""


class ReplicaAwayError(Exception):
    """The replica is gone; whether a request arrived there is not known."""


class Hops:
    """Asks other replicas, from any thread or event loop, over connections that stay open.

    Args:
        config: of the hub; all replicas have the same internal token and certificate.
        token: the internal one.
        transport: for tests.
    """

    def __init__(self, config: HubConfig, token: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._token = token
        self._transport = transport
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._http: httpx.AsyncClient

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop of these connections; it begins with the first request."""
        with self._lock:
            if self._thread is None:
                self._http = httpx.AsyncClient(
                    headers={"Authorization": f"Bearer {self._token}"},
                    verify=own_certificate(self._config),
                    limits=httpx.Limits(
                        max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_IDLE_S
                    ),
                    trust_env=False,
                    transport=self._transport,
                )
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="replica-hops", daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            if self._thread is None:
                return
            asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result(_GRACE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_GRACE_S)
            self._loop.close()
            self._thread = None

    def request(self, replica: Replica, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask a party that is linked to that replica, and wait for its answer.

        Raises:
            PeerUnreachable, PeerTimeout, PeerRefused: as the links do.
            ReplicaAwayError: P2.
        """
        waiting = self._submit(replica, party_id, frame_type, body, timeout)
        try:
            return waiting.result(timeout + 2 * _GRACE_S)
        except concurrent.futures.TimeoutError:
            waiting.cancel()
            raise PeerTimeout(party_id) from None

    async def request_async(
        self, replica: Replica, party_id: str, frame_type: FrameType, body: bytes, timeout: float
    ) -> bytes:
        """Like `request`, without holding a thread."""
        return await asyncio.wrap_future(self._submit(replica, party_id, frame_type, body, timeout))

    def states(self, replica: Replica) -> bytes:
        """Return what a replica says of its own links, as JSON; ReplicaAwayError where it does not answer."""
        asking = self._send(replica, "GET", "/link-states", b"", _STATES_S)
        answer = asyncio.run_coroutine_threadsafe(asking, self._running()).result(2 * _GRACE_S + _STATES_S)
        if answer.status_code != HTTPStatus.OK:
            raise refused(answer)
        return answer.content

    def _submit(
        self, replica: Replica, party_id: str, frame_type: FrameType, body: bytes, timeout: float
    ) -> concurrent.futures.Future[bytes]:
        asking = self._ask(replica, party_id, frame_type, body, timeout)
        return asyncio.run_coroutine_threadsafe(asking, self._running())

    async def _ask(self, replica: Replica, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        path = f"/links/{quote(party_id, safe='')}/{quote(frame_type, safe='')}"
        answer = await self._send(replica, "POST", path, body, timeout)
        if answer.status_code == HTTPStatus.OK:
            return answer.content
        raise peer_error(answer, party_id)

    async def _send(self, replica: Replica, method: str, path: str, body: bytes, timeout: float) -> httpx.Response:
        try:
            answer = await self._http.request(
                method,
                replica.address + PREFIX + path,
                content=body,
                headers={TIMEOUT: f"{timeout:g}", "Content-Type": "application/octet-stream"},
                timeout=httpx.Timeout(_CONNECT_S, read=timeout + _GRACE_S, write=timeout + _GRACE_S, pool=timeout),
            )
        except httpx.HTTPError as gone:
            raise ReplicaAwayError(type(gone).__name__) from gone
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise refused(answer)
        if answer.headers.get(INSTANCE) != replica.instance:
            raise ReplicaAwayError("another process answers at this address")
        return answer
