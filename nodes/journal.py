"""The node's own log: queries and what it decided, releases, and feed items that it refused; a hash chain.

With an export of it and one of the hub's log, `audit reconcile` finds each query that one side has and the other lacks
(docs/protocol.md, 8). Entries hold hashes, ids, counts and codes: no identifiers, pseudonyms, points or scores.

Each line's hash is SHA-256(hash of the line before ‖ entry), so that a line cannot be altered or left out without all
that follow being made anew; compare the last hash with one noted elsewhere to see even that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Text, cast, func, or_, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.wire.audit import LogEntry
from crypto.wire.base import Code, Moment, PartyId, WireModel
from nodes.clock import Clock, system_clock
from nodes.errors import JournalError
from nodes.store import Store
from nodes.tables.journal import JournalRow

GENESIS = bytes(32)
QUERY = "query"
_BLOCK = 1000

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

    def note(self, kind: str, facts: Mapping[str, Fact], *, session: Session | None = None) -> None:
        """Append an entry that is no query; in the caller's transaction where one is given."""
        entry = canonical_bytes(JournalNote(type=kind, time=self._clock(), actor=self._party_id, facts=dict(facts)))
        if session is not None:
            _append(session, [entry], None)
            return
        with self._store.session() as own:
            _append(own, [entry], None)

    def queries(
        self,
        session: Session,
        *,
        request_hash: bytes,
        facts: Mapping[str, Fact],
        decisions: Iterable[Decision],
        time: datetime,
    ) -> None:
        """Append one entry per item of a query, in the caller's transaction.

        A query that was refused as a whole and is decided again has its entries already (they are what reconciles with
        the hub's); then one note says how it was decided now.
        """
        decided = list(decisions)
        if session.scalar(select(JournalRow.seq).where(JournalRow.request_hash == request_hash).limit(1)) is not None:
            codes = ",".join(dict.fromkeys(decision.code for decision in decided))
            again: dict[str, Fact] = {"request_hash": request_hash.hex(), "items": len(decided), "decisions": codes}
            self.note("query-decided-again", again, session=session)
            return
        entries = [
            canonical_bytes(
                LogEntry(
                    type=QUERY,
                    time=time,
                    actor=self._party_id,
                    facts={
                        "request_hash": request_hash.hex(),
                        "item": decision.item,
                        "decision": decision.code,
                        **facts,
                    },
                )
            )
            for decision in decided
        ]
        _append(session, entries, request_hash)

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


def chain_hash(before: bytes, entry: bytes) -> bytes:
    """SHA-256(hash of the line before ‖ entry), 32 bytes; before the first line comes `GENESIS`."""
    return hashlib.sha256(before + entry).digest()


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
        if line.seq != number or line.hash != chain_hash(before, line.entry):
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
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise JournalError(
                f"{name}:{number} is no line of a journal", field=name, remedy="export the journal again"
            ) from problem
        yield line


def _of_types(types: Sequence[str]) -> ColumnElement[bool]:
    """An entry is canonical JSON, so its type comes last: nothing that a fact holds can stand there."""
    text = cast(JournalRow.entry, Text)
    return or_(*(text.endswith(f',"type":"{each}"}}', autoescape=True) for each in types))


def _append(session: Session, entries: Iterable[bytes], request_hash: bytes | None) -> None:
    # The store's write lock is held from the transaction's start, so no other process appends in between.
    newest = session.scalars(select(JournalRow).order_by(JournalRow.seq.desc()).limit(1)).first()
    seq, before = (0, GENESIS) if newest is None else (newest.seq, newest.hash)
    for entry in entries:
        seq, before = seq + 1, chain_hash(before, entry)
        session.add(JournalRow(seq=seq, entry=entry, hash=before, request_hash=request_hash))
    session.flush()
