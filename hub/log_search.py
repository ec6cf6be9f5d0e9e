"""Searching the audit log: who, which campaign, which model, what, when, and by commitment (docs/protocol.md, 8).

What is found is public: exact leaves with their places, to be proved like any other. A merchant's entries are found by
whoever can make their commitments, that is, who has its pseudonym and the salts (`crypto.log_index`, I1 to I3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.log_index import BLOCK, bits_from_bytes, commitment_key, indexed, places, term
from crypto.wire.audit import LogEntry
from hub.clock import seconds
from hub.db import Database
from hub.errors import RequestError
from hub.log_reading import log_size
from hub.tables.log import LogBlockRow, LogCommitmentRow, LogEntryRow, LogPostingRow

MAX_FOUND = 1000
MAX_COMMITMENTS = 1000
_AT_ONCE = 400


@dataclass(frozen=True)
class LogQuery:
    """What to look for; all that is given must hold.

    Attributes:
        party: it wrote the entry, or the entry names it.
        types: the entry is of one of these.
        since, until: the entry's time, both ends included.
        commitments: the entry holds one of these, as subject, consent or artefact; None: any entry.
        before: only entries with a smaller index, to go on from a page.
        limit: at most so many are returned, the newest.
    """

    party: str | None = None
    campaign: str | None = None
    model: str | None = None
    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    commitments: tuple[bytes, ...] | None = None
    before: int | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; RequestError names the field."""
        if not 1 <= self.limit <= MAX_FOUND:
            raise RequestError("limit is out of range.", field="limit", remedy=f"Ask for 1 to {MAX_FOUND} entries.")
        if len(self.commitments or ()) > MAX_COMMITMENTS:
            raise RequestError(
                "There are too many commitments in one search.",
                field="commitment",
                remedy=f"Look for at most {MAX_COMMITMENTS} at a time.",
            )
        if self.since is not None and self.until is not None and self.since > self.until:
            raise RequestError("since lies after until.", field="since", remedy="Exchange the two.")


@dataclass(frozen=True)
class FoundEntry:
    """An entry at its place; `leaf` is its exact text, of which `entry` is the meaning."""

    index: int
    leaf: str
    entry: LogEntry


@dataclass(frozen=True)
class FoundPage:
    """The newest of what was found.

    Attributes:
        size: of the log that was searched.
        count: how many entries there are in all, whatever `before` and `limit` say.
        next: `before` of the next page, or None where this is the last.
    """

    size: int
    count: int
    entries: tuple[FoundEntry, ...]
    next: int | None


