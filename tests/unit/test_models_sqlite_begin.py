"""Transactions of SQLite begin as they are told, and what prevents it is SQLAlchemy's own error."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from models.sqlite_begin import begin_sqlite


def engine_on(file: Path, statement: str) -> Engine:
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})

    def prepare(driver: sqlite3.Connection, _record: object) -> None:
        driver.isolation_level = None

    def begin(connection: Connection) -> None:
        begin_sqlite(connection, statement)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t (x)")
    made.close()
    return path


def test_a_reader_waits_for_no_writer_and_a_second_writer_is_refused(file: Path) -> None:
    writing, reading = engine_on(file, "BEGIN IMMEDIATE"), engine_on(file, "BEGIN")
    with writing.begin() as writer:
        writer.exec_driver_sql("INSERT INTO t VALUES (1)")
        with reading.begin() as reader:
            assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0
        with pytest.raises(OperationalError, match="locked"), writing.begin():
            pytest.fail("two writers at a time")
    with reading.begin() as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 1


def test_a_transaction_that_was_rolled_back_wrote_nothing(file: Path) -> None:
    engine = engine_on(file, "BEGIN IMMEDIATE")
    with engine.connect() as connection:
        with connection.begin() as transaction:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            transaction.rollback()
        with connection.begin():
            assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 0


def test_a_damaged_file_is_an_error_of_sqlalchemy(tmp_path: Path) -> None:
    broken = tmp_path / "b.sqlite"
    broken.write_bytes(b"no database " * 1000)
    with pytest.raises(DatabaseError), engine_on(broken, "BEGIN IMMEDIATE").begin():
        pytest.fail("a transaction on what is no database")
