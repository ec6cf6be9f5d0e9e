"""Rounding to knots: unbiased, the same for the same merchant, one bin whatever the coin."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.bins import bin_checked, encode
from models.errors import DataError, SchemaError
from models.rounding import coins, knot_codes
from models.schema import Schema

KNOTS = (0.0, 100.0, 400.0)


def schema(**amount: Any) -> Schema:
    title = {"zh": "金额", "en": "amount"}
    return Schema.model_validate(
        {
            "name": "statistics",
            "id": {"column": "id", "type": "opaque"},
            "as_of": date(2026, 1, 1),
            "label": {"column": "late", "kind": "bank", "performance_months": 12, "title": title},
            "kinds": {
                "bank": {
                    "features": {"amount": {"title": title, "class": "C2", "bins": KNOTS, "rounded": True, **amount}}
                }
            },
        }
    )


def test_the_mean_of_the_knots_is_the_value() -> None:
    n = 40_000
    for value in (0.0, 12.5, 99.0, 100.0, 163.0, 400.0):
        drawn = coins("s", f"amount {value}", [f"m{row}" for row in range(n)])
        codes = knot_codes(KNOTS, np.full(n, value), drawn)
        rounded = np.array(KNOTS)[codes]
        # The standard deviation of one is at most half the gap: 150.
        assert abs(rounded.mean() - value) < 5 * 150 / np.sqrt(n)
        assert set(rounded) <= {max(k for k in KNOTS if k <= value), min(k for k in KNOTS if k >= value)}


def test_knots_themselves_are_never_moved() -> None:
    for drawn in (0.0, 0.5, np.nextafter(1, 0)):
        assert knot_codes(KNOTS, np.array(KNOTS), np.full(3, drawn)).tolist() == [0, 1, 2]


def test_above_the_last_knot_and_missing_have_bins_of_their_own() -> None:
    assert knot_codes(KNOTS, np.array([400.01, np.nan]), np.zeros(2)).tolist() == [3, 4]
    assert schema().widths("bank") == (5,)
    assert schema().bin_labels("amount", "en") == ["≈ 0", "≈ 100", "≈ 400", "> 400", "missing"]


def test_coins_are_uniform_and_of_one_feature_alone() -> None:
    names = [f"m{row}" for row in range(20_000)]
    first, second = coins("s", "a", names), coins("s", "b", names)
    assert abs(first.mean() - 0.5) < 5 / np.sqrt(12 * len(names))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(len(names))
    assert np.array_equal(first, coins("s", "a", names))


def test_a_table_is_rounded_by_its_identifiers_in_whatever_order() -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {"id": [f"m{row}" for row in range(500)], "amount": rng.uniform(0, 400, 500), "late": [None] * 500}
    )
    codes = encode(schema(), "bank", frame).codes[:, 0]
    order = rng.permutation(500)
    assert np.array_equal(encode(schema(), "bank", frame[order.tolist()]).codes[:, 0], codes[order])
    assert len(set(codes.tolist())) == 3


def test_below_the_first_knot_is_refused_with_its_row() -> None:
    frame = pl.DataFrame({"id": ["m1", "m2"], "amount": [10.0, -1.0], "late": [None, None]})
    with pytest.raises(DataError, match="row 2, column amount: is below the least knot"):
        encode(schema(), "bank", frame)


def test_without_identifiers_nothing_is_rounded() -> None:
    with pytest.raises(SchemaError, match="identifiers"):
        encode(schema(), "bank", pl.DataFrame({"amount": [1.0], "late": [None]}))
    with pytest.raises(SchemaError, match="identifiers"):
        bin_checked(schema().feature("amount"), pl.Series("amount", [1.0]))


@pytest.mark.parametrize("wrong", [{"bins": [1]}, {"bins": [0, 1], "special_from": 1}, {"monotone": "increasing"}])
def test_knots_go_with_nothing_that_reads_order_or_codes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rounded"):
        schema(**wrong)
