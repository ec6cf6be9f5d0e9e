"""The hub's database: SQLite (WAL) or PostgreSQL behind one engine, one transaction per session.

Both keep the same promise, so that code above need not know which it is. Transactions that may write take turns: each
sees all that was committed before it began, and none is ever undone because of another. SQLite does so by BEGIN
IMMEDIATE; on PostgreSQL each takes one advisory lock first, and holds it until it ends. So counters, quotas, nonces,
states and the order of the log's outbox need no locks of their own, there are no deadlocks and no serialisation
failures to try again. Readers see one snapshot and wait for nobody.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from hub.errors import StateError
from hub.keys import read_secret
from models.sqlite_begin import begin_sqlite

BUSY_TIMEOUT_MS = 30_000
_WRITES = "digua_writes"
_READS = {_WRITES: False}
_TURN = 0x64696775610000
"""The advisory lock of writers: `digua`, and room for others of ours."""
_POSTGRES_SETTINGS = {
    "lock_timeout": f"{BUSY_TIMEOUT_MS}",
    # A writer that hangs, or whose machine vanished, does not keep the others waiting for ever.
    "idle_in_transaction_session_timeout": f"{2 * BUSY_TIMEOUT_MS}",
    # A checkpoint that the witness has seen must survive a power failure.
    "synchronous_commit": "on",
    # Order and comparison of times do not depend on the server's settings.
    "TimeZone": "UTC",
}


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
    begin_sqlite(connection, "BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES, True) else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, True):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")


class DatabaseOptions(Protocol):
    """The part of a configuration that names a database."""

    @property
    def database(self) -> str:
        """An SQLAlchemy URL."""

    @property
    def database_password_file(self) -> Path | None:
        """Where the password lies that the URL need not hold."""


def open_database(config: DatabaseOptions) -> Database:
    """Open the database of a configuration; StateError where the password's file is absent or others may read it."""
    file = config.database_password_file
    return Database(config.database, password=None if file is None else read_secret(file).decode().strip())


def _make_private(_dialect: Dialect, _record: ConnectionPoolEntry, args: list[str], _named: dict[str, Any]) -> None:
    """Give a database that is not there yet to its owner alone: it holds salts and sealed answers."""
    with suppress(OSError):  # of which SQLite tells more
        os.close(os.open(args[0], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=32, max_overflow=64, pool_timeout=30)
    event.listen(engine, "do_connect", _make_private)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    settings = " ".join(f"-c {name}={value}" for name, value in _POSTGRES_SETTINGS.items())
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=32,
        pool_timeout=30,
        isolation_level="READ COMMITTED",
        connect_args={"options": settings, "application_name": "digua-hub"},
    )
    event.listen(engine, "begin", _begin_postgresql)
    reader = engine.execution_options(**{_WRITES: False}, isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine, reader


def _not_written_anew(why: str) -> StateError:
    return StateError(
        f"The rows are deleted, but the database's file could not be written anew ({why}).",
        field="database",
        remedy="Give it room on its disk, or stop what reads it for long; then give the same order again.",
    )


class Database:
    """An engine and its sessions.

    Args:
        url: an SQLAlchemy URL, e.g. ``sqlite:////var/lib/digua/hub.sqlite``; SQLite needs a file.
        password: of the database's user, where the URL does not hold it.
    """

    def __init__(self, url: str, *, password: str | None = None) -> None:
        parsed = make_url(url)
        if password is not None:
            parsed = parsed.set(password=password)
        # SQLite's own waiting is polling, up to a tenth of a second at a time, and knows no order: where this process's
        # threads write, they queue here instead. PostgreSQL's advisory lock is a queue already.
        self._turn: threading.Lock | None = None
        if parsed.get_backend_name() == "sqlite":
            self.engine = self._reader = _sqlite(parsed)
            self._turn = threading.Lock()
        else:
            self.engine, self._reader = _postgresql(parsed)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction that may write: committed at the end, rolled back if the block raises."""
        with self._in_turn(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Wait for this process's other writers; SQLite itself decides where that takes too long."""
        taken = self._turn is not None and self._turn.acquire(timeout=BUSY_TIMEOUT_MS / 1000)
        try:
            yield
        finally:
            if taken and self._turn is not None:
                self._turn.release()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view that writes nothing and waits for no writer."""
        with Session(self._reader, expire_on_commit=False) as session, session.begin():
            if self._turn is not None:
                session.connection(execution_options=_READS)
            yield session

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection on which each statement stands for itself and takes no turn; closed afterwards, not shared."""
        quiet = self.engine.execution_options(**{_WRITES: False}, isolation_level="AUTOCOMMIT")
        with quiet.connect() as connection:
            try:
                yield connection
            finally:
                connection.invalidate()

    def name_connections(self, name: str) -> None:
        """Have PostgreSQL show this process's connections under a name; those that are open and idle are closed."""

        def named(_dialect: object, _record: object, _arguments: object, parameters: dict[str, object]) -> None:
            parameters["application_name"] = name

        event.listen(self.engine, "do_connect", named)
        self.engine.dispose()

    def guard(self, check: Callable[[Connection], None]) -> None:
        """Have every transaction that may write begin with a check, once it has its turn; what it raises ends it."""

        def begin(connection: Connection) -> None:
            if connection.get_execution_options().get(_WRITES, True):
                check(connection)

        event.listen(self.engine, "begin", begin)

    @contextmanager
    def alone(self, task: str) -> Iterator[None]:
        """Let no other process do a task of this name; where several serve, on PostgreSQL. Others wait."""
        if self.engine.dialect.name == "sqlite":
            yield
            return
        with self.autocommit() as connection:
            connection.exec_driver_sql("SET lock_timeout = 0")
            connection.exec_driver_sql("SELECT pg_advisory_lock(%s, hashtext(%s))", (_TURN >> 24, task))
            yield

    def overwrite_deleted(self, session: Session) -> None:
        """Have SQLite overwrite what this session's connection deletes from now on, not only give its room free."""
        if self.engine.dialect.name == "sqlite":
            session.connection().exec_driver_sql("PRAGMA secure_delete=ON")

    def write_anew(self, *tables: str) -> None:
        """Write the database anew, so that no page of its file holds what was deleted from these tables.

        Zeroing what is deleted is not enough: rows that were changed or moved before leave copies of themselves in
        unused parts of pages. SQLite's file is written anew as a whole and its write-ahead log cut off; on
        PostgreSQL each table is. Writers wait meanwhile.

        Raises:
            StateError: the disk is full, or others kept the database busy: what was deleted may still be in the file.
        """
        if self.engine.dialect.name != "sqlite":
            with self.autocommit() as connection:
                for table in tables:
                    connection.exec_driver_sql(f"VACUUM (FULL) {table}")
            return
        raw = self.engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy = cursor.fetchall()[0][0]
        except sqlite3.Error as error:
            raise _not_written_anew(str(error)) from error
        finally:
            raw.close()
        if busy:
            raise _not_written_anew("another process reads it")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
