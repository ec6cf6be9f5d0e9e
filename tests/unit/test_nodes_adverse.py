"""Old adverse facts at a source: in training and in scoring they are as if they had never been written down."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from models.codes import DEFAULTED, PERFORMING, UNLABELLED
from models.schema import Schema
from models.schema_file import load_schema
from nodes.dataset_config import DatasetConfig
from nodes.datasets import Datasets
from nodes.errors import SourceError
from nodes.quality import as_plain, assess
from nodes.sources.csv import CsvSource
from nodes.sources.table import NodeTable

SCHEMA = """
name: adverse
id: {column: id, type: opaque}
as_of: 2026-01-31
label: {column: bad, kind: bank, performance_months: 12, title: {zh: 违约, en: Bad}, adverse: true, ended_at: bad_ended}
kinds:
  bank:
    features:
      late: {title: {zh: 逾期, en: Late}, class: C2, bins: [0, 30], range: [0, 365],
             adverse: true, ended_at: late_ended}
      age: {title: {zh: 年龄, en: Age}, class: C2, bins: [30]}
      gap: {title: {zh: 差, en: Gap}, class: C2, bins: [0], derived: {difference: [age, late]}}
"""
ROWS = """id,late,age,bad,late_ended,bad_ended
M1,400,25,1,2021-03-01,2021-03-01
M2,60,40,1,2021-03-02,2021-03-02
M3,60,40,1,,
M4,0,40,0,2020-01-01,2020-01-01
M5,,40,,2020-01-01,
"""
LAST, AFTER = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    file = tmp_path / "schema.yaml"
    file.write_text(SCHEMA, encoding="utf-8")
    return load_schema(file)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text(ROWS, encoding="utf-8")
    return file


def test_values_are_left_out_from_the_day_after_the_last(schema: Schema, table: Path) -> None:
    before = NodeTable.load(CsvSource(table), schema, "bank", today=LAST)
    after = NodeTable.load(CsvSource(table), schema, "bank", today=AFTER)
    missing = schema.feature("late").spec.missing_bin
    assert before.outcome is not None
    assert after.outcome is not None
    assert before.codes[:, 0].tolist() == [2, 2, 2, missing, missing]
    assert after.codes[:, 0].tolist() == [missing, 2, 2, missing, missing]
    assert before.outcome.tolist() == [DEFAULTED, DEFAULTED, DEFAULTED, UNLABELLED, UNLABELLED]
    assert after.outcome.tolist() == [UNLABELLED, DEFAULTED, DEFAULTED, UNLABELLED, UNLABELLED]
    assert PERFORMING not in after.outcome  # the mark is on the column: an old answer either way is no outcome
    assert after.codes[:, 1].tolist() == before.codes[:, 1].tolist()  # what is not adverse stays
    gap = schema.feature("gap").spec.missing_bin
    assert (before.codes[0, 2], after.codes[0, 2]) == (0, gap)  # nothing derived tells of it
    assert (before.outside[0], after.outside[0]) == (1, 0)
    assert before.too_old == {"late": 1, "bad": 1}
    assert after.too_old == {"late": 2, "bad": 2}  # of M5 there was nothing to leave out


@pytest.mark.parametrize("block_rows", [1, 2, 100])
def test_a_large_table_is_no_different(schema: Schema, table: Path, block_rows: int) -> None:
    whole = NodeTable.load(CsvSource(table), schema, "bank", today=AFTER)
    parts = NodeTable.load(CsvSource(table), schema, "bank", today=AFTER, block_rows=block_rows)
    assert (parts.codes == whole.codes).all()
    assert parts.too_old == whole.too_old


def test_an_end_that_is_no_day_is_named_by_row_and_never_quoted(schema: Schema, table: Path) -> None:
    table.write_text(ROWS.replace("2021-03-02,2021-03-02", "02/03/2021,2021-03-02"), encoding="utf-8")
    with pytest.raises(SourceError) as refused:
        NodeTable.load(CsvSource(table), schema, "bank", today=LAST)
    assert "row 3, column late_ended" in str(refused.value)
    assert "02/03/2021" not in str(refused.value)
    table.write_text(ROWS.replace(",late_ended", ",other"), encoding="utf-8")
    with pytest.raises(SourceError, match="late_ended"):
        NodeTable.load(CsvSource(table), schema, "bank", today=LAST)


def test_a_node_looks_again_when_a_new_day_begins_in_beijing(schema: Schema, table: Path, tmp_path: Path) -> None:
    now = [datetime(2026, 3, 1, 15, 0, tzinfo=UTC)]
    configured = DatasetConfig.model_validate({"schema": tmp_path / "schema.yaml", "csv": table})
    datasets = Datasets([configured], "bank", None, clock=lambda: now[0])  # type: ignore[arg-type]  # no pseudonyms here
    first = datasets.table(schema.hash())
    now[0] += timedelta(minutes=59)
    assert datasets.table(schema.hash()) is first
    now[0] += timedelta(minutes=1)
    second = datasets.table(schema.hash())
    assert first is not None
    assert second is not None
    assert (first.too_old["late"], second.too_old["late"]) == (1, 2)


def test_check_data_says_how_many_were_left_out(schema: Schema, table: Path) -> None:
    quality = assess(NodeTable.load(CsvSource(table), schema, "bank", today=AFTER), schema, "bank", None)
    plain = as_plain(quality, schema, "bank", "zh")
    assert plain["adverse_too_old"] == {"late": 2, "bad": 2}
    codes = [each["code"] for each in plain["warnings"]]
    assert codes.count("adverse-too-old") == 2
    assert json.dumps(plain)
