"""Sessions on the server: a random id in the browser, its SHA-256 here; new at every sign-in, gone at sign-out."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.orm import Session

from models.web.people import Clock, Person, person_of
from models.web.tables import AccessTables, Storage

IDLE = timedelta(minutes=30)
WHOLE = timedelta(hours=12)
FRESH = timedelta(minutes=5)
_SEEN_EVERY = timedelta(minutes=1)
_ID_BYTES = 32

Means = Literal["passkey", "password"]


@dataclass(frozen=True)
class SignedIn:
    """A session that holds.

    Attributes:
        id_sha256: which it is.
        person: whose.
        means: how they signed in.
        fresh: whether they proved who they are within the last five minutes.
    """

    id_sha256: bytes
    person: Person
    means: Means
    fresh: bool


class Sessions:
    """The sessions of one site."""

    def __init__(self, storage: Storage, tables: AccessTables, *, clock: Clock) -> None:
        self._storage = storage
        self._tables = tables
        self._clock = clock

    def begin(self, session: Session, person_id: str, means: Means, *, instead_of: str | None = None) -> str:
        """Begin a session in the caller's transaction and return its id, which exists nowhere else.

        Args:
            session: the transaction in which the means were checked.
            person_id: whose it is.
            means: how they signed in.
            instead_of: the id that the browser had before: that session ends, whosever it was.
        """
        sessions, now = self._tables.sessions, self._now()
        session.execute(delete(sessions).where(self._over(now)))
        if instead_of is not None:
            session.execute(delete(sessions).where(sessions.c.id_sha256 == _sha256(instead_of)))
        fresh = secrets.token_urlsafe(_ID_BYTES)
        session.execute(
            insert(sessions).values(
                id_sha256=_sha256(fresh),
                person_id=person_id,
                means=means,
                signed_in_at=now,
                seen_at=now,
            )
        )
        return fresh

    def find(self, session_id: str) -> SignedIn | None:
        """The session of an id from a cookie; None where there is none, or it has ended by itself."""
        sessions, people, now = self._tables.sessions, self._tables.people, self._now()
        with self._storage.reading() as session:
            row = session.execute(
                select(sessions, people)
                .join(people, people.c.person_id == sessions.c.person_id)
                .where(sessions.c.id_sha256 == _sha256(session_id), ~self._over(now))
            ).first()
        if row is None:
            return None
        if now - row.seen_at >= _SEEN_EVERY.total_seconds():
            with self._storage.session() as session:
                session.execute(update(sessions).where(sessions.c.id_sha256 == row.id_sha256).values(seen_at=now))
        fresh = now - row.signed_in_at <= FRESH.total_seconds()
        return SignedIn(row.id_sha256, person_of(row), row.means, fresh)

    def end(self, session_id: str) -> None:
        """Sign out here."""
        sessions = self._tables.sessions
        with self._storage.session() as session:
            session.execute(delete(sessions).where(sessions.c.id_sha256 == _sha256(session_id)))

    def end_all(self, person_id: str) -> None:
        """Sign out everywhere."""
        sessions = self._tables.sessions
        with self._storage.session() as session:
            session.execute(delete(sessions).where(sessions.c.person_id == person_id))

    def end_others(self, session: Session, person_id: str, keep: bytes) -> None:
        """End a person's other sessions, in the transaction that changed their means."""
        sessions = self._tables.sessions
        session.execute(delete(sessions).where(sessions.c.person_id == person_id, sessions.c.id_sha256 != keep))

    def count(self, person_id: str) -> int:
        """How many sessions a person has now."""
        sessions = self._tables.sessions
        with self._storage.reading() as session:
            return len(
                session.execute(
                    select(sessions.c.id_sha256).where(sessions.c.person_id == person_id, ~self._over(self._now()))
                ).all()
            )

    def _over(self, now: int) -> ColumnElement[bool]:
        sessions = self._tables.sessions
        idle = sessions.c.seen_at < now - int(IDLE.total_seconds())
        return idle | (sessions.c.signed_in_at < now - int(WHOLE.total_seconds()))

    def _now(self) -> int:
        return int(self._clock().timestamp())


def _sha256(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
