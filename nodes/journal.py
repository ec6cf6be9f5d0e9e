"""The node's own log: queries and what it decided, releases, and feed items that it refused; a hash chain.

With an export of it and one of the hub's log, `audit reconcile` finds each query that one side has and the other lacks
(docs/protocol.md, 8). Entries hold hashes, ids, counts and codes: no identifiers, pseudonyms, points or scores.

Each line's hash is SHA-256(hash of the line before ‖ entry), so that a line cannot be altered or left out without all
that follow being made anew; compare the last hash with one noted elsewhere to see even that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Text, bindparam, cast, func, insert, or_, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.chain import GENESIS, chained
from crypto.wire.audit import LogEntry
from crypto.wire.base import Code, Moment, PartyId, WireModel
from nodes.clock import Clock, system_clock
from nodes.errors import JournalError
from nodes.store import Store
from nodes.tables.journal import JournalRow

QUERY = "query"
_BLOCK = 1000
_NEWEST = select(JournalRow.seq, JournalRow.hash).order_by(JournalRow.seq.desc()).limit(1)
_ADD = insert(JournalRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_ASKED = (
    select(JournalRow.request_hash).where(JournalRow.request_hash.in_(bindparam("hashes", expanding=True))).distinct()
)

Fact = str | int | bool | None


class JournalNote(WireModel):
    """An entry about anything else than a query; queries are `crypto.wire.audit.LogEntry`."""

    type: Code
    time: Moment
    actor: PartyId
    facts: dict[str, Fact] = {}


@dataclass(frozen=True)
class Decision:
    """What the node decided about one item of a query: `answered`, or the code of its refusal."""

    item: int
    code: str


@dataclass(frozen=True)
class Decided:
    """A query and what the node decided about each of its items; `facts` go into every entry."""

    request_hash: bytes
    facts: Mapping[str, Fact]
    decisions: Sequence[Decision]


@dataclass(frozen=True)
class JournalLine:
    """One entry of the journal in order."""

    seq: int
    entry: bytes
    hash: bytes

    @property
    def type(self) -> str:
        """The entry's type."""
        return str(json.loads(self.entry)["type"])

    def to_json(self) -> str:
        """The line of an export: queries as `entry`, as in the hub's export, all else as `note`."""
        key = "entry" if self.type == QUERY else "note"
        return json.dumps({"seq": self.seq, "hash": self.hash.hex(), key: self.entry.decode()}, ensure_ascii=False)


