"""Parallel composition: merchants of one stage are not those of the other."""

from __future__ import annotations

from itertools import product

import pytest

from models.accounting import calibrate_cells, epsilon_of, gdp_mu, usable_delta
from models.errors import BudgetError
from models.mechanisms import Adjacency, DiscreteGaussianCells, GaussianRounds, Parallel

DELTA = 1e-5
TRAINING = (DiscreteGaussianCells(12.0, 10), DiscreteGaussianCells(30.0, 45))
EVALUATION = (DiscreteGaussianCells(2.0, 1, 2),)


@pytest.mark.parametrize("adjacency", ["replaced-by-empty", "replace-one"])
def test_one_campaign_costs_the_dearer_of_its_populations(adjacency: Adjacency) -> None:
    parts = [epsilon_of(part, DELTA, adjacency=adjacency) for part in (TRAINING, EVALUATION)]
    assert epsilon_of([Parallel((TRAINING, EVALUATION))], DELTA, adjacency=adjacency) == max(parts)
    assert gdp_mu([Parallel((TRAINING, EVALUATION))]) == max(gdp_mu(TRAINING), gdp_mu(EVALUATION))


def test_campaigns_cover_every_way_in_which_a_merchant_meets_them() -> None:
    """A merchant may train one campaign's model and be held out of the next one's."""
    rounds = (GaussianRounds(12.0, 50),)
    campaigns = [(TRAINING, EVALUATION), (rounds, (DiscreteGaussianCells(2.5, 2, 2),))]
    total = epsilon_of([Parallel(each) for each in campaigns], DELTA)
    ways = [epsilon_of([*first, *second], DELTA) for first, second in product(*campaigns)]
    assert max(ways) <= total <= max(ways) + 0.02


def test_with_further_mechanisms_it_costs_no_less_than_its_dearer_part() -> None:
    other = DiscreteGaussianCells(20.0, 30)
    dominated = (DiscreteGaussianCells(40.0, 1),)
    alone = epsilon_of([*TRAINING, other], DELTA)
    total = epsilon_of([Parallel((TRAINING, dominated)), other], DELTA)
    assert alone - 1e-9 <= total <= alone + 1e-3


def test_a_part_without_noise_has_no_bound() -> None:
    assert epsilon_of([Parallel((TRAINING, (DiscreteGaussianCells(0.0, 1),)))], DELTA) == float("inf")


@pytest.mark.parametrize(("count", "epsilon"), [(1, 1.0), (1, 3.0), (4, 3.0)])
def test_a_histograms_noise_is_the_least_within_its_budget(count: int, epsilon: float) -> None:
    cells = calibrate_cells(count, epsilon, DELTA, delta_sum=1e-9, scale_of=lambda sigma: 4)
    usable = usable_delta(epsilon, DELTA, 1e-9)
    assert cells.count == count
    assert epsilon_of([cells], usable) <= epsilon
    assert epsilon_of([DiscreteGaussianCells(cells.sigma * 0.97, count, 4)], usable) > epsilon


def test_a_histogram_touches_a_cell() -> None:
    with pytest.raises(BudgetError):
        calibrate_cells(0, 3.0, DELTA)
