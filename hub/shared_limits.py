"""Counted requests of all replicas in the database, as storage for the library's moving windows."""

from __future__ import annotations

from limits.storage import MovingWindowSupport, Storage
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from hub.clock import Clock
from hub.db import Database
from hub.tables.replicas import CountedRequestRow


class SharedWindows(Storage, MovingWindowSupport):
    """Moving windows alone: no fixed windows are kept here.

    Args:
        db: of the hub.
        clock: the replicas' clocks are those of machines that serve one database, and agree within seconds.
    """

    STORAGE_SCHEME = None

    def __init__(self, db: Database, clock: Clock) -> None:
        super().__init__()
        self._db = db
        self._clock = clock

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """None: failures of the database are the hub's own to tell."""
        return ()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` requests unless that would be more than `limit` within `expiry` seconds."""
        now = self._now()
        with self._db.session() as session:
            session.execute(delete(CountedRequestRow).where(CountedRequestRow.expires_ms < now))
            if self._count(session, key, now - expiry * 1000) + amount > limit:
                return False
            row = {"name": key, "at_ms": now, "expires_ms": now + expiry * 1000}
            session.execute(insert(CountedRequestRow), [row] * amount)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the window's first request came, in seconds, and how many there are."""
        now = self._now()
        mine = CountedRequestRow.name == key, CountedRequestRow.at_ms > now - expiry * 1000
        query = select(func.min(CountedRequestRow.at_ms), func.count()).where(*mine)
        with self._db.reading() as session:
            first, count = session.execute(query).one()
        return (now if first is None else first) / 1000, count

    def clear(self, key: str) -> None:
        """Forget a limit's requests."""
        with self._db.session() as session:
            session.execute(delete(CountedRequestRow).where(CountedRequestRow.name == key))

    def reset(self) -> int | None:
        """Forget all."""
        with self._db.session() as session:
            session.execute(delete(CountedRequestRow))
        return None

    def check(self) -> bool:
        """Say whether the database answers."""
        with self._db.reading() as session:
            return session.scalar(select(1)) == 1

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Fixed windows: none."""
        raise NotImplementedError("Only moving windows are kept here.")

    def get(self, key: str) -> int:
        """Fixed windows: none."""
        raise NotImplementedError("Only moving windows are kept here.")

    def get_expiry(self, key: str) -> float:
        """Fixed windows: none."""
        raise NotImplementedError("Only moving windows are kept here.")

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000)

    @staticmethod
    def _count(session: Session, key: str, after: int) -> int:
        query = select(func.count()).where(CountedRequestRow.name == key, CountedRequestRow.at_ms > after)
        return session.scalar(query) or 0
