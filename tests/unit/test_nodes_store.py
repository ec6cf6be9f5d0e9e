"""The node's store: durable, private, and never read by older software."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import event, text

from crypto.attempts import NodeAttempt
from crypto.keys import BoxKey
from nodes.attempts import AttemptStore
from nodes.errors import ConfigError, LedgerError, StoreUnavailable
from nodes.store import STORE_VERSION, Store

H = bytes(range(32))


def test_store_is_durable_and_private(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data" / "node.db")
    with store.reading() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert session.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL
        assert session.execute(text("PRAGMA secure_delete")).scalar_one() == 1
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_failed_session_leaves_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "node.db")
    attempts = AttemptStore(store)

    def fail_midway() -> None:
        with store.session() as session:
            session.execute(
                text("INSERT INTO attempts (attempt, phase, progress, state) VALUES ('a', 'sent', 0, x'00')")
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert attempts.load("a") is None


def test_a_newer_store_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    Store.open(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    with pytest.raises(ConfigError, match="newer software") as caught:
        Store.open(path)
    assert caught.value.remedy
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (STORE_VERSION + 1,)


def test_foreign_and_broken_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as raw:
        raw.execute("CREATE TABLE t (x)")
    with pytest.raises(ConfigError, match="not a node's store"):
        Store.open(foreign)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="cannot be used"):
        Store.open(broken)
    with pytest.raises(ConfigError, match="cannot be opened"):
        Store.open(broken / "below-a-file.db")


def test_attempts_survive_a_restart_and_keys_end(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    attempts = AttemptStore(Store.open(path))
    state = NodeAttempt.accept("c/scorecard/1", H, matrix_sha256=H, charge=1.0, witness_key=H)
    key = BoxKey.generate()
    attempts.save(state)
    attempts.save_key(state.attempt, key)
    attempts.save_key(state.attempt, key)
    attempts.save_blob(state.attempt, "slice", b"\x01" * 1000)

    attempts = AttemptStore(Store.open(path))
    assert attempts.load(state.attempt) == state
    assert attempts.key(state.attempt).public == key.public
    assert attempts.blob(state.attempt, "slice") == b"\x01" * 1000
    assert attempts.blob(state.attempt, "other") is None
    with pytest.raises(LedgerError, match="has a key already"):
        attempts.save_key(state.attempt, BoxKey.generate())

    attempts.forget_key(state.attempt)
    with pytest.raises(LedgerError, match="no key"):
        attempts.key(state.attempt)
    assert attempts.blob(state.attempt, "slice") is None
    assert attempts.load(state.attempt) == state
    for file in tmp_path.iterdir():
        assert key.raw not in file.read_bytes(), file.name


def test_an_unreadable_state_stops_the_attempt(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "node.db")
    with store.session() as session:
        session.execute(text("INSERT INTO attempts (attempt, phase, progress, state) VALUES ('a', 'sent', 0, x'7b7d')"))
    with pytest.raises(LedgerError, match="cannot be read"):
        AttemptStore(store).load("a")


def test_a_full_disk_is_told_as_such_and_leaves_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "node.db")

    def fill(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite lifts it to what is there already

    def write() -> None:
        with store.session() as session:
            row = {"state": bytes(1 << 20)}
            session.execute(
                text("INSERT INTO attempts (attempt, phase, progress, state) VALUES ('a', 'sent', 0, :state)"), row
            )

    event.listen(store.engine, "connect", fill)
    store.engine.dispose()
    with pytest.raises(StoreUnavailable, match="full") as refused:
        write()
    assert refused.value.remedy
    assert str(tmp_path) not in refused.value.message
    event.remove(store.engine, "connect", fill)
    store.engine.dispose()
    assert AttemptStore(store).load("a") is None
    write()
