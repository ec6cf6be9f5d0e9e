"""All parties as the operator sees them: connected or not, how far behind, approved or not, what they took part in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hub.services import Hub
from hub.spending import CampaignCost, NodeCost


@dataclass(frozen=True)
class NodeView:
    """One party.

    Attributes:
        connected: it has a link now.
        since: when the link opened, in seconds; None without one, or where another process of the hub holds it.
        software: as its signed hello says.
        lag: items of its feed that it has not stored yet; None where nobody knows, as it is away.
        approval: ``approved`` by the witness with these keys, or ``proposed``.
        last_campaign: the newest campaign whose terms name it.
        undelivered: decisions of the witness that it has not heard yet.
        cost: what its merchants spent, as far as the hub knows.
    """

    party_id: str
    kind: str
    region: str
    title: str
    connected: bool
    since: int | None
    software: str | None
    lag: int | None
    approval: Literal["approved", "proposed"]
    last_campaign: str | None
    undelivered: int
    cost: NodeCost


@dataclass(frozen=True)
class NodesView:
    """All of them, and the newest cosigned roster's version (0 before the first)."""

    nodes: tuple[NodeView, ...]
    roster_version: int

    @property
    def connected(self) -> int:
        """How many are connected."""
        return sum(node.connected for node in self.nodes)


def nodes_view(hub: Hub, costs: tuple[CampaignCost, ...], spent: Mapping[str, NodeCost]) -> NodesView:
    """Return all enrolled parties, in order of their ids.

    Args:
        hub: whose.
        costs, spent: from `hub.spending`.
    """
    connected = hub.links.connected()
    states = hub.link_view.states()
    ends = hub.feed.ends()
    pending = set(hub.roster.pending())
    undelivered = hub.campaign_services.book.undelivered()
    last: dict[str, str] = {}
    for cost in costs:
        for party_id in cost.parties:
            last.setdefault(party_id, cost.campaign_id)
    current = hub.roster.current()
    nodes = []
    for party in hub.parties.all():
        state = states.get(party.party_id)
        nodes.append(
            NodeView(
                party_id=party.party_id,
                kind=party.kind,
                region=party.region,
                title=party.title,
                connected=party.party_id in connected,
                since=None if state is None else state.since,
                software=None if state is None else state.software,
                lag=None if state is None else max(0, ends.get(party.party_id, 0) - state.acked),
                approval="proposed" if party.party_id in pending else "approved",
                last_campaign=last.get(party.party_id),
                undelivered=len(undelivered.get(party.party_id, ())),
                cost=spent.get(party.party_id, NodeCost(0, 0.0)),
            )
        )
    return NodesView(tuple(nodes), 0 if current is None else current[1].version)
