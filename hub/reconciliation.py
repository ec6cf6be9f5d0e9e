"""Reconciling the hub's log with a node's journal: what one has and the other lacks (8).

The hub's `query` entries carry `request_hash`, `item` and `sources` (party ids with commas between); a node's carry
`request_hash` and `item`, with the node as actor. A query that the hub forwarded and denies, or logged and never
forwarded, shows here.

With receipts of whoever submitted consents and events, those show as well that the hub acknowledged and left out of its
log or withheld from the node. What is newer than an export cannot be judged by it, and is counted as undecided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from crypto.consent_receipts import check_acknowledgement
from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.merkle import leaf_hash
from crypto.reconciliation import Discrepancy, compare_queries
from crypto.wire.consent import Acknowledgement, ArtefactKind, ConsentReceipt
from hub.audit import read_entries, read_lines
from hub.errors import AuditFileError

ARRIVED = frozenset({"consents-taken", "feed-item-refused"})
"""A node's notes of the consents and events that its feed brought, with their payload hashes."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)
ON_ITS_WAY = timedelta(seconds=60)
"""How long an item may travel before a node that goes on writing its journal should have it; the feed's limit."""


@dataclass(frozen=True)
class Withheld:
    """A consent or event that the hub acknowledged; `missing_in` is its log, or the node's journal."""

    kind: ArtefactKind
    sha256: str
    missing_in: Literal["hub", "node"]
    time: str


@dataclass(frozen=True)
class ReceiptVerdict:
    """What receipts say. `decided` were compared, `undecided` are newer than one of the exports."""

    withheld: tuple[Withheld, ...]
    decided: int
    undecided: int


class _Line(BaseModel):
    """What a journal's lines have in common."""

    type: str
    time: datetime
    actor: str
    facts: dict[str, str | int | bool | None] = {}


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
    party = _party(node_export, node)
    return list(compare_queries(read_entries(hub_export), read_entries(node_export), party=party).discrepancies)


def reconcile_receipts(
    receipts: Path, hub_export: Path, node_export: Path, *, hub_keys: KeyLine, node: str | None = None
) -> ReceiptVerdict:
    """Compare receipts for consents and events with the hub's log and one node's journal.

    Args:
        receipts: JSON lines of `Acknowledgement`, as `digua-node consent submit` keeps them.
        hub_export, node_export, node: as for `reconcile`.
        hub_keys: the hub's public signing keys; what none of them did not sign accuses nobody.

    Raises:
        AuditFileError: a file cannot be read, or a receipt does not verify.
    """
    party = _party(node_export, node)
    leaves: set[bytes] = set()
    log_end = node_end = _BEGINNING
    for line in read_lines(hub_export):
        if isinstance(line.get("entry"), str):
            leaves.add(leaf_hash(line["entry"].encode()))
    for entry in read_entries(hub_export):
        log_end = entry.time
    arrived: set[str] = set()
    for body in journal_lines(node_export):
        node_end = body.time
        if body.type in ARRIVED:
            arrived.update(str(body.facts.get("sha256")).split(","))
    withheld: list[Withheld] = []
    decided = undecided = 0
    for receipt in _receipts(receipts, hub_keys):
        sha256 = receipt.sha256.hex()
        places: list[tuple[Literal["hub", "node"], bool, bool]] = [
            ("hub", receipt.leaf in leaves, receipt.time < log_end)
        ]
        if party in receipt.parties:
            places.append(("node", sha256 in arrived, receipt.time + ON_ITS_WAY < node_end))
        open_still = any(not there and not due for _, there, due in places)
        decided, undecided = decided + (not open_still), undecided + open_still
        withheld += [
            Withheld(receipt.kind, sha256, place, receipt.time.isoformat())
            for place, there, due in places
            if not there and due
        ]
    return ReceiptVerdict(tuple(sorted(withheld, key=lambda each: (each.time, each.sha256))), decided, undecided)


def _receipts(path: Path, hub_keys: KeyLine) -> Iterator[ConsentReceipt]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield check_acknowledgement(Acknowledgement.model_validate(line), hub_keys)
        except (CryptoError, ValueError) as error:
            raise AuditFileError(
                f"{path}:{number}: the receipt does not verify.",
                field=f"{path}:{number}",
                remedy="Check --hub-key; a receipt that the hub did not sign proves nothing.",
            ) from error


def journal_lines(path: Path) -> Iterator[_Line]:
    """Lines of a journal, queries and notes alike."""
    for number, line in enumerate(read_lines(path), start=1):
        text = line.get("entry") or line.get("note")
        if text is None:
            continue
        try:
            yield _Line.model_validate_json(text)
        except ValueError as error:
            raise AuditFileError(
                f"{path}:{number}: no line of a journal.", field=str(path), remedy="Export the journal again."
            ) from error


def _party(path: Path, node: str | None) -> str:
    """The one party whose journal this is."""
    actors = {body.actor for body in journal_lines(path)} | ({node} if node else set())
    if len(actors) != 1:
        raise AuditFileError(
            f"{path} does not say of which one node it is.",
            field=str(path),
            remedy="Give --node, and the journal of that node alone.",
        )
    return actors.pop()
