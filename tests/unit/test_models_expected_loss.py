"""Losses foretold on populations that hold nobody's data."""

from __future__ import annotations

import numpy as np
import pytest

from models.accounting import calibrate_tables, epsilon_of, tables_mechanisms
from models.errors import BudgetError, FitError
from models.evaluation import auc
from models.expected_loss import MULTIPLES, LossCurve, LossModel, best_share, expected_auc
from models.reference import AssumedPopulation, Assumptions, PublishedPopulation, by_kind
from models.tables import FeatureBins, OpenedTable, from_codes

FEATURES = (
    FeatureBins("bank", "a", 6, ordinal=True),
    FeatureBins("bank", "b", 5, ordinal=True, monotone="decreasing"),
    FeatureBins("tax", "c", 7, ordinal=True, alone=(6,)),
    FeatureBins("tax", "d", 4, ordinal=False),
)
ASSUMED = Assumptions(default_rate=0.08, auc=0.78)


def opened(rows: int, epsilon: float | None, seed: int = 0) -> OpenedTable:
    rng = np.random.default_rng(seed)
    codes, risk = AssumedPopulation(FEATURES, ASSUMED, {"tax": 0.7}).draw(rows, rng)
    outcomes = np.where(rng.random(rows) < risk, 0, 1)
    table = from_codes(FEATURES, by_kind(FEATURES, codes), outcomes)
    if epsilon is None:
        return table
    noise = calibrate_tables(len(FEATURES), epsilon, 1e-5)
    return table.with_gaussian_noise(rng, noise.sigma_class, noise.sigma_pair)


@pytest.fixture(scope="module")
def model() -> LossModel:
    return LossModel(AssumedPopulation(FEATURES, ASSUMED), 8_000, draws=3)


def test_an_assumed_population_is_what_was_assumed() -> None:
    codes, risk = AssumedPopulation(FEATURES, ASSUMED, {"tax": 0.7}).draw(200_000, np.random.default_rng(3))
    assert risk.mean() == pytest.approx(ASSUMED.default_rate, rel=0.03)
    assert expected_auc(risk, risk) == pytest.approx(ASSUMED.auc, abs=0.005)
    tax = codes[:, 2:]
    assert (tax < 0).all(axis=1).mean() == pytest.approx(0.3, abs=0.01)
    assert ((tax < 0).all(axis=1) | (tax >= 0).all(axis=1)).all()
    for column, feature in enumerate(FEATURES):
        counts = np.bincount(codes[codes[:, column] >= 0, column], minlength=feature.width)
        assert counts.min() > 0.7 * counts.mean()
    # Risk goes the way that a monotone feature declares.
    assert risk[codes[:, 1] == 0].mean() > risk[codes[:, 1] == 4].mean()
    assert risk[codes[:, 0] == 5].mean() > risk[codes[:, 0] == 0].mean()


def test_a_published_population_is_like_its_table() -> None:
    table = opened(40_000, 3.0)
    codes, risk = PublishedPopulation(table).draw(100_000, np.random.default_rng(4))
    exact = opened(40_000, None)
    assert risk.mean() == pytest.approx(exact.classes[0][:, 0].sum() / 40_000, rel=0.05)
    for column, feature in enumerate(FEATURES):
        here = codes[codes[:, column] >= 0, column]
        drawn = np.bincount(here, minlength=feature.width) / len(here)
        counts = exact.classes[column].sum(axis=1)
        assert np.abs(drawn - counts / counts.sum()).max() < 0.02
    assert (codes[:, 2] < 0).mean() == pytest.approx(0.3, abs=0.01)
    assert ((codes[:, 2] < 0) == (codes[:, 3] < 0)).all()


def test_an_expected_auc_is_that_of_drawn_outcomes() -> None:
    rng = np.random.default_rng(5)
    z = np.round(rng.standard_normal(60_000), 1)
    risk = 1 / (1 + np.exp(2 - z))
    outcomes = np.where(rng.random(60_000) < risk, 0, 1)
    assert expected_auc(z, risk) == pytest.approx(auc(-z, outcomes), abs=0.01)
    assert expected_auc(np.zeros(10), np.full(10, 0.3)) == 0.5


def test_more_noise_loses_more_and_none_loses_nothing(model: LossModel) -> None:
    noise = calibrate_tables(len(FEATURES), 1.0, 1e-5)
    losses = [model.at(k * noise.sigma_class, k * noise.sigma_pair).mean for k in (0.0, 1.0, 4.0, 16.0)]
    assert losses[0] == 0.0
    assert losses == sorted(losses)
    assert 0.0 < losses[1] < losses[2] < losses[3] < model.auc - 0.45
    again = LossModel(AssumedPopulation(FEATURES, ASSUMED), 8_000, draws=3)
    assert again.at(noise.sigma_class, noise.sigma_pair) == model.at(noise.sigma_class, noise.sigma_pair)


def test_what_a_wanted_loss_needs_is_met_when_it_is_tried(model: LossModel) -> None:
    noise = calibrate_tables(len(FEATURES), 0.3, 1e-5)
    here = model.at(noise.sigma_class, noise.sigma_pair).mean
    multiple = model.curve(noise.sigma_class, noise.sigma_pair).multiple_for(here / 3)
    assert multiple is not None
    assert multiple < 1
    reached = model.at(multiple * noise.sigma_class, multiple * noise.sigma_pair).mean
    assert reached == pytest.approx(here / 3, rel=0.4)
    # So many more merchants do the same.
    larger = LossModel(AssumedPopulation(FEATURES, ASSUMED), round(8_000 / multiple), draws=3)
    assert larger.at(noise.sigma_class, noise.sigma_pair).mean == pytest.approx(here / 3, rel=0.6)


def test_curves_end_where_they_were_measured() -> None:
    curve = LossCurve((0.001, 0.002, 0.0015, 0.004, 0.01, 0.05))
    assert curve.multiple_for(0.0005) is None
    assert curve.multiple_for(1.0) == MULTIPLES[-1]
    assert curve.multiple_for(0.004) == pytest.approx(1.0)
    assert curve.multiple_for(0.003) == pytest.approx(2**-0.5)
    assert LossCurve((-0.001,) * 6).multiple_for(0.001) == MULTIPLES[-1]


def test_shares_of_the_noise_are_compared_on_the_same_draws(model: LossModel) -> None:
    noise = calibrate_tables(len(FEATURES), 0.5, 1e-5)
    pairs = [(noise.sigma_class * f, noise.sigma_pair) for f in (8.0, 1.0, 3.0)]
    best, losses = best_share(model, pairs)
    assert best == 1
    assert losses[1].mean < losses[2].mean < losses[0].mean


def test_cohorts_and_assumptions_out_of_range_are_refused() -> None:
    with pytest.raises(FitError):
        LossModel(AssumedPopulation(FEATURES, ASSUMED), 60)
    for wrong in ({"default_rate": 0.0}, {"auc": 0.5}, {"correlation": 1.0}, {"decay": 0.0}):
        with pytest.raises(BudgetError) as refused:
            Assumptions(**wrong)
        assert refused.value.field == next(iter(wrong))


def test_like_mechanisms_compose_as_if_one_after_another() -> None:
    (classes, pairs) = tables_mechanisms(10, 12.5, 26.5)
    five = tables_mechanisms(10, 12.5, 26.5) * 5
    merged = [type(each)(each.sigma, 5 * each.count) for each in (classes, pairs)]
    assert epsilon_of(five, 1e-5) == pytest.approx(epsilon_of(merged, 1e-5), rel=1e-4)
