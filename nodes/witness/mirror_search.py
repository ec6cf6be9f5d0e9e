"""Search of the witness's mirror: bitmaps of `crypto.log_index`, an AND of them for each block, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from crypto.log_index import (
    BLOCK,
    IndexedEntry,
    bits_from_bytes,
    bits_to_bytes,
    commitment_key,
    places,
    postings,
    term,
)
from crypto.wire.audit import LogEntry
from nodes.store import Store
from nodes.tables.mirror import (
    MirrorBitsRow,
    MirrorCommitmentRow,
    MirrorDayRow,
    MirrorEntryRow,
    MirrorHeadRow,
    MirrorSpanRow,
)
from nodes.witness.mirror_index import parsed

_STORED_BITS = select(MirrorBitsRow.bits).where(
    MirrorBitsRow.term == bindparam("term"), MirrorBitsRow.block == bindparam("block")
)
_ADDED_BITS = insert(MirrorBitsRow)
_KEEP_BITS = _ADDED_BITS.on_conflict_do_update(
    index_elements=["term", "block"], set_={"bits": _ADDED_BITS.excluded.bits}
)
_KEEP_COMMITMENTS = insert(MirrorCommitmentRow)


@dataclass(frozen=True)
class Wanted:
    """What entries are searched for; all that is given must hold. Times in Unix seconds, `until` not included."""

    party: str | None = None
    campaign: str | None = None
    model: str | None = None
    type: str | None = None
    since: int | None = None
    until: int | None = None

    def terms(self) -> list[str]:
        """The terms whose bitmaps are ANDed."""
        fields = ("party", "campaign", "model", "type")
        return [term(field, value) for field in fields if (value := getattr(self, field)) is not None]


@dataclass(frozen=True)
class MirroredEntry:
    """An entry at its place; `entry` is None where the leaf is none that this version reads."""

    index: int
    leaf: bytes
    entry: LogEntry | None


@dataclass(frozen=True)
class FoundEntries:
    """A page of what was found, newest first; `total` counts all, `next_below` asks for the page after this one."""

    entries: tuple[MirroredEntry, ...]
    total: int
    next_below: int | None


class MirrorSearch:
    """Questions to the mirror; each is answered from one consistent view."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def search(self, wanted: Wanted, *, limit: int = 50, below: int | None = None) -> FoundEntries:
        """Entries that fit, newest first.

        Args:
            wanted: what they have in common.
            limit: length of a page.
            below: only entries before this index are on the page; `total` counts all the same.
        """
        chosen: list[int] = []
        total, more = 0, False
        with self._store.reading() as session:
            for block, bits in _fitting(session, wanted):
                total += bits.bit_count()
                for place in () if more else places(bits):
                    index = block * BLOCK + place
                    if below is not None and index >= below:
                        continue
                    if len(chosen) == limit:
                        more = True
                        break
                    chosen.append(index)
            entries = _entries(session, chosen)
        return FoundEntries(tuple(entries), total, chosen[-1] if more else None)

    def size(self) -> int:
        """How many entries there are."""
        with self._store.reading() as session:
            return _size(session)

    def last_time(self) -> datetime | None:
        """The time of the newest entry; None where there is none."""
        with self._store.reading() as session:
            moment = session.scalar(select(func.max(MirrorSpanRow.last)))
        return None if moment is None else datetime.fromtimestamp(moment, UTC)

    def entry(self, index: int) -> MirroredEntry | None:
        """One entry by its place."""
        with self._store.reading() as session:
            found = _entries(session, [index])
        return found[0] if found else None

    def with_commitment(self, commitment: bytes) -> list[MirroredEntry]:
        """Entries in which a commitment stands, in order."""
        with self._store.reading() as session:
            query = select(MirrorCommitmentRow.index).where(MirrorCommitmentRow.key == commitment_key(commitment))
            found = _entries(session, sorted(session.scalars(query)))
        text = commitment.hex()
        return [
            each
            for each in found
            if each.entry is not None and (each.entry.subject == commitment or text in each.entry.facts.values())
        ]

    def values(self, field: str) -> list[str]:
        """All values of a field that occur in the log: of `party`, `campaign`, `model` or `type`, in order."""
        start = term(field, "")
        with self._store.reading() as session:
            query = select(MirrorBitsRow.term).where(MirrorBitsRow.term >= start, MirrorBitsRow.term < start + "\x7f")
            return [
                found.removeprefix(start) for found in session.scalars(query.distinct().order_by(MirrorBitsRow.term))
            ]

    def days(self, *, since: str) -> dict[str, dict[str, int]]:
        """Figures by day (`YYYY-MM-DD`) from `since` on."""
        found: dict[str, dict[str, int]] = {}
        with self._store.reading() as session:
            rows = session.scalars(select(MirrorDayRow).where(MirrorDayRow.day >= since).order_by(MirrorDayRow.day))
            for row in rows:
                found.setdefault(row.day, {})[row.what] = row.number
        return found

    def leaves(self, start: int = 0) -> Iterator[MirroredEntry]:
        """All entries from `start` on, in order, read a block at a time."""
        while True:
            with self._store.reading() as session:
                found = _entries(session, range(start, start + BLOCK))
            yield from found
            if len(found) < BLOCK:
                return
            start += BLOCK


