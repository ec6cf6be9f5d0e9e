"""The node's store: one SQLite file that survives crashes, restarts and re-enrolment.

It holds the ledger, so it may never lose a committed transaction: WAL with ``synchronous=FULL``. Its version
lies in SQLite's ``user_version``; a file that newer software wrote is refused, never reinterpreted.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.schema import CreateIndex, CreateTable

import nodes.tables
from models.group_commit import GroupCommit
from models.sqlite_begin import begin_sqlite
from nodes.errors import ConfigError, StoreUnavailable
from nodes.tables.base import NodeTableBase

STORE_VERSION = 2
APPLICATION_ID = 0x64696775  # "digu": tells a node's store from any other SQLite file
Result = TypeVar("Result")
_READING = {"digua_reading": True}
_BUSY_SECONDS = 30  # how long a transaction waits for another's lock
_SCRUB_SECONDS = 1
_CACHE_KIB = 256  # per connection: what is large is read once, a block at a time


@dataclass(frozen=True)
class StoreSort:
    """What a file holds, so that none is taken for one of another sort: its tables, id, version, and a remedy."""

    base: type[DeclarativeBase]
    application_id: int
    version: int
    name: str
    remedy: str


NODE_STORE = StoreSort(
    NodeTableBase, APPLICATION_ID, STORE_VERSION, "a node's store", "give the node a data_dir of its own"
)


class Store:
    """The store's engine; `session` is one write transaction, `reading` one read transaction."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path
        # SQLite's own waiting is polling, up to a tenth of a second at a time, and knows no order: this process's
        # threads queue here instead.
        self._turn = threading.Lock()
        self._group: GroupCommit[Callable[[Session], Any], Any] = GroupCommit(self._write_group)

    @classmethod
    def open(cls, path: Path, sort: StoreSort = NODE_STORE, *, outlives_process: bool = True) -> Store:
        """Open or create a store (file mode 0600) and bring its tables up to date.

        Args:
            path: of the file.
            sort: what it holds.
            outlives_process: False only for a simulation's, which ends with its process: nothing waits for the disk.

        Raises:
            ConfigError: the file is not of this sort, was written by newer software, or cannot be opened.
        """
        _load_tables()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                # Never once it is in use: closing any descriptor of a file drops this process's POSIX locks on it, and
                # another process would then take SQLite's write-ahead log away from under it.
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as problem:
            raise ConfigError(
                f"the store {path} cannot be opened: {problem.strerror}",
                field="data_dir",
                remedy="check data_dir and its permissions",
            ) from problem
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
        event.listen(engine, "connect", partial(_prepare, synchronous="FULL" if outlives_process else "OFF"))
        event.listen(engine, "begin", _begin)
        try:
            with engine.connect() as connection:
                _check_version(connection, path, sort)
        except DatabaseError as problem:
            engine.dispose()
            raise ConfigError(
                f"{path} cannot be used as a store: {problem.orig}",
                field="data_dir",
                remedy="give another data_dir, or restore the file from its backup",
            ) from problem
        except ConfigError:
            engine.dispose()
            raise
        return cls(engine, path)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One write transaction: committed on exit, rolled back on an exception. It holds the write lock from its
        start, so what is read in it stays true until it is committed.

        Raises:
            StoreUnavailable: the disk is full or fails, or the lock cannot be had; nothing was committed.
        """
        taken = self._turn.acquire(timeout=_BUSY_SECONDS)  # if that takes too long, SQLite decides
        try:
            with _told(), Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        finally:
            if taken:
                self._turn.release()

    def together(self, write: Callable[[Session], Result]) -> Result:
        """Run `write` in a transaction shared with all who write so at the same time; it is on disk on return.

        It may be called anew after a roll-back, and changes nothing but the store.
        """
        result: Result = self._group.submit(write)
        return result

    def _write_group(self, writes: Sequence[Callable[[Session], Any]]) -> list[Any]:
        with self.session() as session:
            return [write(session) for write in writes]

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent read transaction that waits for no writer."""
        with _told(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection(execution_options=_READING)
            yield session

    def scrub(self) -> bool:
        """Move the write-ahead log into the file and empty it, so that deleted bytes are gone from both.

        While another transaction reads, the log stays until the next call; writers are held up for a second at most.

        Returns:
            Whether the log is empty now.
        """
        connection = self.engine.raw_connection()
        cursor = connection.cursor()
        try:
            # It waits for readers while it keeps writers out.
            cursor.execute(f"PRAGMA busy_timeout={_SCRUB_SECONDS * 1000}")
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        finally:
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
            connection.close()

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


@contextmanager
def _told() -> Iterator[None]:
    """What the disk refuses is told as an error of ours, without the path: it may go to others."""
    try:
        yield
    except OperationalError as problem:
        raise StoreUnavailable(
            f"the node's store cannot be used now: {problem.orig}",
            field="data_dir",
            remedy="its owner gives the disk of data_dir room and sees that it can be written; then do the same again",
        ) from problem


def _load_tables() -> None:
    for module in pkgutil.iter_modules(nodes.tables.__path__, "nodes.tables."):
        importlib.import_module(module.name)


def _prepare(connection: Any, _record: object, *, synchronous: str) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    pragmas = (
        "journal_mode=WAL",
        f"synchronous={synchronous}",
        "foreign_keys=ON",
        "secure_delete=ON",
        f"cache_size=-{_CACHE_KIB}",
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("digua_reading", False)
    begin_sqlite(connection, "BEGIN" if reading else "BEGIN IMMEDIATE")


def _check_version(connection: Connection, path: Path, sort: StoreSort) -> None:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    if tables and application != sort.application_id:
        raise ConfigError(f"{path} is not {sort.name}", field="data_dir", remedy=sort.remedy)
    if version > sort.version:
        raise ConfigError(
            f"{path} was written by newer software (store version {version}, this software knows {sort.version})",
            field="data_dir",
            remedy="install the newer digua-node again; an older one must not touch this ledger",
        )
    for statement in _missing_tables(sort.base):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA application_id = {sort.application_id}")
    connection.exec_driver_sql(f"PRAGMA user_version = {sort.version}")
    connection.commit()


@cache
def _missing_tables(base: type[DeclarativeBase]) -> tuple[str, ...]:
    """Statements that make what tables and indexes there are not yet. Kept: a process may open hundreds of stores."""
    dialect = sqlite.dialect()
    made: list[CreateTable | CreateIndex] = []
    for table in base.metadata.sorted_tables:
        made.append(CreateTable(table, if_not_exists=True))
        made += [CreateIndex(index, if_not_exists=True) for index in table.indexes]
    return tuple(str(each.compile(dialect=dialect)) for each in made)
