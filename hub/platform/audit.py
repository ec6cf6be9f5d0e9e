"""The platform's audit record: who did what to what, in the same transaction as the change; append-only, a hash chain.

Writers take turns (`hub.db`), so entries of one transaction follow those of the one before it, and a transaction that
is undone leaves no gap.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue
from sqlalchemy import Select, event, insert, or_, select
from sqlalchemy.orm import Session, SessionTransaction

from crypto.canonical import canonical_bytes
from crypto.chain import GENESIS, chained
from hub.clock import Clock, seconds
from hub.db import Database
from hub.platform.errors import AuditBrokenError
from hub.platform.tables.audit import AuditRow

PAGE = 500
_LAST = "digua-platform-audit"
"""Under this name a session keeps number and hash of the last entry that it has written itself."""
_WAITING = "digua-platform-audit-waiting"
"""Under this name it keeps its entries until it commits or a savepoint begins: one statement writes them all."""


@dataclass(frozen=True)
class Entry:
    """One entry.

    Attributes:
        seq: from 1 without gaps.
        actor: such as ``bank:bank-01`` or ``merchant:…``.
        action, subject: what was done to what.
        what: the facts.
        hash: SHA-256(hash before ‖ canonical JSON of all the others).
    """

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    what: Mapping[str, JsonValue]
    hash: bytes


@dataclass(frozen=True)
class Wanted:
    """Which entries are asked for; what is empty does not matter.

    Attributes:
        actor: one, such as ``bank:zhao.min``, or all of a kind, such as ``bank``.
        action, subject: exactly.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""

    def among(self, query: Select[AuditRow]) -> Select[AuditRow]:
        """The query for these entries alone."""
        if self.actor:
            of_kind = AuditRow.actor.startswith(f"{self.actor}:", autoescape=True)
            query = query.where(or_(AuditRow.actor == self.actor, of_kind))
        if self.action:
            query = query.where(AuditRow.action == self.action)
        return query.where(AuditRow.subject == self.subject) if self.subject else query


class AuditRecord:
    """The record of one platform."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def write(self, session: Session, actor: str, action: str, subject: str, what: Mapping[str, JsonValue]) -> None:
        """Append an entry in the caller's transaction.

        Raises:
            CanonicalFormError: the facts have no canonical form, such as an integer beyond 2^53.
        """
        seq, before = session.info[_LAST] if _LAST in session.info else last_entry(session)
        at = self._clock().astimezone(UTC).replace(microsecond=0)
        entry = canonical_bytes(
            {
                "seq": seq + 1,
                "at": seconds(at),
                "actor": actor,
                "action": action,
                "subject": subject,
                "what": dict(what),
            }
        )
        following = chained(before, entry)
        row = {
            "seq": seq + 1,
            "at": seconds(at),
            "actor": actor,
            "action": action,
            "subject": subject,
            "entry": entry.decode(),
            "hash": following,
        }
        if _LAST not in session.info:
            # What the session remembers is of this transaction: after it others write.
            for moment, follows in (
                ("after_transaction_create", _store),
                ("before_commit", _store),
                ("after_commit", _forget),
                ("after_soft_rollback", _forget),
            ):
                event.listen(session, moment, follows)
        if session.in_nested_transaction():  # it may be undone alone
            session.execute(insert(AuditRow), [row])
        else:
            session.info.setdefault(_WAITING, []).append(row)
        session.info[_LAST] = (seq + 1, following)

    def entries(self, *, subject: str | None = None, after: int = 0, limit: int = PAGE) -> list[Entry]:
        """Return entries in their order, those after a number; of one subject, or of all."""
        query = select(AuditRow).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(limit)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        with self._db.reading() as session:
            return [_entry(row) for row in session.scalars(query).all()]

    def newest(self, wanted: Wanted, *, before: int | None = None, limit: int = PAGE) -> list[Entry]:
        """Return entries below a number, the newest first."""
        query = wanted.among(select(AuditRow)).order_by(AuditRow.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.seq < before)
        with self._db.reading() as session:
            return [_entry(row) for row in session.scalars(query).all()]

    def written(self, wanted: Wanted) -> Iterator[tuple[Entry, str]]:
        """Give entries in their order, each with the exact text that its hash is of; page by page."""
        seq = 0
        while True:
            query = wanted.among(select(AuditRow)).where(AuditRow.seq > seq).order_by(AuditRow.seq).limit(PAGE)
            with self._db.reading() as session:
                rows = session.scalars(query).all()
            yield from ((_entry(row), row.entry) for row in rows)
            if not rows:
                return
            seq = rows[-1].seq

    def actions(self) -> list[str]:
        """Return every action that the record knows, in alphabetical order."""
        with self._db.reading() as session:
            return list(session.scalars(select(AuditRow.action).distinct().order_by(AuditRow.action)))

    def verify(self) -> tuple[int, bytes]:
        """Check the whole chain and return the number of entries and the last hash.

        Raises:
            AuditBrokenError: an entry was altered, left out or moved; it names the first.
        """
        number, before = 0, GENESIS
        for row in self._rows():
            number += 1
            facts = json.loads(row.entry)
            columns = (row.seq, row.at, row.actor, row.action, row.subject)
            written = tuple(facts.get(name) for name in ("seq", "at", "actor", "action", "subject"))
            if row.seq != number or columns != written or row.hash != chained(before, row.entry.encode()):
                raise AuditBrokenError(
                    f"The audit record does not hold together at entry {number}: it was altered, left out or moved.",
                    field=str(number),
                    remedy="Keep the database as it is, and compare it with its backups.",
                )
            before = row.hash
        return number, before

    def _rows(self) -> Iterator[AuditRow]:
        seq = 0
        while True:
            query = select(AuditRow).where(AuditRow.seq > seq).order_by(AuditRow.seq).limit(PAGE)
            with self._db.reading() as session:
                rows = session.scalars(query).all()
            yield from rows
            if not rows:
                return
            seq = rows[-1].seq


def actions_on(session: Session, subjects: Collection[str], actions: Collection[str]) -> Iterator[Entry]:
    """Give the entries of some actions on some subjects, at most some hundreds of these, in their order."""
    query = select(AuditRow).where(AuditRow.subject.in_(subjects), AuditRow.action.in_(actions))
    yield from map(_entry, session.scalars(query.order_by(AuditRow.seq)))


def _store(session: Session, begun: SessionTransaction | None = None) -> None:
    """Write what waits: when the transaction commits, and before a part of it that may be undone alone begins."""
    waiting = session.info.pop(_WAITING, [])
    if waiting:
        whole = session if begun is None or begun.parent is None else begun.parent.connection(None)
        whole.execute(insert(AuditRow), waiting)


def _forget(session: Session, *_rolled_back: object) -> None:
    session.info.pop(_LAST, None)
    session.info.pop(_WAITING, None)


def last_entry(session: Session) -> tuple[int, bytes]:
    """Number and hash of the last entry; 0 and the chain's beginning where there is none."""
    query = select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)
    last = session.execute(query).first()
    return (0, GENESIS) if last is None else (last.seq, last.hash)


def _entry(row: AuditRow) -> Entry:
    return Entry(
        seq=row.seq,
        at=datetime.fromtimestamp(row.at, UTC),
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        what=json.loads(row.entry)["what"],
        hash=row.hash,
    )
