"""Features derived from columns, and products of two: values, missing values, bins, labels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from models.bins import bin_frame, encode
from models.derived import Derived
from models.derived_values import derived_values
from models.errors import DataError, SchemaError
from models.feature import Feature
from models.fit_options import FitOptions
from models.prior import kernel
from models.schema import Schema
from models.schema_file import load_schema
from models.tables import feature_bins

NAN = float("nan")

FILE = """\
name: derived
id: {column: id, type: opaque}
as_of: 2025-06-30
label: {column: bad, kind: bank, performance_months: 12, title: {zh: 违约, en: Default}}
kinds:
  bank:
    columns: [paid, due]
    features:
      age: {title: {zh: 年龄, en: Age}, class: C2, bins: [30, 60], whole: true}
      late: {title: {zh: 逾期, en: Late}, class: C2, bins: [0, 1, 95], special_from: 95, monotone: increasing}
      later: {title: {zh: 再逾期, en: Later}, class: C2, bins: [0, 1]}
      trade: {title: {zh: 行业, en: Trade}, class: C1, categories: [shop, inn]}
      worst: {title: {zh: 最久逾期, en: Worst}, class: C2, derived: {max: [late, later]}, bins: [0, 1]}
      share: {title: {zh: 已还, en: Paid}, class: C3, derived: {ratio: [paid, due]}, bins: [0.5, 1]}
      cells: {title: {zh: 逾期与行业, en: Late by trade}, class: C2, product: [worst, trade]}
  tax:
    features:
      income: {title: {zh: 收入, en: Income}, class: C2, bins: [0]}
