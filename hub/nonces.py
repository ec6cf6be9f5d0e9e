"""Nonces of signed requests: each passes once, for as long as its request is in time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import delete, insert, select

from crypto.wire.service import SIGNED_REQUEST_SECONDS
from hub.db import Database
from hub.errors import ReplayError, UnauthorisedError
from hub.tables.replicas import SpentNonceRow
from models.group_commit import GroupCommit


class Nonces(Protocol):
    """Lets each nonce pass once."""

    def spend(self, nonce: bytes, issued: int, now: int) -> None:
        """Spend a nonce.

        Raises:
            UnauthorisedError: the request's time is more than five minutes from the hub's.
            ReplayError: the nonce came before.
        """


class SpentNonces:
    """The nonces of one process that serves alone, in its memory."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def spend(self, nonce: bytes, issued: int, now: int) -> None:
        """See `Nonces`."""
        _check_time(issued, now)
        with self._lock:
            if nonce in self._seen:
                raise _replayed()
            self._seen[nonce] = issued
            # Oldest first; what is out of time is refused anyway and need not be remembered.
            if len(self._seen) % 1024 == 0:
                self._seen = {n: t for n, t in self._seen.items() if now - t <= SIGNED_REQUEST_SECONDS}


class SharedNonces:
    """The nonces of all replicas, in the database; those who come at the same time share a transaction.

    Args:
        db: of the hub.
        use: what the requests are, so that one use's nonces are not another's.
    """

    def __init__(self, db: Database, use: str) -> None:
        self._db = db
        self._use = use.encode()
        self._group = GroupCommit(self._spend)

    def spend(self, nonce: bytes, issued: int, now: int) -> None:
        """See `Nonces`; it returns after the commit."""
        _check_time(issued, now)
        digest = hashlib.sha256(self._use + b"\x00" + nonce).digest()
        if not self._group.submit((digest, issued, now)):
            raise _replayed()

    def _spend(self, group: Sequence[tuple[bytes, int, int]]) -> list[bool]:
        """Spend nonces in order; say of each whether it was fresh."""
        digests = [digest for digest, _, _ in group]
        fresh: dict[bytes, int] = {}
        said: list[bool] = []
        with self._db.session() as session:
            oldest = min(now for _, _, now in group) - 2 * SIGNED_REQUEST_SECONDS
            session.execute(delete(SpentNonceRow).where(SpentNonceRow.issued_at < oldest))
            spent = set(session.scalars(select(SpentNonceRow.digest).where(SpentNonceRow.digest.in_(digests))))
            for digest, issued, _ in group:
                said.append(digest not in spent and digest not in fresh)
                if said[-1]:
                    fresh[digest] = issued
            if fresh:
                rows = [{"digest": digest, "issued_at": issued} for digest, issued in fresh.items()]
                session.execute(insert(SpentNonceRow), rows)
        return said


def _check_time(issued: int, now: int) -> None:
    if abs(now - issued) > SIGNED_REQUEST_SECONDS:
        raise UnauthorisedError(
            "The signature's time is more than 5 minutes from the hub's.",
            field="issued_at",
            remedy="Set the clock, sign again.",
        )


def _replayed() -> ReplayError:
    return ReplayError("This signed request was used before.", field="nonce", remedy="Sign each request anew.")
