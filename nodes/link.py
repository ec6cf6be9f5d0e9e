"""The one connection that a node opens: feed, queries, training and requests to the witness all come over it.

Nodes never listen. A lost connection is opened again, waiting longer each time, with jitter; what happens on one is in
`nodes.link_session`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from time import monotonic

import structlog
from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential_jitter
from websockets.exceptions import WebSocketException

from crypto.errors import CryptoError
from crypto.wire.link import FrameType
from nodes.errors import LinkError, NodeError
from nodes.link_session import Handler, LinkOwner, LinkSession, lost
from nodes.metrics import LINK_OPENED

_LOG = structlog.get_logger("nodes.link")

STEADY_SECONDS = 30
"""A connection that lasted this long starts the waiting times afresh."""


class Link:
    """The node's connection to its hub, kept open until `stop`."""

    def __init__(self, owner: LinkOwner, handlers: Mapping[FrameType, Handler]) -> None:
        """Args:
        owner: the node.
        handlers: frame type → request body to reply body; an error of ours becomes a `problem` frame.
        """
        self._owner = owner
        self._handlers = handlers
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._current: LinkSession | None = None
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether the hub has welcomed this node on an open connection."""
        return self._up.is_set()

    def wait_connected(self, timeout: float) -> bool:
        """Wait until the link is up; False when `timeout` seconds pass first."""
        return self._up.wait(timeout)

    def start(self) -> None:
        """Keep the link open in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="link", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Close the link and end the thread that `start` made."""
        self._stopping.set()
        session = self._current
        if session is not None:
            session.end()
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Keep the link open until `stop` is called."""
        while not self._stopping.is_set():
            retrying = Retrying(
                retry=retry_if_exception_type((LinkError, CryptoError, NodeError)),
                wait=wait_exponential_jitter(multiplier=0.25, max=15.0, jitter=1.0),
                stop=stop_when_event_set(self._stopping),
                sleep=sleep_using_event(self._stopping),
                reraise=True,
            )
            try:
                retrying(self._session)
            except (LinkError, CryptoError, NodeError):
                return  # stopping

    def _session(self) -> None:
        """One connection, from opening to its end; returns only if it was steady or this node stops."""
        started = monotonic()
        session = self._current = LinkSession(self._owner, self._handlers, on_up=self._came_up)
        try:
            if not self._stopping.is_set():  # asked after `_current` is there for `stop` to end
                asyncio.run(session.run())
            if not self._stopping.is_set() and monotonic() - started < STEADY_SECONDS:
                raise lost("the hub closed it at once; is the same party running elsewhere?")
        except (CryptoError, NodeError) as problem:
            if not self._stopping.is_set():
                _LOG.warning("link-refused", code=problem.code, reason=problem.message, remedy=problem.remedy)
            raise
        except WebSocketException as problem:
            if not self._stopping.is_set():
                _LOG.warning("link-lost", reason=str(problem))
            if monotonic() - started < STEADY_SECONDS:
                raise lost(str(problem)) from problem
        finally:
            self._up.clear()
            self._current = None

    def _came_up(self) -> None:
        LINK_OPENED.inc()
        _LOG.info("link-up", party=self._owner.roster.hub_id)
        self._up.set()
