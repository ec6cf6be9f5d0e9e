"""Reconciliation at the witness: a node's exported journal against the verified mirror (docs/protocol.md, 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from crypto.reconciliation import QUERY, Comparison, compare_queries
from crypto.wire.audit import LogEntry
from nodes.errors import JournalError
from nodes.journal import JournalLine, JournalNote, read_lines, verify_lines
from nodes.witness.mirror_search import MirrorSearch, Wanted

MAX_JOURNAL_BYTES = 256 * 1024 * 1024
_PAGE = 1000


@dataclass(frozen=True)
class Reconciled:
    """What a journal and the log say of each other; `lines` and `head` (hex) are the journal's own chain."""

    party: str
    lines: int
    head: str
    first: datetime | None
    last: datetime | None
    comparison: Comparison


def reconcile_journal(lines: Iterable[str], search: MirrorSearch) -> Reconciled:
    """Check a journal's chain, then compare its queries with the mirror's.

    Args:
        lines: of an export of one node's journal; read once.
        search: the mirror; what is newer than it, or than the journal, stays undecided.

    Raises:
        JournalError: the lines are no export, their chain is broken, or they are of no one party.
    """
    reading = _Reading()
    number, head = verify_lines(reading.noted(read_lines(lines, "journal")))
    if len(reading.actors) != 1:
        raise JournalError(
            "the file does not say of which one node it is",
            field="journal",
            remedy="export the journal of one node: digua-node audit journal export",
        )
    (party,) = reading.actors
    comparison = compare_queries(
        _queries_of(search, party), reading.queries, party=party, hub_end=search.last_time(), node_end=reading.last
    )
    return Reconciled(party, number, head.hex(), reading.first, reading.last, comparison)


class _Reading:
    """What is taken from a journal's lines as they pass."""

    def __init__(self) -> None:
        self.actors: set[str] = set()
        self.queries: list[LogEntry] = []
        self.first: datetime | None = None
        self.last: datetime | None = None

    def noted(self, lines: Iterable[JournalLine]) -> Iterator[JournalLine]:
        for line in lines:
            what = _parsed(line)
            self.actors.add(what.actor)
            self.first = what.time if self.first is None else min(self.first, what.time)
            self.last = what.time if self.last is None else max(self.last, what.time)
            if isinstance(what, LogEntry):
                self.queries.append(what)
            yield line


def _parsed(line: JournalLine) -> LogEntry | JournalNote:
    try:
        return (LogEntry if line.type == QUERY else JournalNote).model_validate_json(line.entry)
    except (ValueError, KeyError, TypeError) as problem:
        raise JournalError(
            f"line {line.seq} is no line of a journal", field="journal", remedy="export the journal again"
        ) from problem


def _queries_of(search: MirrorSearch, party: str) -> Iterator[LogEntry]:
    below: int | None = None
    while True:
        page = search.search(Wanted(type=QUERY, party=party), limit=_PAGE, below=below)
        yield from (each.entry for each in page.entries if each.entry is not None)
        below = page.next_below
        if below is None:
            return
