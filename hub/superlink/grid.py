"""The grid that Flower gives a `ServerApp`, as the hub's campaigns need it: prompt, and with nodes known by their keys.

What a node says of itself counts for nothing here: a grid's node is the party that has its registered public key on the
cosigned roster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import httpx
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp.grid import Grid
from flwr.supercore.run import Run, RunNotRunningException

from crypto.training_key import public_pem
from crypto.wire.party import Party
from hub.grids.base import DEFAULT_TTL_S
from hub.peers import HubAwayError

_FIRST_POLL_S = 0.1
_LONGEST_POLL_S = 1.0
R = TypeVar("R")


class NodeGrid(Protocol):
    """Flower's grid of the deployment engine, which knows more of its nodes than `Grid` says."""

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the nodes that are there now, with their registered public keys."""


def nodes_by_party(nodes: Iterable[NodeInfo], parties: Iterable[Party]) -> dict[str, int]:
    """Map party → node id, by public key.

    Args:
        nodes: of the grid; those with a key that is on no party's entry are nobody's.
        parties: of the cosigned roster; a key that two of them claim is neither's.
    """
    owners: dict[bytes, set[str]] = {}
    for party in parties:
        if party.training_key is not None:
            owners.setdefault(public_pem(party.training_key), set()).add(party.party_id)
    named: dict[str, int] = {}
    for node in nodes:
        owner = owners.get(bytes(node.public_key), set())
        if len(owner) == 1:
            named[next(iter(owner))] = node.node_id
    return named


class SuperLinkGrid(Grid):
    """Flower's grid with its failures as ours, and with shorter waits than its own three seconds a look.

    A SuperLink that is gone interrupts the campaign; nobody is blamed for it.

    Args:
        grid: of the running `ServerApp`.
        sleep: waits that many seconds.
        monotonic: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grid = grid
        self._sleep = sleep
        self._monotonic = monotonic

    def set_run(self, run: Run) -> None:
        """Set the run that messages are stamped with."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run that messages are stamped with."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a node; the id is given when it is pushed."""
        return Message(content, dst_node_id, message_type, ttl=DEFAULT_TTL_S if ttl is None else ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of the nodes that are there now."""
        return _reached(self._grid.get_node_ids)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Start sending; return the messages' ids."""
        return _reached(lambda: self._grid.push_messages(list(messages)))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there by now."""
        return _reached(lambda: self._grid.pull_messages(list(message_ids)))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send and wait; what is late is not in the list."""
        waiting = {name for name in self.push_messages(messages) if name}
        began = self._monotonic()
        pause = _FIRST_POLL_S
        replies: list[Message] = []
        while waiting:
            found = list(self.pull_messages(waiting))
            replies += found
            waiting -= {reply.metadata.reply_to_message_id for reply in found}
            left = float("inf") if timeout is None else timeout - (self._monotonic() - began)
            if not waiting or left <= 0:
                break
            pause = _FIRST_POLL_S if found else min(_LONGEST_POLL_S, pause * 1.5)
            self._sleep(min(pause, left))
        return replies


def connected_parties(grid: NodeGrid, parties: Callable[[], Iterable[Party]]) -> Callable[[], Mapping[str, int]]:
    """Return what reads the parties that the grid reaches now, for `hub.engines.GivenGrid`."""
    return lambda: nodes_by_party(_reached(grid.get_nodes), parties())


def _reached(ask: Callable[[], R]) -> R:
    try:
        return ask()
    except httpx.HTTPError as gone:
        raise HubAwayError(f"the SuperLink gives no answer ({type(gone).__name__})") from gone
    except RunNotRunningException as ended:
        raise HubAwayError("the SuperLink ended the run") from ended
