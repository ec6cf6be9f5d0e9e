"""The parties' links as another process of the hub reaches them: through the process that serves the API (B1, B2).

B1  Every request carries the internal token; the answer is the party's own, or the problem that `hub.links` raises.
B2  The serving process names itself by a random instance. Where it is gone, or is another than before, the parties'
    links broke with it and nobody knows which steps were taken: `HubAwayError` interrupts the campaign, which is then
    taken up again from what the database holds, as after any stop.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
import structlog
import tenacity
from pydantic import ValidationError

from crypto.wire.link import FrameType
from hub.config import HubConfig
from hub.errors import HubError, PeerRefused, PeerTimeout, PeerUnreachable, StateError
from hub.keys import read_secret
from hub.own_address import own_address, own_certificate
from hub.peers import HubAwayError
from hub.problem_details import Problem
from models.ops import trace_context

PREFIX = "/v1/internal"
INSTANCE = "Digua-Instance"
TIMEOUT = "Digua-Timeout"
_CONNECT_S = 5.0
_GRACE_S = 15.0
_LOOK_S = 0.5
_CONNECTIONS = 128
_logger = structlog.get_logger("hub.campaigns")


class DistantLinks(ABC):
    """The links as a process of the hub has them that does not serve.

    Attributes:
        since: when the serving process began, Unix seconds; 0 before `connected` was asked.
    """

    def __init__(self) -> None:
        self.since = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End all connections."""

    @abstractmethod
    def connected(self) -> frozenset[str]:
        """Say which parties have an open link; HubAwayError where nobody can say."""

    @abstractmethod
    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask a party and wait for the reply's body."""

    @abstractmethod
    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Have new feed items pushed; one that is missed is pushed with the next heartbeat."""

    async def request_async(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Like `request`, without blocking the event loop."""
        return await asyncio.to_thread(self.request, party_id, frame_type, body, timeout)

    def wait_for_hub(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the hub serves; False if `stopped` says so before.

        Raises:
            StateError: it refuses this process's token.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(HubAwayError) & _unless(stopped),
            wait=tenacity.wait_fixed(_LOOK_S),
            reraise=True,
        )
        try:
            retrying(self.connected)
        except HubAwayError:
            return False
        return True


class RelayedLinks(DistantLinks):
    """The links over HTTP. Thread-safe; connections stay open.

    Args:
        config: of the hub; both processes read the same file.
        transport: for tests.

    Raises:
        StateError: the internal token is absent or others may read it.
    """

    def __init__(self, config: HubConfig, *, transport: httpx.BaseTransport | None = None) -> None:
        token = read_secret(config.internal_token_file).decode().strip()
        super().__init__()
        self._instance: str | None = None
        self._http = httpx.Client(
            base_url=config.internal_url or own_address(config),
            headers={"Authorization": f"Bearer {token}"},
            verify=own_certificate(config),
            timeout=httpx.Timeout(_CONNECT_S),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            trust_env=False,
            transport=transport,
        )

    def close(self) -> None:
        """End all connections."""
        self._http.close()

    def connected(self) -> frozenset[str]:
        """Say which parties have an open link; HubAwayError where nobody can say."""
        answer = self._ask("GET", "/links", b"", _CONNECT_S)
        if answer.status_code != HTTPStatus.OK:
            raise refused(answer)
        found = answer.json()
        self.since = int(found["since"])
        return frozenset(found["connected"])

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask a party and wait for the reply's body.

        Raises:
            PeerUnreachable, PeerTimeout, PeerRefused: as the links do.
            HubAwayError: B2.
        """
        answer = self._ask("POST", f"/links/{quote(party_id, safe='')}/{quote(frame_type, safe='')}", body, timeout)
        if answer.status_code == HTTPStatus.OK:
            return answer.content
        error = peer_error(answer, party_id)
        if isinstance(error, PeerUnreachable):
            # Links end first when the serving process shuts down: only one that still listens speaks of a party.
            self.connected()
        raise error

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Have new feed items pushed; one that is missed is pushed with the next heartbeat."""
        body = json.dumps({"parties": sorted(party_ids)}).encode()
        try:
            self._ask("POST", "/feeds", body, _CONNECT_S)
        except HubAwayError:
            _logger.info("feed-not-announced")

    def _ask(self, method: str, path: str, body: bytes, timeout: float) -> httpx.Response:
        headers = {TIMEOUT: f"{timeout:g}", "Content-Type": "application/octet-stream"}
        trace = trace_context.outgoing()
        if trace is not None:
            headers[trace_context.HEADER] = trace
        try:
            answer = self._http.request(
                method,
                PREFIX + path,
                content=body,
                headers=headers,
                timeout=httpx.Timeout(_CONNECT_S, read=timeout + _GRACE_S, write=timeout + _GRACE_S, pool=None),
            )
        except httpx.HTTPError as gone:
            raise HubAwayError(type(gone).__name__) from gone
        instance = answer.headers.get(INSTANCE)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise refused(answer)
        if instance is None:
            raise HubAwayError("no hub answers at this address")
        if self._instance is None:
            self._instance = instance
        if instance != self._instance:
            raise HubAwayError("the serving process was started again")
        return answer


def _unless(stopped: Callable[[], bool]) -> tenacity.retry_base:
    return tenacity.retry_if_exception(lambda _: not stopped())


def _problem(answer: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return None


def peer_error(answer: httpx.Response, party_id: str) -> HubError:
    """Return the error that `hub.links` raised in the process that answered."""
    problem = _problem(answer)
    code = None if problem is None else problem.code
    if code == PeerUnreachable.code:
        return PeerUnreachable(party_id)
    if code == PeerTimeout.code:
        return PeerTimeout(party_id)
    if problem is not None and code == PeerRefused.code and problem.cause is not None:
        return PeerRefused(party_id, problem.cause)
    return refused(answer)


def refused(answer: httpx.Response) -> StateError:
    """Return the error for an answer that only a process of another configuration gets."""
    problem = _problem(answer)
    return StateError(
        f"The serving hub refuses this worker: {answer.status_code} {'' if problem is None else problem.detail}",
        field="internal_token_file",
        remedy="Let worker and hub read the same hub.yaml and the same internal token.",
    )
