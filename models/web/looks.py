"""The access record: who looked at whose personal data, when, and under which right. Append-only, a hash chain.

The merchant stands in it as a keyed hash (`Vault.blur`): whoever knows the merchant and has the site's key finds the
looks at it; the record alone names nobody. Each entry's hash also goes into the log of the site (the hub's audit log,
the node's journal), so that an entry cannot be taken out unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from models.web.errors import AccessStateError
from models.web.people import Clock, Person
from models.web.tables import AccessTables, Storage
from models.web.vault import Vault

GENESIS = bytes(32)
PAGE = 200


@dataclass(frozen=True)
class Look:
    """One entry.

    Attributes:
        seq: its number, from 1.
        at: when.
        person_id, name: who.
        what: which data, a short code, e.g. ``"score"`` or ``"consents"``.
        subject: the keyed hash of whose they are.
        hash: SHA-256(hash before ‖ entry).
    """

    seq: int
    at: datetime
    person_id: str
    name: str
    what: str
    subject: bytes
    hash: bytes


Anchor = Callable[[Session, Look], None]
"""Writes an entry's hash into the site's own log, in the same transaction."""


class Looks:
    """The access record of one site."""

    def __init__(
        self, storage: Storage, tables: AccessTables, vault: Vault, *, clock: Clock, anchor: Anchor | None = None
    ) -> None:
        self._storage = storage
        self._table = tables.looks
        self._vault = vault
        self._clock = clock
        self._anchor = anchor

    def record(self, person: Person, what: str, subject: str | bytes) -> Look:
        """Write down a look before its data are shown: where this fails, nothing is.

        Args:
            person: who looks.
            what: which data, a short code.
            subject: whose: an identifier as typed, or a pseudonym; only its keyed hash is kept.
        """
        blurred = self._vault.blur(subject.encode() if isinstance(subject, str) else subject)
        at = self._clock().astimezone(UTC).replace(microsecond=0)
        facts = {
            "at": at.isoformat(),
            "name": person.name,
            "person": person.person_id,
            "subject": blurred.hex(),
            "what": what,
        }
        entry = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        looks = self._table
        with self._storage.session() as session:
            last = session.execute(select(looks.c.seq, looks.c.hash).order_by(looks.c.seq.desc()).limit(1)).first()
            seq, before = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
            look = Look(seq, at, person.person_id, person.name, what, blurred, _chained(before, entry))
            session.execute(
                insert(looks).values(
                    seq=seq,
                    looked_at=int(at.timestamp()),
                    person_id=person.person_id,
                    name=person.name,
                    what=what,
                    subject=blurred,
                    entry=entry,
                    hash=look.hash,
                )
            )
            if self._anchor is not None:
                self._anchor(session, look)
        return look

    def newest(self, *, before: int | None = None, limit: int = PAGE) -> list[Look]:
        """Entries below number `before`, the newest first."""
        looks = self._table
        query = select(looks).order_by(looks.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(looks.c.seq < before)
        with self._storage.reading() as session:
            return [_look(row) for row in session.execute(query).all()]

    def at(self, subject: str | bytes) -> list[Look]:
        """All looks at one merchant's data, the newest first."""
        blurred = self._vault.blur(subject.encode() if isinstance(subject, str) else subject)
        looks = self._table
        query = select(looks).where(looks.c.subject == blurred).order_by(looks.c.seq.desc())
        with self._storage.reading() as session:
            return [_look(row) for row in session.execute(query).all()]

    def count(self) -> int:
        """How many there are."""
        with self._storage.reading() as session:
            return session.scalar(select(func.count()).select_from(self._table)) or 0

    def verify(self) -> tuple[int, bytes]:
        """Check the chain and return the number of entries and the last hash.

        Raises:
            AccessStateError: an entry was altered, left out or moved; it names the first.
        """
        number, before = 0, GENESIS
        for seq, entry, stored, columns in self._entries():
            number += 1
            if seq != number or stored != _chained(before, entry) or columns != _columns(entry):
                raise AccessStateError(
                    f"The access record does not hold together at entry {number}: it was altered, left out or moved.",
                    field=str(number),
                    remedy="Keep the database as it is, and compare the hashes with those in the log.",
                )
            before = stored
        return number, before

    def _entries(self) -> Iterator[tuple[int, str, bytes, tuple[str, ...]]]:
        looks, seq = self._table, 0
        while True:
            query = select(looks).where(looks.c.seq > seq).order_by(looks.c.seq).limit(PAGE)
            with self._storage.reading() as session:
                rows = session.execute(query).all()
            for row in rows:
                seq = row.seq
                at = datetime.fromtimestamp(row.looked_at, tz=UTC).isoformat()
                yield seq, row.entry, row.hash, (at, row.name, row.person_id, row.subject.hex(), row.what)
            if not rows:
                return


def _columns(entry: str) -> tuple[str, ...]:
    facts = json.loads(entry)
    return tuple(str(facts.get(name)) for name in ("at", "name", "person", "subject", "what"))


def _chained(before: bytes, entry: str) -> bytes:
    return hashlib.sha256(before + entry.encode()).digest()


def _look(row: Row[Any]) -> Look:
    at = datetime.fromtimestamp(row.looked_at, tz=UTC)
    return Look(row.seq, at, row.person_id, row.name, row.what, row.subject, row.hash)
