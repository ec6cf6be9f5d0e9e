"""The node's store: one SQLite file that survives crashes, restarts and re-enrolment.

It holds the ledger, so it may never lose a committed transaction: WAL with ``synchronous=FULL``. Its version
lies in SQLite's ``user_version``; a file that newer software wrote is refused, never reinterpreted.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Session

import nodes.tables
from nodes.errors import ConfigError
from nodes.tables.base import NodeTableBase

STORE_VERSION = 1
APPLICATION_ID = 0x64696775  # "digu": tells a node's store from any other SQLite file
_READING = {"digua_reading": True}
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

    @classmethod
    def open(cls, path: Path, sort: StoreSort = NODE_STORE) -> Store:
        """Open or create a store (file mode 0600) and bring its tables up to date.

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
        engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False})
        event.listen(engine, "connect", _prepare)
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
        start, so what is read in it stays true until it is committed."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent read transaction that waits for no writer."""
        with Session(self.engine.execution_options(**_READING), expire_on_commit=False) as session, session.begin():
            yield session

    def scrub(self) -> bool:
        """Move the write-ahead log into the file and empty it, so that deleted bytes are gone from both.

        While another transaction reads, the log stays until the next call.

        Returns:
            Whether the log is empty now.
        """
        connection = self.engine.raw_connection()
        try:
            busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        finally:
            connection.close()

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def _load_tables() -> None:
    for module in pkgutil.iter_modules(nodes.tables.__path__, "nodes.tables."):
        importlib.import_module(module.name)


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    pragmas = (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        f"cache_size=-{_CACHE_KIB}",
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("digua_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


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
    sort.base.metadata.create_all(connection)
    connection.exec_driver_sql(f"PRAGMA application_id = {sort.application_id}")
    connection.exec_driver_sql(f"PRAGMA user_version = {sort.version}")
    connection.commit()
