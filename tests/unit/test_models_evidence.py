"""Weights of evidence from a table, and curves with bands: what the model card computes from published counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from models.card_curves import banded_roc, exact_roc, wilson
from models.evaluation import CalibrationRow
from models.evidence import evidence_of
from models.tables import FeatureBins, OpenedTable


def table(counts: list[list[float]], sigma: float = 0.0) -> OpenedTable:
    cells = np.array(counts)
    return OpenedTable(
        features=(FeatureBins("bank", "age", len(cells), ordinal=True),),
        classes=(cells,),
        pairs={},
        cohort_size=int(cells.sum()),
        kind_totals={"bank": int(cells.sum())},
        pair_totals={},
        sigma_class=sigma,
        sigma_pair=sigma,
    )


def test_weights_of_evidence_are_those_of_the_textbook() -> None:
    (found,) = evidence_of(table([[10, 90], [30, 70], [60, 40]]))
    assert [each.woe for each in found.bins] == pytest.approx(
        [math.log(0.45 / 0.1), math.log(0.35 / 0.3), math.log(0.2 / 0.6)]
    )
    assert found.information is not None
    assert found.information.raw == pytest.approx(0.35 * math.log(4.5) + 0.05 * math.log(7 / 6) - 0.4 * math.log(1 / 3))
    assert found.information.low < found.information.value < found.information.raw < found.information.high
    weight = found.bins[0].woe_interval
    assert weight is not None
    assert weight.high - weight.low == pytest.approx(2 * 1.96 * found.bins[0].woe_error, rel=1e-4)
    assert [each.default_rate for each in found.bins] == pytest.approx([0.1, 0.3, 0.6])
    assert found.bins[0].woe_error == pytest.approx(math.sqrt(1 / 10 + 1 / 90))
    assert sum(each.share for each in found.bins) == pytest.approx(1)


def test_nothing_is_said_of_bins_that_noise_may_have_made() -> None:
    (found,) = evidence_of(table([[11, 900], [60, 700], [-4, 3]], sigma=6.0))
    assert [each.woe is None for each in found.bins] == [True, False, True]
    assert found.bins[2].default_rate is None
    assert found.bins[1].woe_error == pytest.approx(math.sqrt(1 / 60 + 1 / 700 + 0.01 + (6 / 700) ** 2))


def test_errors_of_weights_are_their_spread() -> None:
    rng = np.random.default_rng(4)
    truth, sigma = np.array([[120.0, 1200.0], *[[400.0, 1500.0]] * 10]), 8.0
    draws = [
        evidence_of(table((rng.poisson(truth) + rng.normal(0, sigma, truth.shape)).tolist(), sigma)) for _ in range(600)
    ]
    woe = np.array([found[0].bins[0].woe for found in draws])
    stated = np.mean([found[0].bins[0].woe_error for found in draws])
    # The totals over many bins hardly vary, as the stated error takes it.
    assert 0.9 < woe.std() / stated < 1.12


def test_the_exact_curve_has_the_exact_area() -> None:
    rng = np.random.default_rng(5)
    outcomes = rng.integers(0, 2, 3000)
    scores = rng.normal(600, 40, 3000) + 30 * outcomes
    curve = np.array(exact_roc(scores, outcomes))
    assert len(curve) <= 121
    area = float(np.trapezoid(curve[:, 1], curve[:, 0]))
    assert area == pytest.approx(roc_auc_score(outcomes == 0, -scores), abs=0.003)


def test_the_band_holds_the_true_curve_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(6)
    truth = np.array([[80, 40], [120, 160], [150, 500], [90, 1400], [40, 2600], [10, 1800]], dtype=float)
    below = np.vstack([np.zeros((1, 2)), np.cumsum(truth, axis=0)]) / truth.sum(axis=0)
    inside = []
    for seed in range(40):
        counts = rng.poisson(truth) + rng.normal(0, 10.0, truth.shape)
        curve = banded_roc(counts, 10.0, seed=seed)
        at = np.interp(curve.false, below[:, 1], below[:, 0])
        inside.append(np.mean((np.array(curve.low) <= at) & (at <= np.array(curve.high))))
        assert all(low <= true <= high for low, true, high in zip(curve.low, curve.true, curve.high, strict=True))
    assert 0.88 < float(np.mean(inside)) <= 1.0


def test_intervals_of_shares_are_wilsons() -> None:
    for count, bad in ((40, 0), (900, 7), (827, 323)):
        found = wilson(CalibrationRow(count, 0.1, bad / count))
        due = binomtest(bad, count).proportion_ci(0.95, method="wilson")
        assert (found.low, found.high) == pytest.approx((due.low, due.high), abs=1e-6)
