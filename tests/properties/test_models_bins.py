"""Bins as a function of a number: monotone, exact at the edges, one bin each; schemas survive a round trip."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bins import bin_checked, one_hot
from models.schema import Feature, Schema

TITLE = {"zh": "甲", "en": "A"}
repeatable = settings(derandomize=True, deadline=None)
numbers = st.floats(allow_nan=False, allow_infinity=False)
edge_lists = st.lists(numbers.map(lambda x: x + 0.0), min_size=1, max_size=12, unique=True).map(sorted)
names = st.text(st.characters(categories=("L", "Nd"), include_characters="-_. "), min_size=1, max_size=12).filter(
    lambda text: text == text.strip()
)


def ordinal(edges: list[float]) -> Feature:
    return Feature.model_validate({"title": TITLE, "class": "C2", "bins": edges})


def nominal(categories: list[str]) -> Feature:
    return Feature.model_validate({"title": TITLE, "class": "C1", "categories": categories})


features = st.one_of(edge_lists.map(ordinal), st.lists(names, min_size=1, max_size=8, unique=True).map(nominal))


def bin_column(feature: Feature, series: pl.Series) -> np.ndarray:
    codes, problems = bin_checked(feature, series)
    assert problems == []
    return codes


@repeatable
@given(edge_lists, st.lists(numbers, max_size=40))
def test_a_number_lies_between_the_edges_of_its_bin(edges: list[float], values: list[float]) -> None:
    codes = bin_column(ordinal(edges), pl.Series("x", values, dtype=pl.Float64))
    lower, upper = [-math.inf, *edges], [*edges, math.inf]
    for value, code in zip(values, codes.tolist(), strict=True):
        assert lower[code] < value <= upper[code]


@repeatable
@given(edge_lists, st.lists(numbers, max_size=40))
def test_bins_are_monotone(edges: list[float], values: list[float]) -> None:
    codes = bin_column(ordinal(edges), pl.Series("x", sorted(values), dtype=pl.Float64))
    assert (np.diff(codes.astype(int)) >= 0).all()


@repeatable
@given(edge_lists)
def test_every_edge_opens_a_new_bin(edges: list[float]) -> None:
    feature = ordinal(edges)
    assert bin_column(feature, pl.Series("x", edges)).tolist() == list(range(len(edges)))
    with np.errstate(over="ignore"):
        above = np.nextafter(np.array(edges), math.inf)
    finite = np.isfinite(above)
    assert bin_column(feature, pl.Series("x", above[finite])).tolist() == (np.flatnonzero(finite) + 1).tolist()


@repeatable
@given(edge_lists, st.lists(st.one_of(st.none(), numbers), max_size=30))
def test_text_and_numbers_agree(edges: list[float], values: list[float | None]) -> None:
    feature = ordinal(edges)
    text = pl.Series("x", [None if value is None else repr(value) for value in values], dtype=pl.String)
    assert (bin_column(feature, text) == bin_column(feature, pl.Series("x", values, dtype=pl.Float64))).all()


@repeatable
@given(st.lists(names, min_size=1, max_size=8, unique=True), st.lists(st.one_of(st.none(), names), max_size=20))
def test_categories_find_their_bin(categories: list[str], values: list[str | None]) -> None:
    feature = nominal(categories)
    labels = feature.bin_labels("en")
    codes = bin_column(feature, pl.Series("x", values, dtype=pl.String)).tolist()
    for value, code in zip(values, codes, strict=True):
        if value is None:
            assert code == feature.missing_bin
        elif value in categories:
            assert labels[code] == value
        else:
            assert code == feature.other_bin


@repeatable
@given(st.lists(features, min_size=1, max_size=4), st.data())
def test_rows_are_one_hot_and_readable(specs: list[Feature], data: st.DataObject) -> None:
    widths = [spec.width for spec in specs]
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, width - 1) for width in widths)), max_size=10))
    codes = np.array(rows, dtype=np.uint8).reshape(-1, len(widths))
    matrix = one_hot(codes, widths)
    assert matrix.shape == (len(rows), sum(widths))
    offset = 0
    for index, width in enumerate(widths):
        block = matrix[:, offset : offset + width]
        assert (block.sum(axis=1) == 1).all()
        assert (block.argmax(axis=1) == codes[:, index]).all()
        offset += width


@repeatable
@given(st.dictionaries(names, features, min_size=1, max_size=5), st.sampled_from(["opaque", "uscc", "resident-id"]))
def test_schemas_survive_json(held: dict[str, Feature], id_type: str) -> None:
    schema = Schema.model_validate(
        {
            "name": "s",
            "id": {"column": "//id", "type": id_type},
            "as_of": "2024-02-29",
            "label": {"column": "//y", "kind": "bank", "performance_months": 1, "title": TITLE},
            "kinds": {"bank": {"features": held}},
        }
    )
    again = Schema.from_json(schema.canonical_json())
    assert again == schema
    assert again.hash() == schema.hash()
    assert [feature.name for feature in again.features("bank")] == list(held)
