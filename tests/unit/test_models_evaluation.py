from __future__ import annotations

import numpy as np
import pytest

from models.codes import DEFAULTED, PERFORMING, UNLABELLED
from models.errors import DataError
from models.evaluation import (
    SCORE_EDGES,
    auc,
    bin_labels,
    calibration_table,
    histogram_metrics,
    ks,
    parity,
    score_histogram,
)


def scored(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    outcomes = np.where(rng.random(rows) < 0.1, DEFAULTED, PERFORMING).astype(np.uint8)
    scores = np.clip(np.rint(rng.normal(np.where(outcomes == DEFAULTED, 560, 640), 60)), 300, 850).astype(np.int64)
    return scores, outcomes


def test_auc_and_ks_of_a_small_case_by_hand() -> None:
    scores = np.array([400, 500, 500, 600, 700])
    outcomes = np.array([DEFAULTED, DEFAULTED, PERFORMING, PERFORMING, UNLABELLED])
    assert auc(scores, outcomes) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert ks(scores, outcomes) == pytest.approx(0.5)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(DataError, match="no merchants"):
        auc(np.array([1, 2]), np.array([PERFORMING, UNLABELLED]))


def test_calibration_table_keeps_every_merchant_once() -> None:
    rng = np.random.default_rng(1)
    pd = rng.beta(1, 9, 5_000)
    outcomes = np.where(rng.random(5_000) < pd, DEFAULTED, PERFORMING)
    rows = calibration_table(pd, outcomes)
    assert len(rows) == 10
    assert sum(row.count for row in rows) == 5_000
    assert [row.predicted for row in rows] == sorted(row.predicted for row in rows)
    assert all(row.observed == pytest.approx(row.predicted, abs=0.05) for row in rows)


def test_parity_shows_the_group_that_is_treated_otherwise() -> None:
    rng = np.random.default_rng(2)
    groups = np.where(rng.random(4_000) < 0.5, "hotel", "shop")
    pd = np.where(groups == "shop", 0.05, 0.15) * rng.uniform(0.8, 1.2, 4_000)
    outcomes = np.where(rng.random(4_000) < 0.1, DEFAULTED, PERFORMING)
    hotel, shop = parity(pd, outcomes, groups)
    assert (hotel.group, shop.group) == ("hotel", "shop")
    assert shop.approved == 1.0
    assert hotel.approved == 0.0
    assert hotel.auc == pytest.approx(0.5, abs=0.06)
    assert hotel.count + shop.count == 4_000


def test_a_histogram_gives_nearly_the_exact_auc_and_ks() -> None:
    scores, outcomes = scored(20_000, 3)
    counts = score_histogram(scores, outcomes)
    assert counts.shape == (len(SCORE_EDGES) + 1, 2) == (len(bin_labels()), 2)
    assert counts.sum() == 20_000
    metrics = histogram_metrics(counts, 0.0)
    assert metrics.auc.value == pytest.approx(auc(scores, outcomes), abs=0.005)
    assert metrics.ks.value == pytest.approx(ks(scores, outcomes), abs=0.02)
    assert metrics.auc.low < metrics.auc.value < metrics.auc.high
    assert metrics == histogram_metrics(counts, 0.0)


def test_edges_of_the_histogram_belong_to_the_lower_bin() -> None:
    counts = score_histogram(np.array([300, 325, 326, 850]), np.array([0, 0, 1, 1]))
    assert counts[0].tolist() == [2, 0]
    assert counts[1].tolist() == [0, 1]
    assert counts[-1].tolist() == [0, 1]


def test_noise_widens_the_interval_which_covers_the_truth() -> None:
    truth = 0.5 + 0.5 * 0.6542  # normal classes 80/60 standard deviations apart: Φ(0.9428) = 0.827
    rng = np.random.default_rng(4)
    covered = 0
    for seed in range(20):
        counts = score_histogram(*scored(8_000, 100 + seed))
        noisy = np.rint(counts + rng.normal(0, 6, counts.shape))
        metrics = histogram_metrics(noisy, 6.0)
        covered += metrics.auc.low - 0.01 <= truth <= metrics.auc.high + 0.01
        exact = histogram_metrics(counts, 0.0)
        assert metrics.auc.high - metrics.auc.low > exact.auc.high - exact.auc.low
    assert covered >= 16


def test_malformed_histograms_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        histogram_metrics(np.zeros((5, 3)), 1.0)
    with pytest.raises(DataError, match="one class"):
        histogram_metrics(np.array([[0, 5], [-2, 7]]), 1.0)
