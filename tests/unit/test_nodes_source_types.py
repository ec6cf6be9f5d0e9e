"""One table in CSV, Parquet and SQL: the same bins byte for byte, the same refusals, blocks of the size asked for."""

from __future__ import annotations

import sqlite3
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sqlalchemy import URL, make_url

from models.schema import Schema
from nodes.errors import SourceError
from nodes.sources.base import Source
from nodes.sources.csv import CsvSource
from nodes.sources.parquet import ParquetSource
from nodes.sources.sql import SqlSource
from nodes.sources.table import NodeTable

TITLE = {"zh": "甲", "en": "A"}
ROWS = 400
KINDS = ("csv", "parquet", "sql")


def schema() -> Schema:
    ordinal = {"title": TITLE, "class": "C2"}
    bank = {
        "count": {**ordinal, "bins": [0, 2, 5], "special_from": 5},
        "amount": {**ordinal, "bins": [0.1, 0.3, 1000]},
        "small": {**ordinal, "bins": [0.1, 0.3]},
        "money": {**ordinal, "bins": [0.1, 0.3, 100.25]},
        "flag": {**ordinal, "bins": [0]},
        "text": {**ordinal, "bins": [0.3, 7]},
        "trade": {"title": TITLE, "class": "C1", "categories": ["shop", "inn"]},
        "code": {"title": TITLE, "class": "C1", "categories": ["1", "2"]},
        "opened": {"title": TITLE, "class": "C1", "categories": ["2020-02-29"]},
        "total": {**ordinal, "bins": [0.3, 2, 1000], "derived": {"sum": ["amount", "money", "small"]}},
        "share": {**ordinal, "bins": [0.1, 1, 3], "derived": {"ratio": ["amount", "money"]}},
        "pair": {**ordinal, "product": ["count", "trade"]},
    }
    return Schema.model_validate(
        {
            "name": "types",
            "id": {"column": "id", "type": "opaque"},
            "as_of": "2025-06-30",
            "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
            "kinds": {"bank": {"features": bank}},
        }
    )


def frame() -> pl.DataFrame:
    """Every type that a table may have, edges of bins and missing values included."""
    rng = np.random.default_rng(5)

    def some(values: list[object], share: float = 0.15) -> list[object]:
        picked = rng.integers(len(values), size=ROWS)
        return [None if rng.random() < share else values[at] for at in picked]

    amounts = [0.1, 0.1 + 0.2, 0.3, -1.5, 1e-7, 1000.0, 1234567.125, 3.0]
    return pl.DataFrame(
        {
            "id": [10_000 + at for at in range(ROWS)],
            "count": pl.Series(some([-1, 0, 1, 2, 3, 5, 6, 98]), dtype=pl.Int16),
            "amount": pl.Series(some([*amounts, float("nan")]), dtype=pl.Float64),
            "small": pl.Series(some([0.1, 0.3, 0.30000001, 7.0]), dtype=pl.Float32),
            "money": pl.Series(
                some([Decimal(each) for each in ("0.10", "0.30", "100.25", "0", "7.00")]), dtype=pl.Decimal(18, 2)
            ),
            "flag": pl.Series(some([True, False]), dtype=pl.Boolean),
            "text": pl.Series(some(["0.3", " 7 ", "8e0", "", "0.30"]), dtype=pl.String),
            "trade": pl.Series(some(["shop", "inn", "mill", " inn"]), dtype=pl.Categorical),
            "code": pl.Series(some([1.0, 2.0, 3.0]), dtype=pl.Float64),
            "opened": pl.Series(some([date(2020, 2, 29), date(2021, 1, 1)]), dtype=pl.Date),
            "bad": pl.Series(some([1.0, 0.0], share=0.3), dtype=pl.Float64),
        }
    )


def sqlite_file(path: Path, table: pl.DataFrame) -> URL:
    """The table in SQLite, which has integers, floats and text."""
    plain = table.with_columns(pl.col(pl.Date, pl.Categorical, pl.Decimal, pl.Float32).cast(pl.String)).cast(
        {"small": pl.Float64}
    )
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE rows ({', '.join(plain.columns)})")
        places = ", ".join("?" for _ in plain.columns)
        connection.executemany(f"INSERT INTO rows VALUES ({places})", plain.rows())
    connection.close()
    return make_url(f"sqlite:///{path}")


def source(sort: str, folder: Path, table: pl.DataFrame) -> Source:
    if sort == "csv":
        table.write_csv(folder / "table.csv")
        return CsvSource(folder / "table.csv")
    if sort == "parquet":
        table.write_parquet(folder / "table.parquet", row_group_size=64)
        return ParquetSource(folder / "table.parquet")
    return SqlSource(sqlite_file(folder / "table.db", table), "SELECT * FROM rows ORDER BY rowid")


@pytest.mark.parametrize("block_rows", [7, 65_536])
def test_one_table_has_the_same_bins_from_every_source(tmp_path: Path, block_rows: int) -> None:
    table = frame()
    loaded = [NodeTable.load(source(sort, tmp_path, table), schema(), "bank", block_rows=block_rows) for sort in KINDS]
    first = loaded[0]
    assert first.ids == [str(each) for each in table["id"]]
    for other in loaded[1:]:
        assert other.ids == first.ids
        assert other.codes.tobytes() == first.codes.tobytes()
        assert other.outcome is not None
        assert first.outcome is not None
        assert other.outcome.tobytes() == first.outcome.tobytes()
    assert first.outcome is not None
    assert np.bincount(first.outcome, minlength=3).tolist() == [
        int((table["bad"] == 1).sum()),
        int((table["bad"] == 0).sum()),
        table["bad"].null_count(),
    ]
    # each feature uses several bins, or the comparison would prove little
    assert all(len(np.unique(first.codes[:, at])) > 2 for at in range(first.codes.shape[1]))