def keep_terms(session: Session, start: int, found: Sequence[IndexedEntry]) -> None:
    """Index entries from `start` on, in the transaction that keeps them."""
    connection = session.connection()
    grown = []
    for (name, block), bits in postings(start, found).items():
        stored = connection.scalar(_STORED_BITS, {"term": name, "block": block})
        added = bits if stored is None else bits_from_bytes(stored) | bits
        grown.append({"term": name, "block": block, "bits": bits_to_bytes(added)})
    if grown:
        connection.execute(_KEEP_BITS, grown)
    keys = {(commitment_key(each), index) for index, what in enumerate(found, start) for each in what.commitments}
    if keys:
        connection.execute(_KEEP_COMMITMENTS, [{"key": key, "index": index} for key, index in keys])
    for block in range(start // BLOCK, (start + len(found) - 1) // BLOCK + 1):
        first = max(block * BLOCK - start, 0)
        times = [what.time for what in found[first : (block + 1) * BLOCK - start] if what.time]
        span = session.get(MirrorSpanRow, block)
        if times and span is None:
            session.add(MirrorSpanRow(block=block, first=min(times), last=max(times)))
        elif times and span is not None:
            span.first, span.last = min(span.first, *times), max(span.last, *times)


def _fitting(session: Session, wanted: Wanted) -> Iterator[tuple[int, int]]:
    """(block, bitmap) of all entries that fit, the last block first."""
    size = _size(session)
    terms = wanted.terms()
    bitmaps = [_bitmaps(session, each) for each in terms]
    spans = {row.block: (row.first, row.last) for row in session.scalars(select(MirrorSpanRow))}
    for block in range((size - 1) // BLOCK, -1, -1):
        bits = (1 << min(BLOCK, size - block * BLOCK)) - 1
        for each in bitmaps:
            bits &= each.get(block, 0)
        if bits:
            bits &= _in_time(session, wanted, block, spans.get(block))
        if bits:
            yield block, bits


def _size(session: Session) -> int:
    head = session.get(MirrorHeadRow, 1)
    return 0 if head is None else head.size


def _bitmaps(session: Session, name: str) -> dict[int, int]:
    query = select(MirrorBitsRow.block, MirrorBitsRow.bits).where(MirrorBitsRow.term == name)
    return {block: bits_from_bytes(bits) for block, bits in session.execute(query)}


def _in_time(session: Session, wanted: Wanted, block: int, span: tuple[int, int] | None) -> int:
    """The bitmap of a block's entries within the times; only a block that a limit cuts is looked at."""
    since, until = wanted.since, wanted.until
    whole = (1 << BLOCK) - 1
    if since is None and until is None:
        return whole
    if span is None or (since is not None and span[1] < since) or (until is not None and span[0] >= until):
        return 0
    if (since is None or span[0] >= since) and (until is None or span[1] < until):
        return whole
    query = select(MirrorEntryRow.index).where(
        MirrorEntryRow.index >= block * BLOCK, MirrorEntryRow.index < (block + 1) * BLOCK
    )
    query = query if since is None else query.where(MirrorEntryRow.time >= since)
    query = query if until is None else query.where(MirrorEntryRow.time < until)
    return sum(1 << (index - block * BLOCK) for index in session.scalars(query))


def _entries(session: Session, indices: Sequence[int]) -> list[MirroredEntry]:
    """Entries by their places, in the order of these; places beyond the end are left out."""
    found: dict[int, bytes] = {}
    for start in range(0, len(indices), 500):
        query = select(MirrorEntryRow.index, MirrorEntryRow.leaf)
        for index, leaf in session.execute(query.where(MirrorEntryRow.index.in_(indices[start : start + 500]))):
            found[index] = leaf
    return [MirroredEntry(index, found[index], parsed(found[index])) for index in indices if index in found]
