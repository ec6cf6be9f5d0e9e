"""Answers under their Idempotency-Keys, in the database (`hub.idempotency`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import IdempotencyInProgressError, IdempotencyKeyReusedError
from hub.tables.idempotency import IdempotencyRow


@dataclass(frozen=True)
class StoredAnswer:
    """A success as it went out."""

    status: int
    media_type: str
    body: bytes


class IdempotencyStore:
    """Answers under their keys, for `life_s` seconds.

    Args:
        owner: this process, where others serve the same database.
        gone: says of such an owner, in a transaction that may write, that it commits nothing more.
    """

    def __init__(
        self,
        db: Database,
        *,
        clock: Clock,
        life_s: int,
        owner: str | None = None,
        gone: Callable[[Session, str], bool] = lambda _session, _owner: True,
    ) -> None:
        self._db = db
        self._clock = clock
        self._life_s = life_s
        self._owner = owner
        self._gone = gone
        self._abandoned: set[bytes] = set()

    def begin(self, scope: bytes, body_sha256: bytes) -> StoredAnswer | None:
        """Claim a key for this body, or return the answer that it got before.

        Raises:
            IdempotencyKeyReusedError: it was used with another body.
            IdempotencyInProgressError: its first request is still running.
        """
        self._release_abandoned()
        now = seconds(self._clock())
        with self._db.session() as session:
            session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < now - self._life_s))
            row = session.get(IdempotencyRow, scope)
            if row is None:
                session.add(IdempotencyRow(scope=scope, body_sha256=body_sha256, created_at=now, owner=self._owner))
                return None
            if row.body_sha256 != body_sha256:
                raise IdempotencyKeyReusedError(
                    "The key came before, with another body.",
                    field="Idempotency-Key",
                    remedy="Use a fresh key for each request.",
                )
            if row.status is None:
                if self._owner is not None and self._left(session, row.owner):
                    row.owner, row.created_at = self._owner, now
                    return None
                raise IdempotencyInProgressError(
                    "The first request under this key has not ended.",
                    field="Idempotency-Key",
                    remedy="Wait a moment, then send the same request again.",
                )
            return StoredAnswer(row.status, row.media_type or "", row.answer or b"")

    def finish(self, scope: bytes, answer: StoredAnswer) -> None:
        """Keep a success."""
        with self._db.session() as session:
            row = session.get(IdempotencyRow, scope)
            if row is not None and row.owner == self._owner:
                row.status, row.media_type, row.answer = answer.status, answer.media_type, answer.body

    def release(self, scope: bytes) -> None:
        """Free a key whose request did not succeed."""
        with self._db.session() as session:
            mine = IdempotencyRow.scope == scope, IdempotencyRow.owner.is_not_distinct_from(self._owner)
            session.execute(delete(IdempotencyRow).where(*mine, IdempotencyRow.status.is_(None)))

    def abandon(self, scope: bytes) -> None:
        """Free a key, at the next request, whose own ended while the database was away."""
        self._abandoned.add(scope)

    def _release_abandoned(self) -> None:
        for scope in tuple(self._abandoned):
            self.release(scope)
            self._abandoned.discard(scope)

    def release_unfinished(self) -> None:
        """Free the keys of requests that a former process did not end; at start-up."""
        with self._db.session() as session:
            unfinished = IdempotencyRow.status.is_(None)
            owners = session.scalars(select(IdempotencyRow.owner).where(unfinished).distinct()).all()
            for owner in owners:
                if self._left(session, owner):
                    its = IdempotencyRow.owner.is_not_distinct_from(owner)
                    session.execute(delete(IdempotencyRow).where(unfinished, its))

    def _left(self, session: Session, owner: str | None) -> bool:
        """Whether nobody works on a request any more."""
        return owner is None or self._gone(session, owner)
