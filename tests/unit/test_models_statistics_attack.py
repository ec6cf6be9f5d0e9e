"""A differencing attack on programme statistics: reports with and without one merchant tell no more than ε allows.

The attacker knows everything but whether one merchant is in the data, sees a report of everybody and one of a subgroup,
over the year, and sums up what all changed cells say (the best test there is between two Gaussian hypotheses).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.accounting import calibrate_cells, epsilon_of
from models.mechanisms import DiscreteGaussianCells
from tests.statistics_world import FEATURES, Programme

DELTA = 1e-5
TRIALS = 20_000


def advantage(touched: int, sigma: float, reports: int, rng: np.random.Generator) -> tuple[float, float]:
    """Rates at which the best test says "in": of those who are in, and of those who are not."""
    score = rng.normal(0.0, sigma * math.sqrt(touched * reports), (2, TRIALS))
    score[0] += touched * reports
    cut = touched * reports / 2
    return float((score[0] > cut).mean()), float((score[1] > cut).mean())


def test_a_merchant_changes_one_cell_of_each_block_and_the_attack_has_no_more_to_go_by() -> None:
    """With the same coins for the others: the report with the merchant minus the report without it."""
    whole = Programme(400, seed=101)
    part = Programme(400, seed=101)
    merchant = int(np.flatnonzero(np.isfinite(whole.values["subsidy"]) & (whole.overdue == 1))[0])
    part.banked[merchant] = part.at_office[merchant] = False
    with_it = whole.table(np.random.default_rng(1)).to_vector()
    without = part.table(np.random.default_rng(1)).to_vector()
    choice = FEATURES.choice(2025)
    changed = np.abs(with_it - without)
    # Its groups by class stay (the platform still holds it); every block with bank or office loses it.
    assert changed.max() == 1
    assert changed.sum() == choice.touched - len(FEATURES.groups)


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_differencing_two_reports_gains_no_more_than_the_composed_epsilon(epsilon: float) -> None:
    touched = FEATURES.choice(2025).touched
    cells = calibrate_cells(touched, epsilon, DELTA)
    rng = np.random.default_rng(7)
    for reports in (1, 2, 4):  # everybody; and a subgroup that holds the merchant; and both again next quarter
        composed = epsilon_of([DiscreteGaussianCells(cells.sigma, touched)] * reports, DELTA)
        hit, false = advantage(touched, cells.sigma, reports, rng)
        slack = 5 * math.sqrt(0.25 / TRIALS)
        assert hit - slack <= math.exp(composed) * (false + slack) + DELTA
        assert (1 - false) - slack <= math.exp(composed) * (1 - hit + slack) + DELTA
        assert hit > false + slack, "an attack that finds nothing at all would test nothing"


def test_the_same_attack_breaks_reports_with_too_little_noise() -> None:
    """The bound is tight enough to notice: a twentieth of σ is over ε, by the same measure."""
    touched = FEATURES.choice(2025).touched
    cells = calibrate_cells(touched, 0.3, DELTA)
    hit, false = advantage(touched, cells.sigma / 20, 1, np.random.default_rng(8))
    assert hit > math.exp(0.3) * false + DELTA