"""


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    (tmp_path / "s.yaml").write_text(FILE, encoding="utf-8")
    return load_schema(tmp_path / "s.yaml")


def refused(tmp_path: Path, old: str, new: str) -> str:
    assert old in FILE
    (tmp_path / "s.yaml").write_text(FILE.replace(old, new), encoding="utf-8")
    with pytest.raises(SchemaError) as caught:
        load_schema(tmp_path / "s.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ({"max": ["a", "b"]}, [2.0, 1.0, 5.0, NAN, 0.1]),
        ({"min": ["a", "b"]}, [1.0, 1.0, 5.0, NAN, 0.0]),
        ({"sum": ["a", "b"]}, [3.0, 1.0, 5.0, NAN, 0.1]),
        ({"count_above": {"columns": ["a", "b"], "threshold": 1}}, [1.0, 0.0, 1.0, NAN, 0.0]),
        ({"difference": ["a", "b"]}, [-1.0, NAN, NAN, NAN, 0.1]),
        ({"ratio": ["a", "b"]}, [0.5, NAN, NAN, NAN, NAN]),
    ],
)
def test_operations_and_their_missing_values(operation: dict[str, object], values: list[float]) -> None:
    columns = {"a": np.array([1.0, 1.0, NAN, NAN, 0.1]), "b": np.array([2.0, NAN, 5.0, NAN, 0.0])}
    derived = Derived.model_validate(operation)
    assert derived.columns == ("a", "b")
    np.testing.assert_array_equal(derived_values(derived, columns), values)


def test_results_lie_where_decimals_say() -> None:
    def one(operation: str, a: float, b: float) -> float:
        derived = Derived.model_validate({operation: ["a", "b"]})
        return float(derived_values(derived, {"a": np.array([a]), "b": np.array([b])})[0])

    assert one("sum", 0.1, 0.2) == 0.3
    assert one("difference", 0.7, 0.4) == 0.3
    assert one("ratio", 3.3, 1.1) == 3.0
    assert np.isnan(one("ratio", 1e300, 1e-300))
    assert np.isnan(one("sum", 1.7e308, 1.7e308))
    assert one("ratio", 0.0, -2.0) == 0.0


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"max": ["a"]},
        {"max": ["a", "a"]},
        {"max": ["a", "b"], "min": ["a", "b"]},
        {"mean": ["a", "b"]},
        {"ratio": ["a", "b", "c"]},
        {"difference": ["a", "a"]},
        {"count_above": ["a", "b"]},
        {"sum": "a + b"},
    ],
)
def test_the_vocabulary_is_closed(operation: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Derived.model_validate(operation)


def test_bins_of_derived_features_and_products(schema: Schema) -> None:
    frame = pl.DataFrame(
        {
            "age": [20, 40, 70, None],
            "late": ["0", "98", "2", ""],
            "later": [1, None, 0, None],
            "trade": ["shop", "inn", "mill", None],
            "paid": [1, 4, 3, 1],
            "due": [2, 0, 2, None],
        }
    )
    binned = bin_frame(schema, "bank", frame)
    assert binned.problems == []
    # a code is no amount: where late is 98 and later is empty, the worst is missing
    assert binned.codes.tolist() == [
        [0, 0, 1, 0, 1, 0, 1 * 4 + 0],
        [1, 3, 3, 1, 3, 3, 3 * 4 + 1],
        [2, 2, 0, 2, 2, 2, 2 * 4 + 2],
        [3, 4, 3, 3, 3, 3, 3 * 4 + 3],
    ]
    assert schema.columns("bank") == ("age", "late", "later", "trade", "paid", "due")
    assert schema.widths("bank") == (4, 5, 4, 4, 4, 4, 16)
    with pytest.raises(DataError, match="missing columns: due"):
        encode(schema, "bank", frame.drop("due").with_columns(bad=pl.lit(1)))
    with pytest.raises(DataError, match="row 2, column paid: is text, not a number"):
        encode(schema, "bank", frame.with_columns(paid=pl.Series(["1", "x", "2", "3"]), bad=pl.lit(1)))


def test_a_product_has_labels_missing_bins_and_two_sides(schema: Schema) -> None:
    spec = schema.feature("cells").spec
    assert schema.bin_labels("cells", "en")[:4] == ["≤ 0 × shop", "≤ 0 × inn", "≤ 0 × other", "≤ 0 × missing"]
    assert schema.bin_labels("cells", "zh")[15] == "缺失 × 缺失"
    assert (spec.width, spec.missing_bin, spec.other_bin, spec.ordinal) == (16, 15, None, False)
    assert spec.missing_bins == (3, 7, 11, 12, 13, 14, 15)
    block = feature_bins(schema)[6]
    assert [(axis.width, axis.alone) for axis in block.axes] == [(4, (3,)), (4, (0, 1, 2, 3))]
    assert (block.ordinal, block.alone, block.ordered) == (False, tuple(range(16)), ())


def test_bins_of_a_product_are_alike_along_both_sides(schema: Schema) -> None:
    two = Schema.model_validate(
        {
            **schema.model_dump(mode="json", exclude_none=True),
            "kinds": {
                "bank": {
                    "features": {
                        "a": {"title": {"zh": "甲", "en": "A"}, "class": "C2", "bins": [0, 1]},
                        "b": {"title": {"zh": "乙", "en": "B"}, "class": "C2", "bins": [0, 1, 2]},
                        "ab": {"title": {"zh": "甲乙", "en": "AB"}, "class": "C2", "product": ["a", "b"]},
                    }
                }
            },
        }
    )
    near = kernel(feature_bins(two)[2], FitOptions(reach=4.0))
    b = 5

    def likeness(first: tuple[int, int], second: tuple[int, int]) -> float:
        return float(near[first[0] * b + first[1], second[0] * b + second[1]])

    assert likeness((0, 0), (0, 0)) == 1
    assert likeness((0, 0), (0, 2)) == pytest.approx(np.exp(-2 / 4))
    assert likeness((0, 1), (2, 3)) == pytest.approx(np.exp(-4 / 4))
    # missing at one side: neighbours along the other side only
    assert likeness((3, 1), (3, 2)) == pytest.approx(np.exp(-1 / 4))
    assert likeness((2, 1), (3, 1)) == 0
    assert np.linalg.eigvalsh(near).min() > 0


def test_the_schema_round_trips_and_its_hash_covers_derivation(schema: Schema, tmp_path: Path) -> None:
    again = Schema.from_json(schema.canonical_json())
    assert again.hash() == schema.hash()
    assert again == schema
    assert again.feature("cells").spec.axes == schema.feature("cells").spec.axes
    for old, new in (
        ("derived: {max: [late, later]}", "derived: {min: [late, later]}"),
        ("product: [worst, trade]", "product: [late, trade]"),
        ("monotone: increasing", "monotone: decreasing"),
        ("bins: [30, 60],", "bins: [30, 60], range: [0, 120],"),
    ):
        (tmp_path / "t.yaml").write_text(FILE.replace(old, new), encoding="utf-8")
        assert load_schema(tmp_path / "t.yaml").hash() != schema.hash()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[late, later]", "[late, never]", "s.yaml:13: kinds.bank.features.worst.derived: 'never' is neither"),
        ("[late, later]", "[late, income]", "'income' is neither"),
        ("[late, later]", "[late, share]", "worst.derived: 'share' has no column of numbers of its own"),
        ("[late, later]", "[late, worst]", "worst.derived: 'worst' has no column of numbers of its own"),
        ("[late, later]", "[late, trade]", "worst.derived: 'trade' has no column of numbers of its own"),
        ("[paid, due]\n", "[paid, due, spare]\n", "no derived feature reads the column 'spare'"),
        ("columns: [paid, due]", "columns: [paid, due, age]", "no derived feature reads the column 'age'"),
        ("ratio: [paid, due]", "ratio: [paid, owed]", "share.derived: 'owed' is neither"),
        ("product: [worst, trade]", "product: [worst, cells]", "cells.product: 'cells' is not another feature"),
        ("product: [worst, trade]", "product: [worst, income]", "cells.product: 'income' is not another feature"),
        ("product: [worst, trade]", "product: [worst, worst]", "product: needs two different features"),
        ("product: [worst, trade]", "product: [worst, trade], bins: [1]", "give either bins or categories, or"),
        ("product: [worst, trade]", "product: [worst, trade], monotone: increasing", "monotone: is for features with"),
        ("product: [worst, trade]", "product: [share, trade]", "is made of 'share', which is C3; C2 is too low"),
        ("class: C2, derived: {max", "class: C1, derived: {max", "worst.derived: is made of 'late', which is C2"),
        ("categories: [shop, inn]", "categories: [shop], monotone: increasing", "monotone: is for features with bins"),
        ("categories: [shop, inn]", "categories: [shop], range: [0, 1]", "range: is for features with bins"),
        ("monotone: increasing", "monotone: up", "'increasing' or 'decreasing'"),
        ("bins: [30, 60],", "bins: [30, 60], range: [9, 1],", "range: the first number must not be greater"),
        ("derived: {max: [late, later]}", "derived: {max: [late, later], min: [late, later]}", "give one of max, min"),
        ("derived: {max: [late, later]}", "derived: {eval: late + later}", "eval: is not a known field"),
    ],
)
def test_what_a_schema_cannot_derive(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in refused(tmp_path, old, new)


def test_columns_do_not_share_names_across_kinds(tmp_path: Path) -> None:
    tax = "income: {title: {zh: 收入, en: Income}, class: C2, bins: [0]}"
    assert "the name is taken by kinds.bank.columns" in refused(tmp_path, tax, tax.replace("income", "paid", 1))


def test_a_product_has_at_most_255_bins(tmp_path: Path) -> None:
    old = "derived: {max: [late, later]}, bins: [0, 1]}"
    edges = ", ".join(str(at) for at in range(1, 64))
    message = refused(tmp_path, old, old.replace("0, 1", edges))
    assert "cells.product: has 65 × 4 = 260 bins; at most 255 are possible" in message


def test_a_product_outside_a_schema_says_so() -> None:
    lone = Feature.model_validate({"title": {"zh": "甲", "en": "A"}, "class": "C1", "product": ["a", "b"]})
    with pytest.raises(SchemaError, match="outside a schema"):
        _ = lone.width


def test_the_example_in_the_documentation_is_a_schema(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
    example = next(block.split("```")[0] for block in text.split("```yaml\n") if block.startswith("kinds:"))
    head = FILE[: FILE.index("kinds:")]
    (tmp_path / "s.yaml").write_text(head + example, encoding="utf-8")
    found = load_schema(tmp_path / "s.yaml")
    assert [each.width for each in found.features("bank")] == [5, 5, 5, 5, 5, 5, 25]
    assert found.columns("bank")[-2:] == ("RevenueThisQuarter", "RevenueLastQuarter")
