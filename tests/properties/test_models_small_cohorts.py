"""Small cohorts under any noise: a scorecard that a risk officer can believe, or a refusal that says what to do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.errors import FitError
from models.fit import fit
from models.margins import consistent_margins
from models.population import score_distribution
from models.scorecard import (
    ANCHOR_PD,
    ANCHOR_SCORE,
    BANDS,
    LEAST_PD,
    MAX_SPAN,
    SCORE_MAX,
    SCORE_MIN,
    Scorecard,
    band_of,
    points_range,
)
from models.scorecard_fit import calibrate, to_points, train
from models.tables import FeatureBins, OpenedTable, from_codes

_MU = {0.1: 0.03, 1.0: 0.27, 8.0: 1.7}
"""Gaussian privacy at about these ε, with δ = 1e-5."""


def _noise(features: int, epsilon: float) -> tuple[float, float]:
    mu = _MU[epsilon] * np.sqrt(0.5)
    return np.sqrt(features) / mu, np.sqrt(features * (features - 1) / 2) / mu


def _table(seed: int, merchants: int, rate: float, strength: float, epsilon: float | None) -> OpenedTable:
    """A noisy table of one to three kinds, with features of one populated bin or all missing, and absent kinds."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=merchants)
    features: list[FeatureBins] = []
    codes = {}
    for kind in ("bank", "tax", "utility")[: rng.integers(1, 4)]:
        columns = []
        for index in range(rng.integers(1, 4)):
            width = int(rng.integers(2, 8))
            features.append(FeatureBins(kind, f"{kind}-{index}", width, bool(rng.integers(2)), (width - 1,)))
            place = rng.integers(6)
            if place == 0:
                column = np.full(merchants, rng.integers(width))
            elif place == 1:
                column = np.full(merchants, width - 1)
            else:
                latent = risk * rng.uniform(-2, 2) + rng.normal(size=merchants)
                column = np.digitize(latent, np.linspace(-1.5, 1.5, width - 1))
            columns.append(column)
        codes[kind] = np.stack(columns, axis=1)
        if rng.random() < 0.4:
            codes[kind][rng.random(merchants) < rng.choice([0.1, 0.5, 0.95, 1.0])] = -1
    odds = np.log(rate / (1 - rate)) + strength * risk
    bad = rng.random(merchants) < 1 / (1 + np.exp(-odds))
    table = from_codes(features, codes, np.where(bad, 0, 1))
    if epsilon is None:
        return table
    return table.with_gaussian_noise(rng, *_noise(len(features), epsilon))


def _check(card: Scorecard) -> None:
    low, high = points_range(card.features, card.absent)
    scores = np.arange(card.base + low, card.base + high + 1)
    pd = card.pd_of(scores)
    assert 0 < high - low <= MAX_SPAN
    assert scores[0] >= SCORE_MIN
    assert scores[-1] <= SCORE_MAX
    assert np.array_equal(card.score_of(scores - card.base), scores)
    assert card.calibration.slope < 0
    assert (np.diff(pd) < 0).all()
    assert pd[-1] >= LEAST_PD
    assert pd[0] <= 1 - LEAST_PD
    bands = [BANDS.index(band) for band in band_of(pd)]
    assert all(later <= earlier for earlier, later in pairwise(bands))
    # A score means the same in every model, so a low one is never in a good band.
    assert card.pd_of(ANCHOR_SCORE) == pytest.approx(ANCHOR_PD, abs=0.002)
    assert all(type(point) is int for entry in card.features for point in entry.points)
    for kind, alone in card.absent.items():
        here = [entry.points for entry in card.of_kind(kind)]
        assert sum(map(min, here)) <= alone <= sum(map(max, here))


@given(
    seed=st.integers(0, 2**32 - 1),
    merchants=st.integers(50, 500),
    rate=st.sampled_from([0.02, 0.05, 0.1, 0.3, 0.6, 0.95]),
    strength=st.floats(0, 3),
    epsilon=st.sampled_from([*_MU, None]),
)
@example(seed=0, merchants=120, rate=0.3, strength=3.0, epsilon=8.0)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_small_cohort_gives_an_honest_scorecard_or_a_remedy(
    seed: int, merchants: int, rate: float, strength: float, epsilon: float | None
) -> None:
    table = _table(seed, merchants, rate, strength, epsilon)
    refusal = None
    try:
        card = train(table)
    except FitError as problem:
        refusal = problem
    else:
        _check(card)
        assert train(table) == card
    assert refusal is None or (refusal.remedy and refusal.field == "table")


def test_small_noisy_cohorts_are_often_scored() -> None:
    scored = 0
    for seed in range(40):
        try:
            card = train(_table(seed, 120 + 4 * seed, 0.3, 3.0, 8.0))
        except FitError:
            continue
        scored += 1
        _check(card)
    assert scored > 15


def test_a_table_that_asks_for_too_much_is_restrained_and_keeps_its_mean() -> None:
    table = _table(0, 400, 0.3, 3.0, None)
    linear = fit(table)
    asked = replace(linear, covariance=20 * linear.covariance)
    plain, restrained = calibrate(table, linear), calibrate(table, asked)
    assert 0 < plain.slope < restrained.slope
    margins = consistent_margins(table)
    shape = score_distribution(table, margins, linear.weights).matched(linear.mean, linear.variance)
    for each in (plain, restrained):
        assert shape.mass @ each.pd(shape.z) == pytest.approx(linear.default_rate, abs=1e-5)
    card = to_points(table.features, asked, restrained)
    _check(card)
    low, high = points_range(card.features, card.absent)
    most, least = card.pd_of(np.array([low, high]) + card.base)
    assert most > 0.999 or least < 0.001


def test_what_tells_nothing_is_refused_with_a_remedy() -> None:
    table = _table(0, 400, 0.3, 3.0, None)
    linear = fit(table)
    for without in (replace(linear, covariance=-0.1), replace(linear, variance=0.0)):
        with pytest.raises(FitError, match="no association") as refused:
            calibrate(table, without)
        assert refused.value.remedy == "train with a larger epsilon or cohort"
    with pytest.raises(FitError, match="no scorecard can tell") as refused:
        calibrate(table, replace(linear, default_rate=1e-4))
    assert refused.value.remedy


def test_a_bin_without_merchants_gets_next_to_no_points() -> None:
    rng = np.random.default_rng(3)
    features = [FeatureBins("bank", "use", 5, True, (4,)), FeatureBins("tax", "income", 5, True, (4,))]
    risk = rng.normal(size=2000)
    codes = {kind: np.digitize(risk + rng.normal(size=2000), [-1, 0, 1])[:, None] for kind in ("bank", "tax")}
    exact = from_codes(features, codes, np.where(rng.random(2000) < 1 / (1 + np.exp(2 - 1.5 * risk)), 0, 1))
    sigma_class, sigma_pair = _noise(2, 1.0)
    for seed in range(10):
        noisy = exact.with_gaussian_noise(np.random.default_rng(seed), sigma_class, sigma_pair)
        # Noise says that fewer than no merchants defaulted in the empty bin.
        noisy.classes[0][4] = (-3 * sigma_class, 3 * sigma_class)
        margins = consistent_margins(noisy)
        assert ((margins.p >= 0) & (margins.p <= margins.n)).all()
        assert np.add.reduceat(margins.p, [0, 5]) == pytest.approx([margins.defaults] * 2)
        points = train(noisy).features[0].points
        assert abs(points[4]) < max(points) - min(points[:4])
        assert points[0] > points[4] > points[3]
