"""The hub's database: SQLite (WAL) or PostgreSQL behind one engine, one transaction per session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MS = 30_000
_WRITES = "digua_writes"


def _prepare_sqlite(dbapi_connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # BEGIN is emitted by `_begin_sqlite`: the driver's own guessing would start read transactions that cannot
    # be upgraded once another writer has committed.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL: a checkpoint that the witness has seen must survive a power failure.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA cache_size=-32768")
    finally:
        cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Database:
    """An engine and its sessions.

    Args:
        url: an SQLAlchemy URL, e.g. ``sqlite:////var/lib/digua/hub.sqlite``; SQLite needs a file.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.url = url
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = create_engine(
            parsed, pool_pre_ping=not sqlite, pool_size=32, max_overflow=64, pool_timeout=30
        )
        if sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._reader = self.engine.execution_options(**{_WRITES: False})

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction that may write: committed at the end, rolled back if the block raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view that writes nothing and waits for no writer."""
        with Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    def overwrite_deleted(self, session: Session) -> None:
        """Have SQLite overwrite what this session's connection deletes from now on, not only give its room free."""
        if self.engine.dialect.name == "sqlite":
            session.connection().exec_driver_sql("PRAGMA secure_delete=ON")

    def truncate_wal(self) -> None:
        """Fold SQLite's write-ahead log, with its older pages, into the database and cut it off."""
        if self.engine.dialect.name == "sqlite":
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
