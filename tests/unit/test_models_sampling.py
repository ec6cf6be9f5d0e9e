"""Poisson sampling of rows: the coins, and what sampled rounds cost."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable

import numpy as np
import pytest
from opacus.accountants import PRVAccountant
from scipy.stats import binom, chi2

from models.accounting import epsilon_of, gdp_epsilon, gdp_mu, tables_mechanisms
from models.dpsgd import clipped_gradient_sum
from models.encoder import build
from models.encoder_spec import EncoderSpec, calibrate_rounds, on_fine_grid, sampled_multiplier
from models.errors import BudgetError, DataError
from models.mechanisms import DiscreteGaussianCells, GaussianRounds
from models.sampling import poisson_sample

DELTA = 1e-5
WIDTHS = (6, 4, 3)


def seeded(seed: int) -> Callable[[int], bytes]:
    return np.random.default_rng(seed).bytes


def spec_of(**options: object) -> EncoderSpec:
    return EncoderSpec.model_validate({"widths": WIDTHS, "ordered": (5, 3, 0), **options})


# Who takes part.


def test_a_coin_is_one_word_below_the_rate() -> None:
    words = np.array([0, (1 << 62) - 1, 1 << 62, (1 << 64) - 1], dtype="<u8")
    assert poisson_sample(4, 0.25, lambda n: words.tobytes()).tolist() == [True, True, False, False]
    assert poisson_sample(4, math.nextafter(1.0, 0.0), lambda n: words.tobytes()).tolist() == [True, True, True, False]


def test_nobody_tosses_where_all_take_part_or_nobody_is_there() -> None:
    def none(_: int) -> bytes:
        raise AssertionError

    assert poisson_sample(3, 1.0, none).all()
    assert poisson_sample(0, 0.5, none).shape == (0,)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_rates_out_of_range_and_short_coins_are_refused(rate: float) -> None:
    with pytest.raises(DataError):
        poisson_sample(3, rate, secrets.token_bytes)
    with pytest.raises(DataError):
        poisson_sample(3, 0.5, lambda n: b"\0" * (n - 1))


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.9])
def test_rows_take_part_independently_at_the_rate(rate: float) -> None:
    """Counts per round follow the binomial, as do counts per row, and neighbours know nothing of each other."""
    coins = seeded(7)
    taken = np.stack([poisson_sample(200, rate, coins) for _ in range(2000)])
    for axis, n in ((1, 200), (0, 2000)):
        counts = taken.sum(axis=axis)
        edges = np.unique(binom.ppf(np.linspace(0.05, 0.95, 8), n, rate))
        expected = np.diff(np.concatenate(([0.0], binom.cdf(edges, n, rate), [1.0]))) * len(counts)
        observed = np.bincount(np.searchsorted(edges, counts, side="left"), minlength=len(edges) + 1)
        statistic = float(((observed - expected) ** 2 / expected).sum())
        assert chi2.sf(statistic, len(edges)) > 1e-3
    both = (taken[:, 1:] & taken[:, :-1]).mean()
    assert both == pytest.approx(rate**2, abs=5 * rate / math.sqrt(taken.size))


def test_rows_that_sit_out_add_nothing_and_change_nobody_else() -> None:
    spec = spec_of(hidden=(4,), grid=2.0**-20)
    rng = np.random.default_rng(3)
    codes = np.stack([rng.integers(0, width, 60) for width in WIDTHS], axis=1).astype(np.uint8)
    outcome = rng.integers(0, 3, 60).astype(np.uint8)
    taken = rng.random(60) < 0.4
    module = build(spec)

    def total(part: np.ndarray) -> np.ndarray:
        return clipped_gradient_sum(module, codes, outcome, clip=spec.clip, grid=spec.grid, taking_part=part)

    assert np.array_equal(total(taken) + total(~taken), total(np.ones(60, dtype=np.bool_)))
    for row in range(0, 60, 7):
        other = taken.copy()
        other[row] = not other[row]
        change = total(other) - total(taken)
        assert np.linalg.norm(change) <= spec.sensitivity
    with pytest.raises(DataError):
        total(taken[:-1])


# What it costs.


@pytest.mark.parametrize(("z", "rate", "rounds"), [(1.0, 0.1, 63), (5.6, 0.5, 63), (2.0, 0.01, 63)])
def test_sampled_rounds_agree_with_opacus_within_one_percent(z: float, rate: float, rounds: int) -> None:
    opacus = PRVAccountant()
    for _ in range(rounds):
        opacus.step(noise_multiplier=z, sample_rate=rate)
    ours = epsilon_of([GaussianRounds(z, rounds, rate)], DELTA)
    assert ours == pytest.approx(opacus.get_epsilon(DELTA, eps_error=1e-3), rel=0.01)


def test_sampling_costs_less_than_full_participation_and_nothing_is_free_near_one() -> None:
    full = epsilon_of([GaussianRounds(6.0, 63)], DELTA)
    costs = [epsilon_of([GaussianRounds(6.0, 63, rate)], DELTA) for rate in (0.1, 0.5, 0.999)]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(full, rel=0.005)
    assert costs[-1] <= full * 1.0001
    assert epsilon_of([GaussianRounds(6.0, 63, 0.5)], DELTA, adjacency="replace-one") > 1.9 * costs[1]
    for rate in (0.0, 1.5, -0.5):
        with pytest.raises(BudgetError):
            epsilon_of([GaussianRounds(6.0, 63, rate)], DELTA)


def test_the_central_limit_is_near_where_many_rounds_of_much_noise_compose() -> None:
    rounds = GaussianRounds(8.0, 400, 0.5)
    assert gdp_epsilon(gdp_mu([rounds]), DELTA) == pytest.approx(epsilon_of([rounds], DELTA), rel=0.03)


def test_calibration_meets_the_budget_tightly() -> None:
    rate = 0.5
    spec = spec_of(sampling_rate=rate, rounds=20)
    noise = calibrate_rounds(spec, 3.0, DELTA)
    assert 0.995 * 3.0 < noise.epsilon_pld <= 3.0
    assert noise.mechanisms == (GaussianRounds(noise.sigma_over_sensitivity, 23, rate),)
    assert noise.sigma_over_sensitivity < calibrate_rounds(spec_of(rounds=20), 3.0, DELTA).sigma_over_sensitivity
    assert noise.epsilon_replace_one > noise.epsilon_pld
    assert on_fine_grid(spec, 3.0, DELTA).grid <= spec.grid


def test_calibration_leaves_room_for_other_stages() -> None:
    tables: tuple[DiscreteGaussianCells, ...] = tables_mechanisms(4, 12.0, 20.0)
    alone = sampled_multiplier(3.0, DELTA, 23, 0.5)
    beside = sampled_multiplier(3.0, DELTA, 23, 0.5, beside=tables)
    assert beside > alone
    assert 2.99 < epsilon_of([GaussianRounds(beside, 23, 0.5), *tables], DELTA) <= 3.0
    with pytest.raises(BudgetError, match="sampled rounds cannot stay"):
        sampled_multiplier(0.5, DELTA, 23, 0.5, beside=tables)
