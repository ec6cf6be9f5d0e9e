"""The public schema: what it accepts, its order, hash, and labels."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from models.errors import SchemaError
from models.schema import Feature, Schema

TITLE = {"zh": "年龄", "en": "Age"}
PLAIN: dict[str, Any] = {
    "name": "demo",
    "id": {"column": "id", "type": "opaque"},
    "as_of": "2025-06-30",
    "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
    "kinds": {
        "tax": {"features": {"turnover": {"title": TITLE, "class": "C2", "bins": [0, 10.5]}}},
        "bank": {
            "features": {
                "trade": {"title": TITLE, "class": "C1", "categories": ["shop", "inn"]},
                "age": {"title": TITLE, "class": "C2", "bins": [25, 30, 90], "whole": True, "special_from": 90},
            }
        },
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    plain = deepcopy(PLAIN)
    *parents, last = path.split("/")
    inner = plain
    for part in parents:
        inner = inner[part]
    inner[last] = value
    return plain


@pytest.fixture
def schema() -> Schema:
    return Schema.model_validate(PLAIN)


def test_order_is_that_of_the_file(schema: Schema) -> None:
    assert schema.kinds_in_order() == ("tax", "bank")
    assert [feature.name for feature in schema.features("bank")] == ["trade", "age"]
    assert [feature.name for feature in schema.all_features()] == ["turnover", "trade", "age"]
    assert schema.widths("bank") == (4, 5)
    assert schema.n_bins("turnover") == 4


def test_json_keeps_order_and_hash_under_sorted_keys(schema: Schema) -> None:
    resorted = json.dumps(json.loads(schema.canonical_json()), sort_keys=True)
    again = Schema.from_json(resorted)
    assert again == schema
    assert again.kinds_in_order() == ("tax", "bank")
    assert again.hash() == schema.hash()
    assert Schema.model_validate(schema.model_dump()) == schema


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "other"),
        ("as_of", "2025-07-01"),
        ("label/performance_months", 24),
        ("kinds/bank/features/age/bins", [25, 31, 90]),
        ("kinds/bank/features/age/title", {"zh": "年龄", "en": "Age now"}),
        ("kinds", dict(reversed(PLAIN["kinds"].items()))),
    ],
)
def test_hash_covers(schema: Schema, path: str, value: object) -> None:
    assert Schema.model_validate(changed(path, value)).hash() != schema.hash()


def test_hash_is_stable(schema: Schema) -> None:
    assert schema.hash() == Schema.model_validate(deepcopy(PLAIN)).hash()
    assert len(schema.hash()) == 64


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kinds/bank/features/age/bins", [25, 25], "strictly increasing"),
        ("kinds/bank/features/age/bins", [], "at least 1"),
        ("kinds/bank/features/age/bins", [1, float("inf")], "finite"),
        ("kinds/bank/features/age/bins", [1, True], "valid number"),
        ("kinds/bank/features/age/bins", ["1", "2"], "valid number"),
        ("kinds/bank/features/age/bins", [float(i) for i in range(254)], "at most 255"),
        ("kinds/bank/features/age/special_from", 40, "one of the edges"),
        ("kinds/bank/features/age/categories", ["a"], "either bins or categories"),
        ("kinds/bank/features/trade/categories", ["a", "a"], "distinct"),
        ("kinds/bank/features/trade/categories", [" a"], "without spaces"),
        ("kinds/bank/features/age/class", "C4", "'C1', 'C2' or 'C3'"),
        ("kinds/bank/features/age/unit", "years", "Extra inputs"),
        ("kinds/bank/features/turnover", {"title": TITLE, "class": "C2", "bins": [1]}, "taken by kinds.tax"),
        ("kinds/bank/features/id", {"title": TITLE, "class": "C2", "bins": [1]}, "taken by id.column"),
        ("kinds/bank/features/bad", {"title": TITLE, "class": "C2", "bins": [1]}, "taken by label.column"),
        ("kinds/hub", PLAIN["kinds"]["tax"], "reserved"),
        ("kinds/Bank", PLAIN["kinds"]["tax"], "pattern"),
        ("label/kind", "utility", "not one of kinds"),
        ("label/column", "id", "id column"),
        ("label/positive", 0, "must differ"),
        ("label/performance_months", 0, "greater than or equal to 1"),
        ("id/type", "phone", "'opaque', 'uscc' or 'resident-id'"),
        ("as_of", 20250630, "must be a date"),
        ("kinds", [{"name": "bank", "features": {}}, {"name": "bank", "features": {}}], "occurs twice"),
        ("kinds", ["bank"], "needs a name"),
    ],
)
def test_refuses(path: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schema.model_validate(changed(path, value))


def test_labels_in_both_languages(schema: Schema) -> None:
    assert schema.bin_labels("turnover", "en") == ["≤ 0", "0–10.5", "> 10.5", "missing"]
    assert schema.bin_labels("trade", "zh") == ["shop", "inn", "其他", "缺失"]
    assert schema.bin_labels("age", "en") == ["≤ 25", "26–30", "31–90", "> 90 (special code)", "missing"]
    assert schema.bin_labels("age", "zh")[-2:] == ["> 90 (特殊代码)", "缺失"]
    for feature in schema.all_features():
        assert len(feature.spec.bin_labels("zh")) == feature.width


def test_whole_numbers_name_single_values() -> None:
    counts = Feature.model_validate({"title": TITLE, "class": "C2", "bins": [0, 1, 2, 4], "whole": True})
    assert counts.bin_labels("en") == ["≤ 0", "1", "2", "3–4", "> 4", "missing"]


def test_bins_without_neighbours(schema: Schema) -> None:
    age, trade = schema.feature("age"), schema.feature("trade")
    assert age.ordinal
    assert age.spec.standalone_bins == (3, 4)
    assert (age.spec.missing_bin, age.spec.other_bin) == (4, None)
    assert not trade.ordinal
    assert trade.spec.standalone_bins == (0, 1, 2, 3)
    assert (trade.spec.missing_bin, trade.spec.other_bin) == (3, 2)


def test_unknown_names_are_typed_errors(schema: Schema) -> None:
    with pytest.raises(SchemaError, match="utility") as kind:
        schema.features("utility")
    assert kind.value.remedy == "use one of: tax, bank"
    with pytest.raises(SchemaError, match="shoe_size"):
        schema.n_bins("shoe_size")
    with pytest.raises(SchemaError, match=r"label\.kind"):
        Schema.from_json(json.dumps(changed("label/kind", "BANK")))
    with pytest.raises(SchemaError):
        Schema.from_json("{")