@pytest.mark.parametrize("sort", KINDS)
def test_blocks_have_at_most_the_rows_asked_for(tmp_path: Path, sort: str) -> None:
    blocks = list(source(sort, tmp_path, frame()).read_blocks(["id", "count"], 32))
    assert max(block.height for block in blocks) <= 32
    assert sum(block.height for block in blocks) == ROWS
    assert blocks[0].columns == ["id", "count"]


@pytest.mark.parametrize(("sort", "row"), [("csv", 4), ("parquet", 3), ("sql", 3)])
def test_rows_are_numbered_as_their_owner_counts(tmp_path: Path, sort: str, row: int) -> None:
    table = frame().with_columns(pl.Series("text", ["1", "1", "many", *["2"] * (ROWS - 3)]))
    with pytest.raises(SourceError, match=f"row {row}, column text: is text, not a number"):
        NodeTable.load(source(sort, tmp_path, table), schema(), "bank", block_rows=2)


@pytest.mark.parametrize("sort", KINDS)
def test_absent_columns_and_repeated_identifiers_are_refused(tmp_path: Path, sort: str) -> None:
    table = frame()
    twice = pl.concat([table.head(3), table.head(1)])
    with pytest.raises(SourceError, match=r"column id: identifier .* is already in row"):
        NodeTable.load(source(sort, tmp_path, twice), schema(), "bank")
    (folder := tmp_path / "b").mkdir()
    with pytest.raises(SourceError, match="missing columns: money"):
        NodeTable.load(source(sort, folder, table.drop("money")), schema(), "bank")
    (folder := tmp_path / "c").mkdir()
    with pytest.raises(SourceError, match="missing columns: none"):
        list(source(sort, folder, table).read_blocks(["none"], 10))


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(SourceError, match=r"table\.parquet: ") as absent:
        ParquetSource(path).columns()
    assert absent.value.remedy
    path.write_text("id,age\nZhang San,1\n")
    with pytest.raises(SourceError, match="is not a Parquet file") as spoiled:
        ParquetSource(path).columns()
    assert "Zhang" not in str(spoiled.value)
    nested = pl.DataFrame({"id": ["a"], "count": [[1, 2]]})
    nested.write_parquet(path)
    lists = Schema.model_validate(
        {
            **schema().model_dump(mode="json", exclude_none=True),
            "kinds": {"bank": {"features": {"count": {"title": TITLE, "class": "C2", "bins": [1]}}}},
            "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
        }
    )
    nested.with_columns(bad=pl.lit(1)).write_parquet(path)
    with pytest.raises(SourceError, match=r"row 1, column count: is List\(Int64\), not a number"):
        NodeTable.load(ParquetSource(path), lists, "bank")


class TestSql:
    def test_nothing_can_be_written(self, tmp_path: Path) -> None:
        url = sqlite_file(tmp_path / "table.db", frame())
        with pytest.raises(SourceError, match="readonly"):
            list(SqlSource(url, "DELETE FROM rows RETURNING id").read_blocks(["id"], 10))
        with pytest.raises(SourceError, match="readonly"):
            SqlSource(url, "DROP TABLE rows").columns()
        assert len(list(SqlSource(url, "SELECT id FROM rows").read_blocks(["id"], ROWS))) == 1

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("SELECT id FROM nowhere", "no such table: nowhere"),
            ("SELECT", "incomplete input"),
            ("SELECT id, id FROM rows", "has the column 'id' twice"),
            ("SAVEPOINT here", "gives no rows"),
        ],
    )
    def test_queries_that_cannot_be_used(self, tmp_path: Path, query: str, message: str) -> None:
        found = SqlSource(sqlite_file(tmp_path / "table.db", frame()), query)
        with pytest.raises(SourceError, match=message) as refused:
            found.columns()
        assert refused.value.field
        assert refused.value.remedy

    def test_a_query_is_taken_as_it_stands(self, tmp_path: Path) -> None:
        url = sqlite_file(tmp_path / "table.db", frame())
        query = "SELECT id, '10:30 50% \\:a' AS text, 'x:y' AS trade FROM rows WHERE id < 10002"
        (block,) = SqlSource(url, query).read_blocks(["trade", "text", "id"], 10)
        assert block.rows() == [("x:y", "10:30 50% \\:a", "10000"), ("x:y", "10:30 50% \\:a", "10001")]

    def test_bytes_are_no_cells(self, tmp_path: Path) -> None:
        url = sqlite_file(tmp_path / "table.db", frame())
        found = SqlSource(url, "SELECT x'00ff' AS id FROM rows")
        with pytest.raises(SourceError, match="row 1, column id: is bytes, neither text nor a number"):
            list(found.read_blocks(["id"], 10))

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("sqlite:////nowhere/x.db", "no such database file"),
            ("sqlite://", "no such database file"),
            ("mysql+mysqldb://reader:hidden@127.0.0.1/x", "no driver for mysql"),
            ("nosuch://reader:hidden@127.0.0.1/x", "the query cannot be run"),
            ("postgresql+psycopg://reader:hidden@127.0.0.1:9/x", "127.0.0.1"),
        ],
    )
    def test_databases_out_of_reach(self, address: str, message: str) -> None:
        found = SqlSource(make_url(address), "SELECT 1")
        with pytest.raises(SourceError, match=message) as refused:
            found.columns()
        assert "hidden" not in f"{refused.value} {refused.value.remedy} {found!r}"
