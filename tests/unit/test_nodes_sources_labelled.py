"""A table whose outcomes lie in a file of their own: as if they stood in the table, and refused where they cannot."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from models.schema_file import load_schema
from nodes.dataset_config import DatasetConfig
from nodes.datasets import Datasets
from nodes.errors import SourceError
from nodes.pseudonyms import PseudonymMap
from nodes.sources.configured import source_of
from nodes.sources.table import NodeTable

SCHEMA = """\
name: demo
id: {column: id, type: opaque}
as_of: 2025-06-30
label: {column: bad, kind: bank, performance_months: 12, adverse: true, ended_at: bad_ended, title: {zh: 违约, en: D}}
kinds:
  bank:
    title: {zh: 银行, en: Bank}
    features: {age: {title: {zh: 年龄, en: Age}, class: C2, bins: [25, 30]}}
"""
TABLE = "id,age\nm1,25\nm2,\n m3 ,31\n\nm4,40\n"
OUTCOMES = "id,bad,bad_ended\nM3,1,2019-01-05\n Ｍ1,0,\nm4,1,\nm9,1,\n"


def dataset(folder: Path, *, table: str = TABLE, outcomes: str = OUTCOMES) -> DatasetConfig:
    for name, text in (("schema.yaml", SCHEMA), ("table.csv", table), ("outcomes.csv", outcomes)):
        (folder / name).write_text(text, encoding="utf-8")
    named = {"schema": "schema.yaml", "csv": "table.csv", "outcomes": {"csv": "outcomes.csv"}}
    return DatasetConfig.model_validate(named, context={"base": folder})


def load(configured: DatasetConfig, **options: int) -> NodeTable:
    schema = load_schema(configured.schema_file)
    return NodeTable.load(source_of(configured), schema, "bank", today=date(2026, 6, 1), **options)


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_outcomes_come_to_their_merchants(tmp_path: Path, block_rows: int) -> None:
    table = load(dataset(tmp_path), block_rows=block_rows)
    assert table.ids == ["M1", "M2", "M3", "M4"]
    assert table.codes[:, 0].tolist() == [0, 3, 2, 2]
    assert table.outcome is not None
    # m3's default ended more than five years ago, so there is none; m2 stands in no file.
    assert table.outcome.tolist() == [1, 2, 2, 0]
    assert table.too_old == {"bad": 1}


def test_the_same_table_comes_of_one_file(tmp_path: Path) -> None:
    apart = load(dataset(tmp_path))
    whole = tmp_path / "whole"
    whole.mkdir()
    joined = "id,age,bad,bad_ended\nm1,25,0,\nm2,,,\nm3,31,1,2019-01-05\nm4,40,1,\n"
    for name, text in (("schema.yaml", SCHEMA), ("table.csv", joined)):
        (whole / name).write_text(text, encoding="utf-8")
    together = load(
        DatasetConfig.model_validate({"schema": "schema.yaml", "csv": "table.csv"}, context={"base": whole})
    )
    assert apart.outcome is not None
    assert together.outcome is not None
    assert apart.ids == together.ids
    assert apart.outcome.tolist() == together.outcome.tolist()
    assert apart.codes.tolist() == together.codes.tolist()


def test_parquet_outcomes_of_numbers_read_alike(tmp_path: Path) -> None:
    configured = dataset(tmp_path)
    pl.DataFrame(
        {"id": ["M1", "m4"], "bad": [0, 1], "bad_ended": [None, None]},
        schema={"id": pl.String, "bad": pl.Int64, "bad_ended": pl.Date},
    ).write_parquet(tmp_path / "outcomes.parquet")
    named = json.loads(configured.model_dump_json(by_alias=True, include={"schema_file", "csv"}))
    of_parquet = DatasetConfig.model_validate({**named, "outcomes": {"parquet": tmp_path / "outcomes.parquet"}})
    table = load(of_parquet)
    assert table.outcome is not None
    assert table.outcome.tolist() == [1, 2, 2, 0]


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ("id,bad,bad_ended\nm1,0,\nM1,1,\n", "outcomes.csv: row 3, column id: identifier ** is already in row 2"),
        ("id,bad,bad_ended\n,0,\n", "outcomes.csv: row 2, column id: has no valid identifier"),
        ("id,bad\nm1,0\n", "outcomes.csv: missing columns: bad_ended"),
        ("id,bad,bad_ended\nm1,perhaps,\n", "column bad"),
    ],
    ids=["twice", "nobody", "column", "value"],
)
def test_outcomes_that_cannot_be_are_refused(tmp_path: Path, outcomes: str, message: str) -> None:
    with pytest.raises(SourceError) as refused:
        load(dataset(tmp_path, outcomes=outcomes))
    assert message in str(refused.value)


def test_a_label_in_both_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'bad' occurs twice"):
        load(dataset(tmp_path, table="id,age,bad\nm1,25,0\n"))


def test_new_outcomes_are_read_when_their_file_changes(tmp_path: Path) -> None:
    configured = dataset(tmp_path)
    known: PseudonymMap = None  # type: ignore[assignment]  # no pseudonym is asked for
    datasets = Datasets([configured], "bank", known)
    sha256 = load_schema(configured.schema_file).hash()
    first = datasets.table(sha256)
    assert first is not None
    assert datasets.table(sha256) is first
    (tmp_path / "outcomes.csv").write_text("id,bad,bad_ended\nm1,1,\n", encoding="utf-8")
    second = datasets.table(sha256)
    assert second is not None
    assert second.outcome is not None
    assert second.outcome.tolist() == [0, 2, 2, 2]
