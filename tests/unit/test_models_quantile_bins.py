"""Bins from private quantiles: grids, trees, edges from exact and from noisy counts, codes before and after."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from models.accounting import bins_mechanism, epsilon_of, split_budget, tables_mechanisms
from models.bins import bin_frame
from models.campaign_file import CampaignFile
from models.errors import BudgetError, DataError, SchemaError
from models.mechanisms import GaussianRounds
from models.quantile_bins import (
    BRANCHING,
    count_trees,
    on_grid,
    open_form,
    settled,
    settled_codes,
    tree_counts,
    unsettled,
    with_bins,
)
from models.quantile_grid import MAX_CELLS, Quantiles
from models.schema import Schema
from models.stages import BINS_SHARE

TITLE = {"zh": "名", "en": "name"}


def feature(**more: Any) -> dict[str, Any]:
    return {"title": TITLE, "class": "C2", **more}


def schema(**bank: dict[str, Any]) -> Schema:
    return Schema.model_validate(
        {
            "name": "quantiles",
            "id": {"column": "id", "type": "opaque"},
            "as_of": "2026-01-01",
            "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
            "kinds": {"bank": {"features": bank}, "tax": {"features": {"paid": feature(bins=[0.0, 10.0])}}},
        }
    )


AMOUNT = feature(quantiles={"count": 8, "range": [10, 1_000_000], "scale": "log"})
AGE = feature(quantiles={"count": 10, "range": [18, 80]}, whole=True)
LATE = feature(quantiles={"count": 6, "range": [0, 20]}, whole=True, special_from=90)


def opened(open_schema: Schema, frame: pl.DataFrame) -> Schema:
    """The schema that exact counts give."""
    codes = bin_frame(on_grid(open_schema), "bank", frame).codes
    return settled(open_schema, tree_counts(open_schema, "bank", codes))


@pytest.mark.parametrize(
    ("low", "high", "scale", "whole"),
    [
        (0, 100, "linear", False),
        (0, 20, "linear", True),
        (-3, 7.5, "linear", False),
        (0, 1e6, "linear", False),
        (0.01, 1e9, "log", False),
        (10, 1e6, "log", True),
        (1e-9, 1e12, "log", False),
        (0, 1.7e-3, "linear", False),
    ],
)
def test_grids_are_of_round_numbers_between_the_ends_and_never_too_fine(low, high, scale, whole):
    grid = Quantiles(count=5, range=(low, high), scale=scale).grid(whole=whole)
    assert (grid[0], grid[-1]) == (low, high)
    assert len(grid) + 1 <= MAX_CELLS
    assert all(a < b for a, b in pairwise(grid))
    assert all(len(repr(edge).lstrip("-0.").replace(".", "").rstrip("0").split("e")[0]) <= 4 for edge in grid)
    if whole:
        assert all(edge == int(edge) for edge in grid)


def test_a_wide_grid_is_nearly_as_fine_as_it_may_be():
    assert len(Quantiles(count=5, range=(0, 100)).grid(whole=False)) > MAX_CELLS / 3
    assert len(Quantiles(count=5, range=(10, 1e6), scale="log").grid(whole=False)) > MAX_CELLS / 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"quantiles": {"count": 1, "range": [0, 1]}}, "greater than or equal to 2"),
        ({"quantiles": {"count": 5, "range": [1, 1]}}, "must be less than the second"),
        ({"quantiles": {"count": 5, "range": [0, 1], "scale": "log"}}, "begins above zero"),
        ({"quantiles": {"count": 5, "range": [0.5, 9]}, "whole": True}, "must be whole numbers"),
        ({"quantiles": {"count": 5, "range": [0, 9]}, "special_from": 9}, "greater than the end"),
        ({"quantiles": {"count": 5, "range": [0, 9]}, "categories": ["a"]}, "give either bins or categories"),
        ({"quantiles": {"count": 5, "range": [0, 9]}, "bins": [0.0333]}, "edges of their grid alone"),
        ({"quantiles": {"count": 3, "range": [0, 9]}, "bins": [1.0, 2.0, 3.0]}, "1 to 2 edges"),
        ({"quantiles": {"count": 3, "range": [0, 9]}, "bins": [1.0], "special_from": 20}, "special_from last"),
        ({"quantiles": {"count": 3, "range": [0, 9], "by": "hand"}}, "Extra inputs"),
    ],
)
def test_malformed_quantiles_are_refused_with_a_reason(wrong, words):
    with pytest.raises(ValidationError, match=words):
        schema(x=feature(**wrong))


def test_a_schema_with_bins_still_to_come_counts_the_most_bins_and_refuses_to_bin():
    known = schema(late=LATE, age=AGE)
    assert unsettled(known)
    assert known.widths("bank") == (8, 11)
    assert known.feature("late").spec.special_bins == (6,)
    frame = pl.DataFrame({"late": [1.0], "age": [30.0]})
    with pytest.raises(SchemaError, match="still to come from quantiles"):
        bin_frame(known, "bank", frame)
    with pytest.raises(SchemaError, match="still to come from quantiles"):
        known.bin_labels("age", "en")


def test_trees_have_one_count_a_level_for_each_row():
    known = schema(late=LATE, age=AGE, given=feature(bins=[1.0]))
    late, age = count_trees(known)
    assert (late.feature, late.kind, late.cells, late.levels) == ("late", "bank", 22, 3)
    assert late.nodes == 1 + BRANCHING + 22
    assert (age.cells, age.levels) == (len(Quantiles(count=2, range=(18, 80)).grid(whole=True)) + 1, 4)
    frame = pl.DataFrame({"late": [0.0, 3.0, 98.0, None], "age": [18.0, 200.0, 31.0, 40.0], "given": [0.0] * 4})
    codes = bin_frame(on_grid(known), "bank", frame).codes
    one_each = sum(tree_counts(known, "bank", codes[[row]]) for row in range(4))
    counts = tree_counts(known, "bank", codes)
    assert np.array_equal(counts, one_each)
    of_late, of_age = counts[: late.nodes], counts[late.nodes :]
    assert of_late.sum() == 2 * late.levels  # neither the special code nor the missing value is counted
    assert of_age.sum() == 4 * age.levels
    assert of_late[0] == 2
    assert of_age[0] == 4
    codes[:] = 255
    assert not tree_counts(known, "bank", codes).any()


@pytest.mark.parametrize("seed", range(4))
def test_exact_counts_give_the_true_quantiles_at_edges_of_the_grid(seed):
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(8, 1.2, 5000))
    known = schema(amount=AMOUNT)
    edges = opened(known, pl.DataFrame({"amount": values})).feature("amount").spec.bins
    grid = np.asarray(Quantiles(count=8, range=(10, 1_000_000), scale="log").grid(whole=False))
    shares = np.searchsorted(np.sort(values), grid, side="right") / len(values)
    wanted = [grid[np.argmin(np.abs(shares - part / 8))] for part in range(1, 8)]
    assert edges == tuple(wanted)


def test_values_that_many_rows_have_stand_alone():
    values = np.concatenate([np.zeros(800), np.ones(100), np.full(50, 2.0), np.full(30, 3.0), np.full(20, 7.0)])
    edges = opened(schema(late=LATE), pl.DataFrame({"late": values})).feature("late").spec.bins
    assert edges[0] == 0
    assert edges[-1] == 90
    assert set(edges[:-1]) >= {0, 1, 2}
    whole = feature(quantiles={"count": 5, "range": [0, 20]}, whole=True)
    middle = np.concatenate([np.full(900, 5.0), np.arange(100) % 20])
    assert {4, 5} <= set(opened(schema(x=whole), pl.DataFrame({"x": middle})).feature("x").spec.bins)


@pytest.mark.parametrize("value", [0.0, 20.0, 1e9, -5.0])
def test_one_value_alone_still_gives_bins(value):
    known = schema(x=feature(quantiles={"count": 5, "range": [0, 20]}))
    assert opened(known, pl.DataFrame({"x": [value] * 50})).feature("x").spec.bins
    assert opened(known, pl.DataFrame({"x": pl.Series([], dtype=pl.Float64)})).feature("x").spec.bins


def test_noisy_counts_give_quantiles_within_a_few_noise_deviations():
    rng = np.random.default_rng(7)
    values = np.exp(rng.normal(8, 1.2, 20_000))
    known = schema(amount=AMOUNT)
    tree = count_trees(known)[0]
    exact = tree_counts(known, "bank", bin_frame(on_grid(known), "bank", pl.DataFrame({"amount": values})).codes)
    sigma, wrong = 60.0, []
    for _ in range(40):
        noisy = exact + np.rint(rng.normal(0, sigma, tree.nodes)).astype(np.int64)
        edges = np.asarray(settled(known, noisy).feature("amount").spec.bins)
        assert len(edges) == 7
        shares = np.searchsorted(np.sort(values), edges, side="right") / len(values)
        wrong.append(np.abs(shares - np.arange(1, 8) / 8).max())
    # sums up to a cell have about 2.7 σ, and the grid parts some 2 % of the rows
    assert np.mean(wrong) < 0.02 + 3 * sigma / len(values)
    assert max(wrong) < 0.02 + 6 * 2.7 * sigma / len(values)


def test_noise_alone_gives_bins_and_the_same_counts_the_same_bins():
    rng = np.random.default_rng(3)
    known = schema(amount=AMOUNT, late=LATE, age=AGE)
    size = sum(tree.nodes for tree in count_trees(known))
    for _ in range(20):
        noisy = rng.integers(-500, 500, size)
        found = settled(known, noisy)
        assert found == settled(known, 8 * noisy)
        assert not unsettled(found)
        assert open_form(found) == known
    with pytest.raises(DataError, match="not those of the schema's trees"):
        settled(known, noisy[1:])


def test_codes_under_the_grid_become_those_of_the_bins():
    rng = np.random.default_rng(1)
    known = schema(
        late=LATE,
        given=feature(bins=[0.5]),
        age=AGE,
        shop=feature(categories=["a", "b"]),
        older=feature(derived={"ratio": ["age", "late"]}, quantiles={"count": 4, "range": [0, 50]}),
        both=feature(product=["late", "given"]),
        fixed=feature(product=["given", "shop"]),
    )
    frame = pl.DataFrame(
        {
            "late": rng.choice([0.0, 1, 2, 3, 25, 90, 96, np.nan], 400),
            "given": rng.random(400),
            "age": rng.integers(10, 100, 400).astype(float),
            "shop": rng.choice(["a", "b", "c"], 400),
        }
    )
    fine = bin_frame(on_grid(known), "bank", frame).codes
    done = settled(known, tree_counts(known, "bank", fine))
    assert np.array_equal(settled_codes(done, "bank", fine), bin_frame(done, "bank", frame).codes)
    assert on_grid(done) == done
    assert open_form(done) == known
    assert Schema.from_json(done.canonical_json()) == done


def test_edges_of_ones_own_choice_are_refused():
    known = schema(age=AGE)
    with pytest.raises(ValidationError, match="edges of their grid"):
        with_bins(known, {"age": (20.0, 33.3)})
    with pytest.raises(SchemaError, match="no edges of age"):
        with_bins(known, {})


def test_schemas_without_quantiles_keep_their_hash_and_form():
    known = schema(given=feature(bins=[0.5]))
    assert on_grid(known) is known
    assert open_form(known).hash() == known.hash()
    assert b'quantiles":' not in known.canonical_json()
    assert count_trees(known) == ()


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_a_bins_stage_composes_with_the_others_within_the_budget(epsilon):
    mu = split_budget(epsilon, 1e-5, ("bins", "scorecard"), n_features=10, bins_touched=30)
    assert mu["bins"] ** 2 / (mu["bins"] ** 2 + mu["scorecard"] ** 2) == pytest.approx(BINS_SHARE)
    bins = bins_mechanism(30, mu["bins"])
    share = mu["scorecard"] * np.sqrt(0.5)
    tables = tables_mechanisms(10, np.sqrt(10) / share, np.sqrt(45) / share)
    assert epsilon * 0.98 < epsilon_of([bins, *tables], 1e-5) <= epsilon
    three = split_budget(epsilon, 1e-5, ("bins", "encoder", "scorecard"), bins_share=0.2, bins_touched=30)
    assert three["bins"] ** 2 / sum(each**2 for each in three.values()) == pytest.approx(0.2)
    rounds = GaussianRounds(np.sqrt(60) / three["encoder"], 60)
    share = three["scorecard"] * np.sqrt(0.5)
    all_three = [bins_mechanism(30, three["bins"]), rounds, *tables_mechanisms(10, 10**0.5 / share, 45**0.5 / share)]
    assert epsilon_of(all_three, 1e-5) <= epsilon


def test_a_bins_stage_alone_or_without_a_share_has_no_budget():
    for wrong in ({"bins_share": 0.0}, {"bins_share": 1.0}, {"bins_touched": 0}):
        with pytest.raises(BudgetError, match="a bins stage needs"):
            split_budget(1.0, 1e-5, ("bins", "scorecard"), **{"bins_touched": 3, **wrong})
    with pytest.raises(BudgetError, match="a bins stage needs"):
        split_budget(1.0, 1e-5, ("bins",), bins_touched=3)


def order_of(*stages: str) -> CampaignFile:
    return CampaignFile.model_validate({"name": "x", "schema": "x.yaml", "stages": list(stages), "epsilon": 1})


def test_a_campaign_on_bins_that_are_still_to_come_begins_with_a_bins_stage():
    given, missing = schema(given=feature(bins=[0.5])), schema(age=AGE)
    for order in (order_of("scorecard"), order_of("bins", "scorecard")):
        assert order.check_against(missing) == []
        assert order.stages_on(missing) == ("bins", "scorecard")
    assert order_of("scorecard").stages_on(given) == ("scorecard",)
    assert [field for field, _ in order_of("bins", "scorecard").check_against(given)] == ["stages"]
    (refused,) = order_of("encoder", "scorecard").check_against(missing)
    assert "take the schema that a campaign with a scorecard alone has settled" in refused[1]
    for wrong in (("scorecard", "bins"), ("bins",), ("bins", "evaluation"), ("bins", "bins", "scorecard")):
        with pytest.raises(ValidationError, match="bins before and evaluation after"):
            order_of(*wrong)


def test_counting_and_making_bins_loads_no_learning_library():
    """Agents do both."""
    program = (
        "import sys, numpy as np; from models.schema import Schema;"
        "from models.quantile_bins import settled, tree_counts;"
        f"known = Schema.from_json({schema(age=AGE).canonical_json().decode()!r});"
        "counts = tree_counts(known, 'bank', np.zeros((9, 1), dtype=np.uint8)); settled(known, counts);"
        "print([name for name in ('sklearn', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
