"""Reconciling the hub's log with a node's journal: the comparison alone, over entries already read (protocol, 8).

The hub's `query` entries carry `request_hash`, `item` and `sources` (party ids with commas between); a node's carry
`request_hash` and `item`, with the node as actor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from crypto.wire.audit import LogEntry

QUERY = "query"


@dataclass(frozen=True)
class Discrepancy:
    """A query item that is on one side only."""

    request_hash: str
    item: int
    only_in: Literal["hub", "node"]
    time: str


@dataclass(frozen=True)
class Comparison:
    """What one side has and the other lacks; `compared` agree, `undecided` are newer than the other side's end."""

    discrepancies: tuple[Discrepancy, ...]
    compared: int
    undecided: int


def compare_queries(
    of_hub: Iterable[LogEntry],
    of_node: Iterable[LogEntry],
    *,
    party: str,
    hub_end: datetime | None = None,
    node_end: datetime | None = None,
) -> Comparison:
    """Compare the queries of the hub's log with those of one node's journal; entries of other types are passed over.

    Args:
        of_hub, of_node: entries of both sides.
        party: the node; only queries that name it as a source count.
        hub_end, node_end: up to when either side is known. What only the other side has and is not older is undecided.

    Returns:
        Discrepancies in order of time and request hash. An item that occurs more often on one side counts as
        missing on the other as often as the difference.
    """
    hub = [entry for entry in of_hub if entry.type == QUERY and concerns(entry, party)]
    node = [entry for entry in of_node if entry.type == QUERY]
    counted_hub, counted_node = Counter(map(_key, hub)), Counter(map(_key, node))
    times = {_key(entry): entry.time for entry in (*node, *hub)}
    found: list[Discrepancy] = []
    undecided = 0
    sides: tuple[tuple[Counter[tuple[str, int]], Literal["hub", "node"], datetime | None], ...] = (
        (counted_hub - counted_node, "hub", node_end),
        (counted_node - counted_hub, "node", hub_end),
    )
    for missing, only_in, end in sides:
        for key in missing.elements():
            if end is not None and times[key] >= end:
                undecided += 1
            else:
                found.append(Discrepancy(*key, only_in, times[key].isoformat()))
    ordered = sorted(found, key=lambda each: (each.time, each.request_hash, each.item))
    return Comparison(tuple(ordered), (counted_hub & counted_node).total(), undecided)


def concerns(entry: LogEntry, party: str) -> bool:
    """Whether a query names a party as a source."""
    return party in str(entry.facts.get("sources") or "").split(",")


def _key(entry: LogEntry) -> tuple[str, int]:
    item = entry.facts.get("item")
    return str(entry.facts.get("request_hash")), item if isinstance(item, int) else 0
