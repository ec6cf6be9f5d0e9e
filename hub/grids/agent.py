"""Flower over the connections that nodes' agents hold open: the hub's default grid.

A message is one frame of type `flower` on the node's link, its reply the frame's reply. Warm processes, one outbound
connection per node for training and scoring alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from flwr.common.constant import ErrorCode

from crypto.wire.link import FrameType
from hub.errors import PeerRefused, PeerTimeout, PeerUnreachable
from hub.grids.base import RequestGrid, UnansweredError, UndeliveredError

_TIMEOUT_S = 600.0


class FlowerLinks(Protocol):
    """The part of the hub's links that carries frames."""

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Asks and waits. Raises PeerUnreachable, PeerRefused, PeerTimeout."""


class AgentGrid(RequestGrid):
    """Messages over the hub's links.

    Args:
        links: the hub's links.
        parties: node id → party id.
        timeout: seconds to wait for a reply where the caller sets no time.
        workers: messages in flight at once; by default all nodes'.
    """

    def __init__(
        self,
        links: FlowerLinks,
        parties: Mapping[int, str],
        *,
        timeout: float = _TIMEOUT_S,
        workers: int | None = None,
    ) -> None:
        super().__init__(parties, workers=len(parties) if workers is None else workers)
        self._links = links
        self._parties = dict(parties)
        self._timeout = timeout

    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        """One frame and its reply."""
        party = self._parties.get(node_id)
        if party is None:
            raise UndeliveredError(ErrorCode.NODE_UNAVAILABLE, f"no node {node_id}")
        try:
            return self._links.request(party, "flower", wire, self._timeout if timeout is None else timeout)
        except PeerTimeout as late:
            raise UnansweredError(party) from late
        except PeerUnreachable as gone:
            raise UndeliveredError(ErrorCode.NODE_UNAVAILABLE, f"{party} is not connected") from gone
        except PeerRefused as refused:
            raise UndeliveredError(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, refused.problem.code) from refused
