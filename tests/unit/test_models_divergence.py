"""Information value and stability index from noisy counts: intervals hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.divergence import divergence
from models.errors import DataError
from models.evidence import rate_of
from models.tables import FloatArray

EVEN = np.full(10, 0.1)
SLOPE = np.linspace(-1, 1, 10)
SKEWED = np.array([0.4, 0.25, 0.15, 0.08, 0.05, 0.03, 0.02, 0.01, 0.007, 0.003])
RARE_RISK = np.array([-0.5, -0.3, 0, 0.3, 0.6, 1, 1.3, 1.6, 1.8, 2])


def truth(g: FloatArray, h: FloatArray, classes: tuple[int, ...]) -> float:
    first, second = np.bincount(classes, g), np.bincount(classes, h)
    return float(((first - second) * np.log(first / second)).sum())


def two(shares: FloatArray, slope: FloatArray, strength: float) -> tuple[FloatArray, FloatArray]:
    g, h = shares * np.exp(-strength * slope / 2), shares * np.exp(strength * slope / 2)
    return g / g.sum(), h / h.sum()


CASES = {
    "information value, ε = 3": (EVEN, SLOPE, 0.8, 20_000, 2_000, 6.2, 6.2),
    "strong, ε = 1": (EVEN, SLOPE, 1.6, 20_000, 2_000, 16.7, 16.7),
    "weak, ε = 1": (EVEN, SLOPE, 0.3, 20_000, 2_000, 16.7, 16.7),
    "rare bins, ε = 1": (SKEWED, RARE_RISK, 1.0, 20_000, 2_000, 16.7, 16.7),
    "rare bins, few defaults": (SKEWED, RARE_RISK, 1.0, 3_000, 300, 6.2, 6.2),
    "stability of two campaigns": (EVEN, SLOPE, 0.3, 20_000, 20_000, 9.0, 9.0),
    "a small move": (EVEN, SLOPE, 0.1, 20_000, 20_000, 9.0, 9.0),
    "own exact counts against a table": (EVEN, SLOPE, 0.3, 20_000, 1_500, 24.0, 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_intervals_hold_the_truth_nineteen_times_in_twenty(name: str) -> None:
    """2,000 tables each: 95 % ± 2 of the intervals hold what the populations' own shares give."""
    shares, slope, strength, many, few, sigma, other = CASES[name]
    g, h = two(shares, slope, strength)
    rng = np.random.default_rng(11)
    held, found, due = 0, [], []
    for _ in range(2000):
        one = rng.multinomial(many, g) + np.rint(rng.normal(0, sigma, len(g)))
        second = rng.multinomial(few, h) + np.rint(rng.normal(0, other, len(h)))
        stated = divergence(one, second, (sigma, other))
        assert stated is not None
        real = truth(g, h, stated.classes)
        held += stated.low <= real <= stated.high
        found.append(stated.value)
        due.append(real)
        assert stated.low <= stated.value <= stated.high or stated.value == 0
    assert 0.93 <= held / 2000 <= 0.97
    # The bias is gone: what is left of it is a small part of the spread of one table's figure.
    assert abs(np.mean(found) - np.mean(due)) < 0.15 * float(np.std(found))


@pytest.mark.parametrize("sigma", [0.0, 6.2, 16.7])
def test_where_nothing_differs_nothing_is_shown(sigma: float) -> None:
    """Under no difference the interval begins at 0 in about 97.5 % of all tables; the raw index is never 0."""
    rng = np.random.default_rng(12)
    shown = 0
    for _ in range(2000):
        one = rng.multinomial(20_000, EVEN) + rng.normal(0, sigma, 10)
        second = rng.multinomial(2_000, EVEN) + rng.normal(0, sigma, 10)
        stated = divergence(one, second, (sigma, sigma))
        assert stated is not None
        assert stated.raw > 0
        # However small the index came out by luck, the interval has its width.
        assert stated.high > 0.0005
        shown += stated.beyond_noise
    assert 0.015 <= shown / 2000 <= 0.04


def test_exact_large_counts_give_the_textbook_value() -> None:
    bad, good = np.array([10.0, 30, 60]) * 1e5, np.array([90.0, 70, 40]) * 1e5
    stated = divergence(good, bad, (0.0, 0.0))
    assert stated is not None
    due = 0.35 * math.log(4.5) + 0.05 * math.log(7 / 6) - 0.4 * math.log(1 / 3)
    assert stated.value == pytest.approx(due, rel=1e-4)
    assert stated.classes == (0, 1, 2)


def test_bins_that_the_noise_drowns_are_taken_together_with_neighbours() -> None:
    bad, good = np.array([30.0] * 8), np.array([3000.0] * 8)
    stated = divergence(good, bad, (9.0, 9.0), order=[7, 6, 5, 4, 3, 2, 1, 0])
    assert stated is not None
    assert stated.classes == (3, 3, 2, 2, 1, 1, 0, 0)
    assert divergence(good, bad, (60.0, 60.0)) is None
    assert divergence(good, np.array([-3.0] * 8), (6.0, 6.0)) is None


def test_histograms_over_other_bins_are_refused() -> None:
    with pytest.raises(DataError, match="shapes"):
        divergence(np.ones(3), np.ones(4), (0.0, 0.0))


@pytest.mark.parametrize(
    ("bad", "good", "sigma"), [(100, 1900, 6.2), (400, 600, 16.7), (30, 470, 0.0), (20, 700, 10.0)]
)
def test_intervals_of_rates_hold_the_rate(bad: int, good: int, sigma: float) -> None:
    rng = np.random.default_rng(13)
    size, rate, held = bad + good, bad / (bad + good), 0
    for _ in range(3000):
        p = rng.binomial(size, rate)
        stated = rate_of(p + rng.normal(0, sigma), size - p + rng.normal(0, sigma), sigma)
        assert stated is not None
        held += stated.low <= rate <= stated.high
    assert 0.93 <= held / 3000 <= 0.97
