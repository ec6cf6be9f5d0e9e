"""One process a campaign: a lock that the operating system or the database gives back when its holder dies (B3).

On PostgreSQL an advisory lock of one open connection, on SQLite `flock` on a file beside the database. Neither can be
left over: a killed process's connections and files are closed for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, TextClause
from sqlalchemy.exc import SQLAlchemyError

from hub.db import Database

_TRY = TextClause("SELECT pg_try_advisory_lock(:key)")
_TAKEN = TextClause(
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND datname = current_database()"
    " AND classid = CAST(:high AS oid) AND objid = CAST(:low AS oid)"
)
_SESSION = (
    # A holder whose machine vanished is noticed within half a minute; an idle holder is not thrown out.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 4",
    "SET idle_session_timeout = 0",
)
_PRIVATE = 0o600


class Held(Protocol):
    """A lock that this process holds."""

    def still(self) -> bool:
        """Say whether it is held: a database that was started again has forgotten it."""


class CampaignLocks(Protocol):
    """The locks of all campaigns of one database."""

    def take(self, campaign_id: str) -> AbstractContextManager[Held | None]:
        """Hold a campaign for the time of the context; None where another process has it."""

    def taken(self, campaign_id: str) -> bool:
        """Say whether any process holds it now."""


def campaign_locks(db: Database) -> CampaignLocks:
    """Return the locks that go with a database."""
    if db.engine.dialect.name == "sqlite":
        return FileLocks(Path(f"{db.engine.url.database}.locks"))
    return AdvisoryLocks(db)


class FileLocks:
    """`flock` on one file a campaign; between processes of one machine, which is all that SQLite allows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def take(self, campaign_id: str) -> Iterator[Held | None]:
        """Hold a campaign for the time of the context; None where another process has it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._folder / campaign_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            yield _FileHeld() if _flock(descriptor, fcntl.LOCK_EX) else None
        finally:
            os.close(descriptor)

    def taken(self, campaign_id: str) -> bool:
        """Say whether any process holds it now. A shared lock tells, and does not keep others that ask from telling."""
        try:
            descriptor = os.open(self._folder / campaign_id, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _flock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


class _FileHeld:
    def still(self) -> bool:
        return True


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class AdvisoryLocks:
    """Advisory locks of PostgreSQL sessions; connect straight to the server, or through a pooler in session mode."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @contextmanager
    def take(self, campaign_id: str) -> Iterator[Held | None]:
        """Hold a campaign for the time of the context; None where another process has it."""
        with self._db.autocommit() as connection:
            for statement in _SESSION:
                connection.exec_driver_sql(statement)
            yield _SessionHeld(connection) if connection.scalar(_TRY, {"key": _key(campaign_id)}) else None

    def taken(self, campaign_id: str) -> bool:
        """Say whether any process holds it now."""
        unsigned = _key(campaign_id) & (2**64 - 1)
        with self._db.reading() as session:
            return bool(session.scalar(_TAKEN, {"high": unsigned >> 32, "low": unsigned & (2**32 - 1)}))


class _SessionHeld:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def still(self) -> bool:
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except SQLAlchemyError:
            return False
        return True


def _key(campaign_id: str) -> int:
    """A campaign's lock as the signed 64-bit number that PostgreSQL takes."""
    return int.from_bytes(hashlib.sha256(f"digua campaign {campaign_id}".encode()).digest()[:8], signed=True)
