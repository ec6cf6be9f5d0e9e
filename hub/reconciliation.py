"""Reconciling the hub's log with a node's journal: each query that one has and the other lacks (8).

The hub's `query` entries carry `request_hash`, `item` and `sources` (party ids with commas between); a node's carry
`request_hash` and `item`, with the node as actor. A query that the hub forwarded and denies, or logged and never
forwarded, shows here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crypto.wire.audit import LogEntry
from hub.audit import read_entries
from hub.errors import AuditFileError

QUERY = "query"


@dataclass(frozen=True)
class Discrepancy:
    """A query item that is in one export only."""

    request_hash: str
    item: int
    only_in: Literal["hub", "node"]
    time: str


def reconcile(hub_export: Path, node_export: Path, *, node: str | None = None) -> list[Discrepancy]:
    """Compare the queries of two exports.

    Args:
        hub_export: the hub's log.
        node_export: one node's journal: NDJSON lines with an `entry`, as in the hub's export.
        node: the node's party id; by default the actor of its journal's queries.

    Returns:
        Discrepancies in order of time and request hash. An item that occurs more often on one side counts as
        missing on the other as often as the difference.

    Raises:
        AuditFileError: a file is no export, or the journal is of several nodes, or names nobody and `node` is absent.
    """
    of_node = [entry for entry in read_entries(node_export) if entry.type == QUERY]
    actors = {entry.actor for entry in of_node} | ({node} if node else set())
    if len(actors) != 1:
        raise AuditFileError(
            f"{node_export} does not say of which one node it is.",
            field=str(node_export),
            remedy="Give --node, and the journal of that node alone.",
        )
    party = actors.pop()
    of_hub = [entry for entry in read_entries(hub_export) if entry.type == QUERY and _concerns(entry, party)]
    counted_hub, counted_node = Counter(map(_key, of_hub)), Counter(map(_key, of_node))
    times = {_key(entry): entry.time.isoformat() for entry in (*of_node, *of_hub)}
    found = [
        *(Discrepancy(*key, "hub", times[key]) for key in (counted_hub - counted_node).elements()),
        *(Discrepancy(*key, "node", times[key]) for key in (counted_node - counted_hub).elements()),
    ]
    return sorted(found, key=lambda each: (each.time, each.request_hash, each.item))


def _concerns(entry: LogEntry, party: str) -> bool:
    return party in str(entry.facts.get("sources") or "").split(",")


def _key(entry: LogEntry) -> tuple[str, int]:
    item = entry.facts.get("item")
    return str(entry.facts.get("request_hash")), item if isinstance(item, int) else 0
