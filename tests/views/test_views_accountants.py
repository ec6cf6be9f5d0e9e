"""The accountant against what is exactly known, and against two other libraries' accountants: never below the truth."""

from __future__ import annotations

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.rdp import rdp_privacy_accountant
from opacus.accountants import PRVAccountant, RDPAccountant
from scipy.optimize import brentq

from models.accounting import calibrate_tables, epsilon_of, gdp_epsilon, gdp_mu
from models.mechanisms import DiscreteGaussianCells, GaussianRounds

DELTA = 1e-5
PRV_ERROR = 0.01
PRV_WIDTH = 2.2 * PRV_ERROR
"""Opacus's PRV accountant gives the upper end of an interval of ε: its error to either side, and what δ's own adds."""


def sum_pmf(sigma: float, count: int, reach: float = 14.0) -> tuple[np.ndarray, np.ndarray]:
    """Support and probabilities of the sum of `count` independent discrete Gaussians, by convolution."""
    half = math.ceil(reach * sigma)
    x = np.arange(-half, half + 1, dtype=float)
    one = np.exp(-(x**2) / (2 * sigma**2))
    total = one = one / one.sum()
    for _ in range(count - 1):
        total = np.convolve(total, one)
    return np.arange(-half * count, half * count + 1, dtype=float), total


def exact_delta(epsilon: float, cells: list[tuple[float, int, int]]) -> float:
    """δ(ε) of a product of discrete Gaussians in closed form.

    A cell whose noise is x on the grid has the loss ((x + s)² − x²) / 2σ² = s(2x + s) / 2σ², so the loss of `count`
    cells depends on their noise's sum alone, whose distribution is a convolution; δ is the mean of (1 − e^(ε − loss))⁺.

    Args:
        epsilon: ε.
        cells: σ on the grid, scale and count of one or two sorts of cells.
    """
    losses: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for sigma, scale, count in cells:
        total, probability = sum_pmf(sigma, count)
        losses.append(scale * (2 * total + scale * count) / (2 * sigma**2))
        weights.append(probability)
    loss = losses[0] if len(cells) == 1 else losses[0][:, None] + losses[1][None, :]
    weight = weights[0] if len(cells) == 1 else weights[0][:, None] * weights[1][None, :]
    above = loss > epsilon
    return float((weight[above] * -np.expm1(epsilon - loss[above])).sum())


def exact_epsilon(delta: float, cells: list[tuple[float, int, int]]) -> float:
    return float(brentq(lambda epsilon: exact_delta(epsilon, cells) - delta, 1e-6, 60.0, xtol=1e-7))


@pytest.mark.parametrize("delta", [1e-5, 1e-3])
@pytest.mark.parametrize(
    "cells",
    [
        [(4.0, 1, 1)],
        [(4.0, 1, 3)],
        [(2.0, 2, 5), (3.0, 1, 10)],
        [(6.0, 1, 5), (9.0, 2, 10)],
        [(5.2, 4, 2), (8.0, 4, 1)],
    ],
)
def test_composed_cells_cost_what_their_exact_distribution_says(
    cells: list[tuple[float, int, int]], delta: float
) -> None:
    ours = epsilon_of([DiscreteGaussianCells(sigma / scale, count, scale) for sigma, scale, count in cells], delta)
    exact = exact_epsilon(delta, cells)
    assert exact * (1 - 1e-6) <= ours <= exact * 1.005


def test_the_calibrated_table_is_exactly_within_its_budget() -> None:
    """Class and pair cells of five features together, as a campaign of the small schema opens them."""
    noise = calibrate_tables(5, 3.0, DELTA)
    cells = [(each.sigma * each.scale, each.scale, each.count) for each in noise.mechanisms]
    assert exact_delta(3.0, cells) <= DELTA
    assert exact_epsilon(DELTA, cells) == pytest.approx(3.0, rel=0.005)
    halved = [(sigma / 2, scale, count) for sigma, scale, count in cells]
    assert exact_delta(3.0, halved) > 100 * DELTA


@pytest.mark.parametrize(("sigma", "rounds"), [(1.2, 1), (4.0, 10), (20.0, 60), (60.0, 100)])
def test_full_rounds_lie_between_the_closed_form_and_renyi_accountants(sigma: float, rounds: int) -> None:
    ours = epsilon_of([GaussianRounds(sigma, rounds)], DELTA)
    tight = gdp_epsilon(math.sqrt(rounds) / sigma, DELTA)
    assert tight * (1 - 1e-6) <= ours <= tight * 1.01
    assert ours <= renyi_of_opacus(sigma, 1.0, rounds)
    assert ours <= renyi_of_google(sigma, 1.0, rounds)
    upper = prv_of_opacus(sigma, 1.0, rounds)
    assert upper - PRV_WIDTH <= ours <= upper


@pytest.mark.parametrize(("sigma", "rate", "rounds"), [(1.0, 0.05, 60), (2.0, 0.1, 100), (4.0, 0.5, 60)])
def test_sampled_rounds_lie_between_prv_and_renyi_accountants(sigma: float, rate: float, rounds: int) -> None:
    """Of the sampled mechanism no closed form is known: Opacus's PRV accountant states an interval that ε is in."""
    ours = epsilon_of([GaussianRounds(sigma, rounds, rate)], DELTA)
    upper = prv_of_opacus(sigma, rate, rounds)
    assert upper - PRV_WIDTH <= ours <= upper
    assert ours <= renyi_of_opacus(sigma, rate, rounds)
    assert ours <= renyi_of_google(sigma, rate, rounds)
    assert ours < epsilon_of([GaussianRounds(sigma, rounds)], DELTA)


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_a_campaign_of_table_and_rounds_is_not_below_the_gaussian_closed_form(epsilon: float) -> None:
    table = calibrate_tables(10, epsilon, DELTA).mechanisms
    both = [*table, GaussianRounds(30.0, 60)]
    tight = gdp_epsilon(gdp_mu(both), DELTA)
    ours = epsilon_of(both, DELTA)
    assert (
        tight * 0.999 <= ours <= tight * 1.01
    )  # a discrete Gaussian's loss may be a trifle below the continuous one's


def renyi_of_opacus(sigma: float, rate: float, rounds: int) -> float:
    accountant = RDPAccountant()
    accountant.history = [(sigma, rate, rounds)]
    return float(accountant.get_epsilon(DELTA))


def prv_of_opacus(sigma: float, rate: float, rounds: int) -> float:
    accountant = PRVAccountant()
    accountant.history = [(sigma, rate, rounds)]
    return float(accountant.get_epsilon(DELTA, eps_error=PRV_ERROR))


def renyi_of_google(sigma: float, rate: float, rounds: int) -> float:
    event = dp_accounting.GaussianDpEvent(sigma)
    sampled = dp_accounting.PoissonSampledDpEvent(rate, event) if rate < 1 else event
    accountant = rdp_privacy_accountant.RdpAccountant()
    accountant.compose(dp_accounting.SelfComposedDpEvent(sampled, rounds))
    return float(accountant.get_epsilon(DELTA))
