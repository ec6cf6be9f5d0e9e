"""Synthetic merchants: the same for the same seed, block by block, and in the likeness that they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from models.bins import encode
from models.codes import PERFORMING
from models.evaluation import auc
from models.lishui.blocks import BLOCK_ROWS, KINDS, Block, blocks, draw_block
from models.lishui.merchants import INN, SUPERMARKET
from models.lishui.places import AREAS, COUNTIES, PROVINCES
from models.schema_file import load_schema
from models.tables import feature_bins, joined_codes

SEED = 20
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def made() -> Block:
    return draw_block(SEED, 0)


@pytest.fixture(scope="module")
def frame(made: Block) -> pl.DataFrame:
    return made.joined()


def test_a_block_depends_on_seed_and_index_alone(frame: pl.DataFrame) -> None:
    small = list(blocks(SEED, 1000))
    large = list(blocks(SEED, BLOCK_ROWS + 7))
    assert [(block.index, rows) for block, rows in large] == [(0, BLOCK_ROWS), (1, 7)]
    assert small[0][0].joined().head(1000).equals(frame.head(1000))
    assert large[1][0].joined().equals(draw_block(SEED, 1).joined())
    assert not large[1][0].joined().equals(frame)
    assert not draw_block(SEED + 1, 0).joined().equals(frame)


def test_neighbouring_blocks_are_independent(made: Block) -> None:
    other = draw_block(SEED, 1)
    for name in ("health", "size", "discipline"):
        together = np.corrcoef(getattr(made.merchants, name), getattr(other.merchants, name))[0, 1]
        assert abs(together) < 5 / np.sqrt(BLOCK_ROWS)


def test_they_come_from_nine_counties_and_work_in_all_provinces(frame: pl.DataFrame) -> None:
    assert len(COUNTIES) == 9
    assert len(PROVINCES) == 31
    assert set(frame["origin"]) == set(COUNTIES)
    assert set(frame["province"]) == set(PROVINCES)
    assert set(frame["area"]) == set(AREAS)
    # all of them also in the smallest population of interest
    assert frame.head(28_000)["province"].value_counts()["count"].min() > 50


def test_inns_have_seasons_and_shops_spring_festival(made: Block) -> None:
    months, trade = made.turnover.months, made.merchants.trade
    shares = months / months.sum(axis=1, keepdims=True)
    spread = shares.std(axis=1)
    assert spread[trade == INN].mean() > 2 * spread[trade == SUPERMARKET].mean()
    shops = shares[trade == SUPERMARKET].mean(axis=0)
    assert set(np.argsort(shops)[-2:]) == {0, 1}
    assert shops.max() < 1.3 / 12
    place = list(PROVINCES)
    sea = shares[(trade == INN) & (made.merchants.province == place.index("370000"))].mean(axis=0)
    south = shares[(trade == INN) & (made.merchants.province == place.index("460000"))].mean(axis=0)
    assert sea.argmax() in (6, 7, 8)
    assert south.argmax() in (11, 0, 1)


def test_marginals(frame: pl.DataFrame, made: Block) -> None:
    known = frame["default_24m"].drop_nulls()
    assert 0.06 < known.mean() < 0.08
    assert 0.10 < frame["default_24m"].null_count() / BLOCK_ROWS < 0.14
    within_twelve = frame["default_12m"].drop_nulls().mean()
    assert 0.3 * known.mean() < within_twelve < 0.6 * known.mean()
    assert frame.filter(default_12m=1)["default_24m"].to_list() == [1] * frame.filter(default_12m=1).height
    assert 0.35 < (frame["trade"] == "inn").mean() < 0.55
    assert 0.03 < frame["months_registered"].null_count() / BLOCK_ROWS < 0.05
    assert 0.07 < frame["kwh_mean_month"].null_count() / BLOCK_ROWS < 0.09
    assert 1e5 < (made.turnover.year.mean()) < 2e6
    assert frame["average_balance"].min() > 0
    late = frame["arrears_months"] >= frame["arrears_count_12m"]
    assert late.drop_nulls().all()


def test_the_outcome_is_missing_at_random(made: Block) -> None:
    known = made.outcomes.known
    gap = made.outcomes.probability[known].mean() - made.outcomes.probability[~known].mean()
    spread = made.outcomes.probability.std() / np.sqrt((~known).sum())
    assert abs(gap) < 4 * spread


def test_absent_merchants_have_empty_rows_at_that_kind_alone(made: Block) -> None:
    for kind in KINDS:
        empty = made.table(kind).select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
        assert np.array_equal(empty, ~made.records[kind].present)
    assert made.records["bank"].present.all()


def test_the_signal_is_neither_trivial_nor_linear(frame: pl.DataFrame, made: Block) -> None:
    """A logistic regression on the raw columns falls short of one on the schema's bins, and both of the truth."""
    known = np.flatnonzero(made.outcomes.known)
    train, test = known[:30_000], known[30_000:]
    schema = load_schema(CONFIGS / "lishui-merchants.yaml")
    encoded = {kind: encode(schema, kind, frame) for kind in schema.kinds_in_order()}
    outcome = encoded["bank"].outcome
    assert outcome is not None
    codes = joined_codes(feature_bins(schema), {k: e.codes for k, e in encoded.items()}, frame.height)
    hot = np.concatenate([np.eye(codes[:, i].max() + 1)[codes[:, i]] for i in range(codes.shape[1])], axis=1)

    numbers = frame.drop("trade", "origin", "province", "area", "default_24m", "default_12m").cast(pl.Float64)
    raw = np.nan_to_num(numbers.fill_null(strategy="mean").to_numpy())
    raw = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    found = {}
    for name, rows in (("raw", raw), ("bins", hot)):
        model = LogisticRegression(max_iter=300).fit(rows[train], outcome[train] != PERFORMING)
        found[name] = auc(-model.decision_function(rows[test]), outcome[test])
    truth = auc(-made.outcomes.probability[test], outcome[test])
    assert 0.75 < found["bins"] < 0.85
    assert found["raw"] + 0.003 < found["bins"] < truth - 0.01
