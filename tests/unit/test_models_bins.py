"""From columns to codes and 0/1 rows: boundaries, missing values, refusals."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from models.bins import bin_checked, bin_outcome, encode, one_hot
from models.codes import ABSENT
from models.errors import DataError
from models.schema import Feature, Label, Schema

TITLE = {"zh": "甲", "en": "A"}
AGE = Feature.model_validate({"title": TITLE, "class": "C2", "bins": [25, 30.5, 40]})
TRADE = Feature.model_validate({"title": TITLE, "class": "C2", "categories": ["shop", "inn", "1"]})
SCHEMA = Schema.model_validate(
    {
        "name": "demo",
        "id": {"column": "id", "type": "opaque"},
        "as_of": "2025-06-30",
        "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
        "kinds": {
            "bank": {"features": {"age": AGE.model_dump(), "trade": TRADE.model_dump()}},
            "tax": {"features": {"turnover": AGE.model_dump()}},
        },
    }
)


def bin_column(feature: Feature, series: pl.Series) -> np.ndarray:
    codes, problems = bin_checked(feature, series)
    assert problems == []
    return codes


def test_upper_edges_belong_to_their_bin() -> None:
    values = pl.Series("age", [-1e300, 25.0, np.nextafter(25.0, 26), 30.5, 30.6, 40.0, 40.1, 1e300])
    assert bin_column(AGE, values).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series("age", [25, None, 41]),
        pl.Series("age", [25.0, float("nan"), 41.0]),
        pl.Series("age", [25.0, None, 41.0], dtype=pl.Float32),
        pl.Series("age", ["25", "", "41"]),
        pl.Series("age", [" 25 ", "  ", "4.1e1"]),
        pl.Series("age", ["25", "NaN", "+41"]),
        pl.Series("age", ["25.0", None, "41"]).cast(pl.Categorical).cast(pl.String),
        pl.Series("age", [25, None, 41], dtype=pl.UInt8),
        pl.Series("age", ["25", None, "41"]).cast(pl.Decimal(10, 2)),
    ],
)
def test_missing_values_have_the_last_bin(values: pl.Series) -> None:
    assert bin_column(AGE, values).tolist() == [0, 4, 3]


def test_a_column_without_values() -> None:
    assert bin_column(AGE, pl.Series("age", [None, None])).tolist() == [4, 4]
    assert bin_column(AGE, pl.Series("age", [], dtype=pl.String)).shape == (0,)
    assert bin_column(TRADE, pl.Series("trade", [None, None])).tolist() == [4, 4]


def test_float32_columns_meet_decimal_edges() -> None:
    ratio = Feature.model_validate({"title": TITLE, "class": "C2", "bins": [0.1, 0.7]})
    assert bin_column(ratio, pl.Series("r", [0.1, 0.7], dtype=pl.Float32)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["25", "old", "x"], r"row 8, column turnover: is text, not a number \(1 more cells of this column\)"),
        (["25", "1,000", "3"], "row 8, column turnover: is text"),
        (["25", "3", "NA"], "row 9, column turnover: is text"),
        (["25", "inf", "3"], "row 8, column turnover: is infinite"),
        (["25", "1e400", "3"], "row 8, column turnover: is infinite"),
        ([25.0, float("-inf"), 3.0], "row 8, column turnover: is infinite"),
        ([None, date(2025, 1, 1), None], "row 8, column turnover: is Date, not a number"),
        ([None, [1.0], None], "row 8, column turnover: is List"),
    ],
)
def test_what_is_no_number_is_refused(values: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        encode(SCHEMA, "tax", pl.DataFrame([pl.Series("turnover", values)]), first_row=7)
    assert caught.value.field == "turnover"
    assert "old" not in str(caught.value)


def test_problems_are_listed_in_row_order() -> None:
    codes, problems = bin_checked(AGE, pl.Series("age", ["inf", "x", "30", "inf"]))
    assert [problem.row for problem in problems] == [0, 1, 3]
    assert codes.tolist() == [4, 4, 1, 4]


def test_categories() -> None:
    assert bin_column(TRADE, pl.Series("t", ["inn", " shop", "bar", "", None, "1"])).tolist() == [1, 0, 3, 4, 4, 2]
    assert bin_column(TRADE, pl.Series("t", [1, 2, None])).tolist() == [2, 3, 4]
    assert bin_column(TRADE, pl.Series("t", [1.0, 1.5, float("nan"), None])).tolist() == [2, 3, 4, 4]
    assert bin_column(TRADE, pl.Series("t", ["inn", None]).cast(pl.Categorical)).tolist() == [1, 4]
    codes, (problem,) = bin_checked(TRADE, pl.Series("t", [b"inn"]))
    assert codes.tolist() == [4]
    assert (problem.row, problem.column, str(problem.what)) == (0, "t", "is Binary, not text")


@pytest.mark.parametrize(
    "values",
    [["1", "0", "", " 1 "], [1, 0, None, 1], [1.0, 0.0, float("nan"), 1.0], [True, False, None, True]],
)
def test_outcomes(values: list[object]) -> None:
    assert bin_outcome(SCHEMA.label, pl.Series("bad", values)).tolist() == [0, 1, 2, 0]


def test_outcomes_in_words() -> None:
    label = Label.model_validate(
        {"column": "s", "kind": "bank", "positive": "bad", "negative": "ok", "performance_months": 6, "title": TITLE}
    )
    assert bin_outcome(label, pl.Series("s", ["ok", "bad", None])).tolist() == [1, 0, 2]
    with pytest.raises(DataError, match="row 3, column s: is neither bad nor ok"):
        bin_outcome(label, pl.Series("s", ["ok", "bad", "BAD"]))


def test_encode_reads_a_kinds_columns() -> None:
    frame = pl.DataFrame({"trade": ["inn", "x"], "bad": [None, 1], "extra": [0, 0], "age": ["31", None]})
    encoded = encode(SCHEMA, "bank", frame)
    assert encoded.codes.tolist() == [[2, 1], [4, 3]]
    assert encoded.outcome is not None
    assert encoded.outcome.tolist() == [2, 0]
    assert encode(SCHEMA, "tax", pl.DataFrame({"turnover": [1]})).outcome is None
    with pytest.raises(DataError, match="missing columns: age, bad"):
        encode(SCHEMA, "bank", frame.drop("age", "bad"))


def test_one_hot_rows() -> None:
    codes = np.array([[2, 1], [0, ABSENT]], dtype=np.uint8)
    rows = one_hot(codes, (3, 2), np.array([2, 0], dtype=np.uint8))
    assert rows.dtype == np.uint8
    assert rows.tolist() == [[0, 0, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 1, 0, 0]]
    assert one_hot(codes, (3, 2)).shape == (2, 5)


@pytest.mark.parametrize(
    ("codes", "outcome", "message"),
    [
        ([[3, 0]], None, "row 0, block 0: code 3"),
        ([[0, 0], [0, 2]], None, "row 1, block 1: code 2"),
        ([[0, 0, 0]], None, "shape"),
        ([[0, 0]], [3], "row 0, block 2: code 3"),
        ([[0, 0]], [ABSENT], "row 0, block 2: code 255"),
        ([[0, 0]], [0, 0], "outcome has shape"),
    ],
)
def test_one_hot_refuses(codes: list[list[int]], outcome: list[int] | None, message: str) -> None:
    outcomes = None if outcome is None else np.array(outcome, dtype=np.uint8)
    with pytest.raises(DataError, match=message):
        one_hot(np.array(codes, dtype=np.uint8), (3, 2), outcomes)
