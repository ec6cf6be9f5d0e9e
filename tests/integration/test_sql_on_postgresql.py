"""A node's table as a query at a real PostgreSQL server: its types, its cursor, its rights, and what goes wrong."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

from nodes.dataset_config import SqlConfig
from nodes.errors import SourceError
from nodes.keys import write_secret
from nodes.sources.parquet import ParquetSource
from nodes.sources.sql import SqlSource
from nodes.sources.table import NodeTable
from tests.databases import Server
from tests.served_world import wait_until
from tests.unit.test_nodes_source_types import ROWS, frame, schema

READER, WRITER = "digua_reader", "digua_writer"
COLUMNS = {
    "place": "bigserial",
    "id": "bigint",
    "count": "smallint",
    "amount": "double precision",
    "small": "real",
    "money": "numeric(18, 2)",
    "flag": "boolean",
    "text": "text",
    "trade": "text",
    "code": "double precision",
    "opened": "date",
    "bad": "double precision",
}


@dataclass
class Bank:
    """An owner's database with a table, a user who may only read it, and one who may write."""

    admin: str
    reader: URL
    password: str

    def run(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def source(self, query: str, **changes: str) -> SqlSource:
        return SqlSource(self.reader.set(**changes), query)


def lets_in(address: str, user: str, password: str) -> bool:
    try:
        psycopg.connect(address, user=user, password=password).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="module")