class Journal:
    """Appends to the chain and reads it back."""

    def __init__(self, store: Store, party_id: str, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._party_id = party_id
        self._clock = clock

    def note(
        self,
        kind: str,
        facts: Mapping[str, Fact],
        *,
        session: Session | None = None,
        also: Callable[[Session], object] = lambda _session: None,
    ) -> None:
        """Append an entry that is no query; in the caller's transaction where one is given.

        Args:
            kind: the entry's type.
            facts: what it says.
            session: the caller's transaction.
            also: writes more in the same transaction; it may be called anew after a roll-back.
        """
        entry = canonical_bytes(JournalNote(type=kind, time=self._clock(), actor=self._party_id, facts=dict(facts)))

        def write(own: Session) -> None:
            _append(own, [(entry, None)])
            also(own)

        if session is None:
            self._store.together(write)
        else:
            write(session)

    def queries(self, session: Session, decided: Sequence[Decided], time: datetime) -> None:
        """Append one entry per item of each of these queries, in the caller's transaction.

        A query that was refused as a whole and is decided again has its entries already (they are what reconciles with
        the hub's); then one note says how it was decided now.
        """
        hashes = [each.request_hash for each in decided]
        known = set(session.connection().scalars(_ASKED, {"hashes": hashes}))
        entries: list[tuple[bytes, bytes | None]] = []
        for query in decided:
            said = {"request_hash": query.request_hash.hex()}
            if query.request_hash in known:
                codes = ",".join(dict.fromkeys(decision.code for decision in query.decisions))
                again: dict[str, Fact] = {**said, "items": len(query.decisions), "decisions": codes}
                note = JournalNote(type="query-decided-again", time=self._clock(), actor=self._party_id, facts=again)
                entries.append((canonical_bytes(note), None))
                continue
            known.add(query.request_hash)
            for decision in query.decisions:
                facts = {**said, "item": decision.item, "decision": decision.code, **query.facts}
                entry = LogEntry(type=QUERY, time=time, actor=self._party_id, facts=facts)
                entries.append((canonical_bytes(entry), query.request_hash))
        _append(session, entries)

    def lines(self) -> Iterator[JournalLine]:
        """All entries, in order."""
        seq = 0
        while True:
            with self._store.reading() as session:
                rows = session.scalars(
                    select(JournalRow).where(JournalRow.seq > seq).order_by(JournalRow.seq).limit(_BLOCK)
                ).all()
            if not rows:
                return
            for row in rows:
                yield JournalLine(row.seq, row.entry, row.hash)
            seq = rows[-1].seq

    def page(self, *types: str, before: int | None = None, limit: int = 100) -> list[JournalLine]:
        """Entries, the newest first.

        Args:
            types: only of these; all where none is named.
            before: only entries ahead of this number.
            limit: at most so many.
        """
        query = select(JournalRow).order_by(JournalRow.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(JournalRow.seq < before)
        if types:
            query = query.where(_of_types(types))
        with self._store.reading() as session:
            return [JournalLine(row.seq, row.entry, row.hash) for row in session.scalars(query)]

    def of_types(self, *types: str) -> Iterator[JournalLine]:
        """All entries of these types, in order, read in blocks."""
        seq = 0
        while True:
            query = select(JournalRow).where(JournalRow.seq > seq, _of_types(types)).order_by(JournalRow.seq)
            with self._store.reading() as session:
                rows = session.scalars(query.limit(_BLOCK)).all()
            if not rows:
                return
            for row in rows:
                yield JournalLine(row.seq, row.entry, row.hash)
            seq = rows[-1].seq

    def export(self, path: Path) -> int:
        """Write all entries as NDJSON and return their number.

        Raises:
            JournalError: the file cannot be written.
        """
        number = 0
        try:
            with path.open("w", encoding="utf-8") as file:
                for line in self.lines():
                    file.write(line.to_json() + "\n")
                    number += 1
        except OSError as problem:
            raise JournalError(
                f"{path} cannot be written: {problem.strerror}", field=str(path), remedy="give another path"
            ) from problem
        return number

    def count(self) -> int:
        """How many entries there are."""
        with self._store.reading() as session:
            return session.scalar(select(func.count()).select_from(JournalRow)) or 0


def verify_lines(lines: Iterable[JournalLine]) -> tuple[int, bytes]:
    """Check the chain.

    Returns:
        The number of entries and the last hash.

    Raises:
        JournalError: an entry was altered, left out or moved; the message names the first.
    """
    number, before = 0, GENESIS
    for line in lines:
        number += 1
        if line.seq != number or line.hash != chained(before, line.entry):
            raise JournalError(
                f"the journal does not hold together at entry {number}: it was altered, left out or moved",
                field=str(number),
                remedy="keep the file, and compare it with the last export",
            )
        before = line.hash
    return number, before


def read_export(path: Path) -> Iterator[JournalLine]:
    """The lines of an export.

    Raises:
        JournalError: the file cannot be read, or a line is none of an export.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from read_lines(file, str(path))
    except OSError as problem:
        raise JournalError(
            f"{path} cannot be read: {problem.strerror}", field=str(path), remedy="check the path"
        ) from problem
    except UnicodeDecodeError as problem:
        raise JournalError(f"{path} is no journal", field=str(path), remedy="export the journal again") from problem


def read_lines(lines: Iterable[str], name: str) -> Iterator[JournalLine]:
    """The lines of an export that is read elsewhere; `name` stands in errors.

    Raises:
        JournalError: a line is none of an export.
    """
    for number, text in enumerate(lines, start=1):
        try:
            value = json.loads(text)
            entry = str(value.get("entry") or value["note"]).encode()
            line = JournalLine(int(value["seq"]), entry, bytes.fromhex(value["hash"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
            raise JournalError(
                f"{name}:{number} is no line of a journal", field=name, remedy="export the journal again"
            ) from problem
        yield line


def _of_types(types: Sequence[str]) -> ColumnElement[bool]:
    """An entry is canonical JSON, so its type comes last: nothing that a fact holds can stand there."""
    text = cast(JournalRow.entry, Text)
    return or_(*(text.endswith(f',"type":"{each}"}}', autoescape=True) for each in types))


def _append(session: Session, entries: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Append entries, each with the hash of the request that it is about."""
    if not entries:
        return
    # The store's write lock is held from the transaction's start, so no other process appends in between.
    connection = session.connection()
    newest = connection.execute(_NEWEST).first()
    seq, before = (0, GENESIS) if newest is None else (newest.seq, newest.hash)
    rows: list[dict[str, object]] = []
    for entry, request_hash in entries:
        seq, before = seq + 1, chained(before, entry)
        rows.append({"seq": seq, "entry": entry, "hash": before, "request_hash": request_hash})
    connection.execute(_ADD, rows)