class LogSearch:
    """Looks into the index, each time in one consistent view."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, query: LogQuery) -> FoundPage:
        """Return the newest entries that a query holds for, and how many there are."""
        with self._db.reading() as session:
            size = log_size(session)
            if query.commitments is None:
                found = _Blocks(session, query, size)
            else:
                found = _Blocks(session, query, size, only=_committed(session, query.commitments))
            indices = found.newest(size if query.before is None else min(query.before, size), query.limit + 1)
            shown = indices[: query.limit]
            return FoundPage(
                size=size,
                count=found.count(),
                entries=tuple(_read(session, shown)),
                next=shown[-1] if len(indices) > query.limit else None,
            )


class _Blocks:
    """The bitmaps of what a query holds for, by block."""

    def __init__(self, session: Session, query: LogQuery, size: int, *, only: Mapping[int, int] | None = None) -> None:
        self._session = session
        wanted = (("party", query.party), ("campaign", query.campaign), ("model", query.model))
        every = [[term(field, value)] for field, value in wanted if value is not None]
        if query.types:
            every.append([term("type", each) for each in query.types])
        found: Mapping[int, int] | None = only
        for terms in every:
            found = _both(found, self._postings(terms, None if found is None else found.keys()))
        self._bits = dict(_all(size) if found is None else found)
        if query.since is not None or query.until is not None:
            self._cut(query)

    def _postings(self, terms: Sequence[str], blocks: Iterable[int] | None) -> dict[int, int]:
        query = select(LogPostingRow.block, LogPostingRow.bits).where(LogPostingRow.term.in_(terms))
        if blocks is not None and len(wanted := sorted(blocks)) <= _AT_ONCE:
            query = query.where(LogPostingRow.block.in_(wanted))
        found: dict[int, int] = {}
        for block, bits in self._session.execute(query):
            found[block] = found.get(block, 0) | bits_from_bytes(bits)
        return found

    def _cut(self, query: LogQuery) -> None:
        """Leave only what lies between the two times; a block that one of them falls into is looked at closely."""
        earliest = -(1 << 62) if query.since is None else seconds(query.since)
        latest = (1 << 62) if query.until is None else seconds(query.until)
        times = select(LogBlockRow.block, LogBlockRow.earliest, LogBlockRow.latest)
        for block, first, last in self._session.execute(times):
            if block not in self._bits or (earliest <= first and last <= latest):
                continue
            if last < earliest or latest < first:
                del self._bits[block]
                continue
            within = select(LogEntryRow.index).where(
                LogEntryRow.index >= block * BLOCK,
                LogEntryRow.index < (block + 1) * BLOCK,
                LogEntryRow.time >= earliest,
                LogEntryRow.time <= latest,
            )
            bits = 0
            for index in self._session.scalars(within):
                bits |= 1 << (index - block * BLOCK)
            self._bits[block] &= bits

    def count(self) -> int:
        return sum(bits.bit_count() for bits in self._bits.values())

    def newest(self, before: int, limit: int) -> list[int]:
        found: list[int] = []
        for block in sorted(self._bits, reverse=True):
            start = block * BLOCK
            if start >= before:
                continue
            bits = self._bits[block]
            if before - start < BLOCK:
                bits &= (1 << (before - start)) - 1
            for place in places(bits):
                found.append(start + place)
                if len(found) == limit:
                    return found
        return found


def _both(left: Mapping[int, int] | None, right: Mapping[int, int]) -> Mapping[int, int]:
    if left is None:
        return right
    both = {block: left[block] & right[block] for block in left.keys() & right.keys()}
    return {block: bits for block, bits in both.items() if bits}


def _all(size: int) -> dict[int, int]:
    whole, rest = divmod(size, BLOCK)
    blocks = dict.fromkeys(range(whole), (1 << BLOCK) - 1)
    return blocks | {whole: (1 << rest) - 1} if rest else blocks


def _committed(session: Session, commitments: Sequence[bytes]) -> dict[int, int]:
    """I3: where commitments stand; entries that only share the first bytes of one are left out."""
    wanted = set(commitments)
    keys = sorted({commitment_key(each) for each in wanted})
    found: dict[int, int] = {}
    for first in range(0, len(keys), _AT_ONCE):
        query = (
            select(LogEntryRow.index, LogEntryRow.leaf)
            .join(LogCommitmentRow, LogCommitmentRow.index == LogEntryRow.index)
            .where(LogCommitmentRow.key.in_(keys[first : first + _AT_ONCE]))
        )
        for index, leaf in session.execute(query):
            if wanted.isdisjoint(indexed(LogEntry.model_validate_json(leaf)).commitments):
                continue
            block, place = divmod(index, BLOCK)
            found[block] = found.get(block, 0) | 1 << place
    return found


def _read(session: Session, indices: Sequence[int]) -> Iterable[FoundEntry]:
    leaves: dict[int, bytes] = {}
    for first in range(0, len(indices), _AT_ONCE):
        wanted = indices[first : first + _AT_ONCE]
        query = select(LogEntryRow.index, LogEntryRow.leaf).where(LogEntryRow.index.in_(wanted))
        leaves.update((index, leaf) for index, leaf in session.execute(query))
    for index in indices:
        leaf = leaves[index]
        yield FoundEntry(index, leaf.decode(), LogEntry.model_validate_json(leaf))
