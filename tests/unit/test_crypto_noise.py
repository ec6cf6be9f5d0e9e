import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from crypto.errors import NoiseError, RangeError
from crypto.noise import (
    dequantise,
    discrete_gaussian,
    grid_scale,
    grid_sensitivity,
    quantise,
    share_sigma,
    sum_delta,
)

# OpenDP draws from the operating system: these tests are not seeded. Each p-value limit makes false alarms rarer
# than one in 10^6 runs.
FALSE_ALARM = 1e-7


def pmf(sigma: float, reach: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(-reach, reach + 1)
    weight = np.exp(-(x.astype(float) ** 2) / (2 * sigma**2))
    return x, weight / weight.sum()


@pytest.mark.parametrize("sigma", [2.0, 3.7, 35.4])
def test_samples_follow_the_exact_probabilities(sigma):
    n = 40_000
    samples = discrete_gaussian(n, sigma)
    assert samples.dtype == np.int64
    x, p = pmf(sigma, math.ceil(12 * sigma))
    kept = np.flatnonzero(n * p >= 10)
    inside = x[kept]
    observed = np.array([np.count_nonzero(samples == value) for value in inside])
    observed = np.append(observed, n - observed.sum())
    expected = np.append(n * p[kept], n * (1 - p[kept].sum()))
    assert stats.chisquare(observed, expected).pvalue > FALSE_ALARM


def test_a_wrong_sigma_would_be_noticed():
    n, sigma = 40_000, 3.7
    samples = discrete_gaussian(n, sigma * 1.05)
    # Var of the sample variance of a near-Gaussian: 2σ⁴/n; 5 % in σ is 14 standard errors.
    z = (samples.var() / sigma**2 - 1) / math.sqrt(2 / n)
    assert z > 6


def test_samples_are_uncorrelated_and_bulk_draws_have_the_right_length():
    n = 70_000  # more than one bulk
    samples = discrete_gaussian(n, 5.0)
    assert samples.shape == (n,)
    z = math.sqrt(n - 1) * np.corrcoef(samples[1:], samples[:-1])[0, 1]
    assert abs(z) < 5.4
    assert discrete_gaussian(0, 5.0).shape == (0,)


@pytest.mark.parametrize("sigma", [0.0, 1.99, -3.0, math.nan, math.inf, 2.0**51])
def test_refuses_sigmas_outside_the_argument(sigma):
    with pytest.raises(NoiseError) as refused:
        discrete_gaussian(3, sigma)
    assert refused.value.remedy


def test_shares_without_the_colluding_ones_reach_sigma():
    assert share_sigma(35.4, 24, 2) * math.sqrt(22) == pytest.approx(35.4)
    for n, t in [(3, 0), (3, 3), (1, 1), (0, 1)]:
        with pytest.raises(NoiseError):
            share_sigma(1.0, n, t)
    with pytest.raises(NoiseError):
        share_sigma(math.inf, 3, 1)


def test_grid_scale_is_the_smallest_power_of_two():
    assert [grid_scale(s) for s in (2.0, 50.0, 1.99, 1.0, 0.56, 0.49)] == [1, 1, 2, 2, 4, 8]
    for bad in (0.0, -1.0, math.nan, 1e-9):
        with pytest.raises(NoiseError):
            grid_scale(bad)


@pytest.mark.parametrize("sigma", [0.75, 0.9, 1.1])
@pytest.mark.parametrize("shares", [2, 3, 5])
def test_the_bound_on_sums_holds_for_exact_convolutions(sigma, shares):
    """Where the distance is large enough to be computed in doubles, it is below the theorem's bound."""
    reach = 40
    _, one = pmf(sigma, reach)
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    _, ideal = pmf(sigma * math.sqrt(shares), reach * shares)
    distance = 0.5 * np.abs(total - ideal).sum()
    assert 1e-12 < distance <= sum_delta(sigma, shares, 1)


def test_the_bound_is_negligible_at_the_smallest_share_and_grows_with_cells():
    assert 0 < sum_delta(2.0, 24, 50_000) < 1e-11
    assert sum_delta(2.0, 24, 200) == pytest.approx(200 * sum_delta(2.0, 24, 1))
    assert sum_delta(2.0, 1, 100) == 0.0
    assert sum_delta(0.8, 24, 10**9) <= 1.0
    for args in [(0.7, 3, 1), (math.nan, 3, 1), (2.0, 0, 1), (2.0, 3, -1)]:
        with pytest.raises(NoiseError):
            sum_delta(*args)


def test_quantise_rounds_to_nearest_and_refuses_what_does_not_fit():
    q = quantise(np.array([0.24, -0.26, 0.25, 0.75]), 0.5)
    assert q.tolist() == [0, -1, 0, 2]
    assert np.allclose(dequantise(q, 0.5), [0, -0.5, 0, 1])
    for bad in (math.nan, math.inf, 1e17):
        with pytest.raises(RangeError):
            quantise(np.array([0.0, bad]), 1.0)
    with pytest.raises(RangeError):
        quantise(np.array([11.0]), 1.0, limit=10)
    with pytest.raises(RangeError):
        quantise(np.array([1.0]), 0.0)


def test_rounding_never_moves_a_sum_further_than_the_sensitivity():
    rng = np.random.default_rng(3)
    grid, clip, n = 0.1, 1.0, 50
    worst = 0.0
    for _ in range(200):
        rest, one = rng.normal(size=n), rng.normal(size=n)
        one *= clip / np.linalg.norm(one)
        moved = quantise(rest + one, grid) - quantise(rest, grid)
        worst = max(worst, float(np.linalg.norm(moved)))
    assert clip / grid < worst <= grid_sensitivity(clip, grid, n)
    assert grid_sensitivity(clip, grid, n, replace_one=True) == 2 * grid_sensitivity(clip, grid, n)


def test_drawing_noise_loads_no_learning_library() -> None:
    """An agent draws noise; `opendp.prelude` would load scikit-learn into it."""
    program = (
        "import sys; from crypto.noise import discrete_gaussian; drawn = discrete_gaussian(100, 5.5);"
        "print(len(drawn), [name for name in ('sklearn', 'polars', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "100 []"
