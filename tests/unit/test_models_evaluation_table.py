"""Figures of a noisy histogram: what they are without noise, and how often their intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import DataError
from models.evaluation import auc, ks
from models.evaluation_table import Evaluated, evaluation_result

BANDS = 20
EDGES = tuple(range(500, 500 + 10 * (BANDS - 1), 10))
GROUPS = {"size": ("small", "large", "missing")}


def about(sigma: float, groups: dict[str, tuple[str, ...]] | None = None, edges: tuple[int, ...] = EDGES) -> Evaluated:
    return Evaluated(
        model_id="sha256:" + "0" * 64,
        campaign="c1",
        attempt="c1/evaluation/1",
        noise="on" if sigma else "off",
        edges=edges,
        pds=tuple(0.3 / (1 + band) for band in range(len(edges) + 1)),
        groups=groups or {},
        sigma=sigma,
        epsilon=1.0 if sigma else None,
        delta=1e-5 if sigma else None,
        nodes=3,
    )


def world() -> tuple[NDArray[np.float64], float]:
    """Shares of band by outcome, and the AUC of the population, ties halved."""
    at = np.arange(BANDS)
    bad, good = np.exp(-0.12 * at), np.exp(-0.5 * ((at - 12) / 6) ** 2)
    bad, good = bad / bad.sum(), good / good.sum()
    above = 1 - np.cumsum(good)
    return np.stack([bad, good], axis=1), float((bad * (above + good / 2)).sum())


def test_without_noise_the_figures_are_those_of_the_merchants() -> None:
    rng = np.random.default_rng(3)
    outcome = (rng.random(3000) < 0.85).astype(np.uint8)
    scores = np.where(outcome == 0, rng.integers(450, 620, 3000), rng.integers(480, 740, 3000))
    edges = tuple(range(450, 740))
    cells = np.zeros((len(edges) + 1, 2))
    np.add.at(cells, (np.searchsorted(edges, scores), outcome), 1)
    found = evaluation_result(about(0.0, edges=edges), cells, [])
    assert found.auc.value == pytest.approx(auc(scores, outcome), abs=1e-12)
    assert found.auc.low < found.auc.value < found.auc.high < found.auc.low + 0.06
    assert found.ks.value == pytest.approx(ks(scores, outcome), abs=0.02)
    assert sum(band.count_bad for band in found.bands) == int((outcome == 0).sum())


@pytest.mark.parametrize(("sigma", "defaults", "others"), [(3.0, 600, 8000), (15.0, 600, 8000), (3.0, 150, 1500)])
def test_intervals_of_auc_and_ks_hold_the_truth_as_often_as_they_say(sigma: float, defaults: int, others: int) -> None:
    shares, truth = world()
    below = np.cumsum(shares, axis=0)
    largest = float(np.abs(below[:, 0] - below[:, 1]).max())
    rng = np.random.default_rng(7)
    held = {"auc": 0, "ks": 0}
    for _ in range(400):
        counts = np.stack([rng.multinomial(n, shares[:, k]) for k, n in ((0, defaults), (1, others))], axis=1)
        found = evaluation_result(about(sigma), counts + rng.normal(0, sigma, counts.shape), [])
        held["auc"] += found.auc.low <= truth <= found.auc.high
        held["ks"] += found.ks.low <= largest <= found.ks.high
    assert 0.92 <= held["auc"] / 400 <= 0.98
    assert held["ks"] / 400 >= 0.90


def test_observed_rates_hold_the_truth_where_they_are_given() -> None:
    shares, _ = world()
    rng = np.random.default_rng(11)
    given = held = 0
    for _ in range(150):
        counts = np.stack([rng.multinomial(n, shares[:, k]) for k, n in ((0, 1500), (1, 9000))], axis=1)
        found = evaluation_result(about(5.0), counts + rng.normal(0, 5.0, counts.shape), [])
        for band, (bad, good) in zip(found.bands, shares, strict=True):
            if band.observed is not None:
                rate = 1500 * bad / (1500 * bad + 9000 * good)
                given += 1
                held += band.observed.low <= rate <= band.observed.high
    assert given > 150 * 15
    assert 0.91 <= held / given <= 0.99


def test_a_rate_that_noise_carried_below_zero_has_an_interval_of_its_own() -> None:
    counts = np.full((BANDS, 2), 100.0)
    counts[3] = (-12.0, 80.0)
    observed = evaluation_result(about(5.0), counts, []).bands[3].observed
    assert observed is not None
    assert (observed.value, observed.low) == (0.0, 0.0)
    assert 0.05 < observed.high < 0.25


def test_where_noise_drowns_a_count_nothing_is_said() -> None:
    rng = np.random.default_rng(5)
    shares, _ = world()
    large = np.stack([600 * shares[:, 0], 6000 * shares[:, 1]], axis=1)
    part = np.stack([large, large, np.zeros_like(large)], axis=2)
    sigma = 4.0
    found = evaluation_result(about(sigma, GROUPS), 2 * large, [part + rng.normal(0, sigma, part.shape)])
    small, other, missing = found.groups["size"]
    for group in (small, other):
        assert group.auc is not None
        assert group.approved is not None
        assert group.default_rate is not None
        assert group.default_rate.low < 600 / 6600 < group.default_rate.high
    assert (missing.auc, missing.approved, missing.default_rate, missing.mean_pd) == (None, None, None, None)
    nothing = evaluation_result(about(50.0), rng.normal(0, 50.0, (BANDS, 2)) * 0.1, [])
    assert (nothing.auc.low, nothing.auc.high) == (0.0, 1.0)


def test_same_counts_give_same_figures() -> None:
    shares, _ = world()
    counts = np.stack([500 * shares[:, 0], 5000 * shares[:, 1]], axis=1)
    assert evaluation_result(about(3.0), counts, []) == evaluation_result(about(3.0), counts, [])


def test_counts_of_other_bands_are_refused() -> None:
    with pytest.raises(DataError):
        evaluation_result(about(1.0), np.ones((BANDS - 1, 2)), [])
