"""How a campaign reaches its nodes: an engine opens a Flower grid over the parties that take part.

The agents' links are the default. An engine whose grid exists only inside another process runs the campaign there, with
the grid it is given (`GivenGrid`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hub.peers import PeerLinks
from models.stages import EngineName

if TYPE_CHECKING:
    from flwr.serverapp.grid import Grid

_FIRST_NODE_ID = 2
"""Flower keeps 1 for the server's side."""


@dataclass(frozen=True)
class GridLease:
    """A grid for one campaign.

    Attributes:
        grid: carries the messages.
        node_ids: party → the grid's node id, for all parties that it reaches.
    """

    grid: Grid
    node_ids: Mapping[str, int]


class Engine(Protocol):
    """A way to the nodes."""

    @property
    def name(self) -> EngineName:
        """As campaign files name it."""

    def connected(self) -> frozenset[str]:
        """Say which parties it reaches now."""

    def open(self, parties: Collection[str]) -> AbstractContextManager[GridLease]:
        """Lend a grid over these parties, for the time of the context."""


class AgentEngine:
    """Over the links that the nodes' agents hold open.

    Args:
        links: gives the links when they are needed.
    """

    name: EngineName = "agent"

    def __init__(self, links: Callable[[], PeerLinks]) -> None:
        self._links = links

    def connected(self) -> frozenset[str]:
        """Say which parties have an open link."""
        return self._links().connected()

    @contextmanager
    def open(self, parties: Collection[str]) -> Iterator[GridLease]:
        """Lend a grid over the links; it numbers the parties itself."""
        from hub.grids.agent import AgentGrid  # noqa: PLC0415  (Flower is slow to import)

        numbers = dict(enumerate(sorted(set(parties)), start=_FIRST_NODE_ID))
        grid = AgentGrid(self._links(), numbers)
        try:
            yield GridLease(grid, {party: number for number, party in numbers.items()})
        finally:
            grid.close()


class GivenGrid:
    """A grid that is there already, e.g. the one that Flower gives a `ServerApp`; whoever made it closes it.

    Args:
        name: the engine that it belongs to.
        grid: the grid.
        node_ids: reads which parties the grid reaches now, and by which node ids.
    """

    def __init__(self, name: EngineName, grid: Grid, node_ids: Callable[[], Mapping[str, int]]) -> None:
        self.name = name
        self._grid = grid
        self._node_ids = node_ids

    def connected(self) -> frozenset[str]:
        """Say which parties the grid reaches."""
        return frozenset(self._node_ids())

    @contextmanager
    def open(self, parties: Collection[str]) -> Iterator[GridLease]:
        """Lend the grid with the ids that it has for these parties now; who is not there has none."""
        known = self._node_ids()
        yield GridLease(self._grid, {party: known[party] for party in parties if party in known})