def bank(postgresql: Server) -> Iterator[Bank]:
    url = make_url(postgresql.fresh())
    admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
    password = secrets.token_urlsafe(12)
    with psycopg.connect(admin, autocommit=True) as connection:
        rules = Path(connection.execute("SHOW hba_file").fetchone()[0])
        before = rules.read_text()
        # these two users need their password; whoever else uses the server is let in as before
        rules.write_text("".join(f"local all {name} scram-sha-256\n" for name in (READER, WRITER)) + before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(
            sql.SQL("CREATE TABLE customers ({})").format(
                sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in COLUMNS.items()
                )
            )
        )
        table = frame()
        names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        with connection.cursor().copy(sql.SQL("COPY customers ({}) FROM STDIN").format(names)) as copy:
            for row in table.rows():
                copy.write_row(row)
        for name in (READER, WRITER):
            connection.execute(
                sql.SQL("CREATE USER {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
            )
        connection.execute(f"GRANT SELECT ON customers TO {READER}")
        connection.execute(f"GRANT ALL ON customers TO {WRITER}")
    # the server takes up its rules a little after it is told to
    wait_until(lambda: not lets_in(admin, READER, "any word"), what="the rules that ask for passwords")
    yield Bank(admin, url.set(username=READER, password=password), password)
    with psycopg.connect(admin, autocommit=True) as connection:
        for name in (READER, WRITER):
            connection.execute(f"DROP OWNED BY {name}")
            connection.execute(f"DROP USER {name}")
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("block_rows", [7, 65_536])
def test_the_servers_types_give_the_bins_of_the_same_table_in_parquet(
    bank: Bank, tmp_path: Path, block_rows: int
) -> None:
    frame().write_parquet(tmp_path / "table.parquet")
    expected = NodeTable.load(ParquetSource(tmp_path / "table.parquet"), schema(), "bank")
    found = NodeTable.load(
        bank.source("SELECT * FROM customers ORDER BY place"), schema(), "bank", block_rows=block_rows
    )
    assert found.ids == expected.ids
    assert np.array_equal(found.codes, expected.codes)
    assert np.array_equal(found.outcome, expected.outcome)


def test_a_query_is_read_through_a_cursor_of_the_server(bank: Bank) -> None:
    """Between two blocks the rest of the rows is still at the server: the last statement fetched one block alone."""
    named = bank.reader.update_query_dict({"application_name": "digua-blocks"})
    endless = "SELECT at AS id, repeat('x', 100) AS text FROM generate_series(1, 200000) AS at"
    blocks = SqlSource(named, endless).read_blocks(["id"], 1000)
    assert next(blocks).height == next(blocks).height == 1000
    seen = bank.run("SELECT state, query FROM pg_stat_activity WHERE application_name = 'digua-blocks'")
    assert [(state, str(query)[:18]) for state, query in seen] == [("idle in transaction", "FETCH FORWARD 1000")]
    blocks.close()
    assert bank.run("SELECT 1 FROM pg_stat_activity WHERE application_name = 'digua-blocks'") == []


def test_the_rows_are_those_of_one_moment(bank: Bank) -> None:
    blocks = bank.source("SELECT id FROM customers ORDER BY place").read_blocks(["id"], 100)
    first = next(blocks)
    bank.run("INSERT INTO customers (id) VALUES (7)")
    assert first.height + sum(block.height for block in blocks) == ROWS
    bank.run("DELETE FROM customers WHERE id = 7")


def test_nothing_is_written_even_by_a_user_who_may(bank: Bank) -> None:
    bank.run(
        "CREATE FUNCTION wipe() RETURNS bigint LANGUAGE sql AS "
        "'WITH gone AS (DELETE FROM customers RETURNING id) SELECT count(*) FROM gone'"
    )
    for query, message in {
        "SELECT wipe() AS id": "ReadOnlySqlTransaction",
        "DELETE FROM customers RETURNING id": "syntax error",  # a cursor is for a SELECT alone
        "SELECT 1 AS id INTO copied FROM customers": "syntax error|not allowed|InvalidCursorDefinition",
    }.items():
        with pytest.raises(SourceError, match=message) as refused:
            list(bank.source(query, username=WRITER).read_blocks(["id"], 10))
        assert refused.value.remedy
    address = bank.reader.set(username=WRITER, drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as plain:
        assert plain.execute("SELECT wipe()").fetchone() == (ROWS,)  # the right is there
        plain.rollback()
    assert bank.run("SELECT count(*) FROM customers") == [(ROWS,)]


@pytest.mark.parametrize(
    ("changes", "query", "message"),
    [
        ({"password": "wr:ng-word"}, "SELECT 1", "password authentication failed"),
        ({"password": ""}, "SELECT 1", "no password supplied"),
        ({"username": "nobody-here"}, "SELECT 1", 'role "nobody-here" does not exist'),
        ({"database": "elsewhere"}, "SELECT 1", 'database "elsewhere" does not exist'),
        ({}, "SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ({}, "SELECT age FROM customers", 'column "age" does not exist'),
        ({}, "SELECT * FROM pg_authid", "permission denied"),
        ({}, "SELEC 1", "syntax error"),
        ({}, "SELECT text::integer AS id FROM customers WHERE text = '0.3'", r"the query failed \(InvalidText"),
    ],
)
def test_what_goes_wrong_is_said_without_password_or_cells(
    bank: Bank, changes: dict[str, str], query: str, message: str
) -> None:
    found = bank.source(query, **changes)
    with pytest.raises(SourceError, match=message) as refused:
        found.columns()
    told = f"{refused.value} {refused.value.remedy} {found!r} {found.name}"
    assert refused.value.field
    assert refused.value.remedy
    assert not [word for word in (bank.password, "wr:ng-word", "wr%3Ang-word", '"0.3"') if word in told]


def test_an_absent_column_is_refused_before_rows_are_read(bank: Bank) -> None:
    with pytest.raises(SourceError, match="missing columns: small, money, flag") as refused:
        NodeTable.load(bank.source("SELECT id, count, amount FROM customers"), schema(), "bank")
    assert "a bank table needs the columns" in str(refused.value.remedy)


def test_a_table_that_goes_and_a_connection_that_breaks_are_refused(bank: Bank) -> None:
    bank.run("CREATE VIEW passing AS SELECT id FROM customers")
    bank.run(f"GRANT SELECT ON passing TO {READER}")
    found = bank.source("SELECT id FROM passing")
    assert found.columns() == ("id",)
    bank.run("DROP VIEW passing")
    with pytest.raises(SourceError, match='relation "passing" does not exist'):
        list(found.read_blocks(["id"], 10))

    blocks = bank.source("SELECT id FROM customers").read_blocks(["id"], 10)
    next(blocks)
    bank.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{READER}'")
    with pytest.raises(SourceError, match="terminating connection") as broken:
        list(blocks)
    assert bank.password not in f"{broken.value} {broken.value.remedy}"


def test_password_and_address_come_from_files(bank: Bank, tmp_path: Path) -> None:
    unsecret = bank.reader._replace(password=None)
    write_secret(tmp_path / "password", bank.password.encode() + b"\n")
    by_password = SqlConfig(
        url=unsecret.render_as_string(), password_file=tmp_path / "password", query="SELECT id FROM customers"
    )
    options = unsecret.update_query_dict({"password": bank.password})
    write_secret(tmp_path / "address", options.render_as_string().encode())
    by_address = SqlConfig(url_file=tmp_path / "address", query="SELECT id FROM customers")
    for config in (by_password, by_address):
        found = SqlSource(config.address(), config.query)
        assert sum(block.height for block in found.read_blocks(["id"], 100)) == ROWS
        assert bank.password not in f"{config!r} {config.model_dump_json()} {found!r} {found.name}"


def test_blocks_have_the_columns_asked_for_as_text(bank: Bank) -> None:
    blocks = list(bank.source("SELECT * FROM customers ORDER BY place").read_blocks(["opened", "money"], 150))
    assert [block.height for block in blocks] == [150, 150, 100]
    assert {kind for block in blocks for kind in block.dtypes} == {pl.String}
