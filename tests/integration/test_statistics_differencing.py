"""Differencing of opened campaigns: two cohorts that differ in one merchant, and repeated ones, over the real exchange.

The attacker knows every row but one merchant's and takes the best test there is between "its rows are in" and "they
are not": the sum of the cells that it stands in. The noise is that of opened campaigns. One campaign gives several
independent scores, since merchants of different bins stand in different cells.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hub.campaign_errors import CampaignError
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort, Holding
from hub.simulation import Budget
from models.accounting import epsilon_of
from models.mechanisms import DiscreteGaussianCells
from tests.federation import World, make_world
from tests.noise_size import has_size
from tests.opened_statistics import CHOICE, exact, plan_of, run

EPSILON, DELTA = 0.3, 1e-5
PAIRS = 20
BLOCKS = (5 * 2, 5 * 2, 4 * 5, 4 * 4, 4 * 5)
"""Cells of each chosen block, in released order."""
MISSED = 1e-6
Scores = NDArray[np.float64]


def without(world: World, plan: CampaignPlan, merchant: int) -> CampaignPlan:
    """The same campaign on the cohort that lacks one merchant."""
    kept = np.arange(len(plan.cohort.pseudonyms)) != merchant
    cohort, federation = plan.cohort, world.federation
    names = tuple(each.party_id for each in cohort.nodes)
    fewer = Cohort.form(
        federation.entries,
        federation.schema.kinds_in_order(),
        federation.schema.label.kind,
        cohort.pseudonyms[kept],
        {kind: Holding(names, cohort.holders[kind][kept]) for kind in cohort.kinds},
    )
    return replace(plan, cohort=fewer, campaign_id=f"{plan.campaign_id}-without")


def scores_of(residual: Scores) -> list[float]:
    """Sums of one cell of each block, no cell twice: scores of merchants whose rows are not in."""
    ends = np.cumsum(BLOCKS)
    blocks = [residual[end - size : end] for end, size in zip(ends, BLOCKS, strict=True)]
    return [float(sum(block[place] for block in blocks)) for place in range(min(BLOCKS))]


def advantage(scores: Scores, shift: float) -> float:
    """Of the best threshold for two equal Gaussians, which is half way: hits among those in less false alarms."""
    return float((scores + shift > shift / 2).mean() - (scores > shift / 2).mean())


def allowed(epsilon: float, trials: int) -> float:
    """What (ε, δ) allows any test, and what the trials may be off by (Hoeffding; both rates are of the same scores)."""
    return math.tanh(epsilon / 2) + DELTA + 2 * math.sqrt(math.log(2 / MISSED) / (2 * trials))


def test_without_noise_the_difference_of_two_cohorts_is_the_merchant(tmp_path: Path) -> None:
    world = make_world(tmp_path, absent=0.0)
    plan = plan_of(world, campaign_id="all")
    difference = run(world, plan).counts - run(world, without(world, plan, 7)).counts
    assert set(np.unique(difference)) == {0, 1}
    assert difference.sum() == CHOICE.touched


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Scores], list[Scores], float, float]:
    """Residuals of pairs of opened campaigns: all and one fewer, exact counts taken off; σ, and the noise's σ."""
    world = make_world(
        tmp_path_factory.mktemp("pairs"),
        merchants=60,
        nodes={"bank": 2, "tax": 1, "utility": 1},
        budget=Budget(90.0, 1e-4),
        noise_off=False,
    )
    all_of, fewer, sigma, whole = [], [], 0.0, 0.0
    for number in range(PAIRS):
        plan = plan_of(world, noise=True, epsilon=EPSILON, delta=DELTA, campaign_id=f"c{number}")
        other = without(world, plan, number)
        for each, kept in ((plan, all_of), (other, fewer)):
            released = run(world, each)
            kept.append(released.counts - exact(world, each))
        terms = released.terms
        assert terms.tables is not None
        sigma = terms.tables.sigma_class
        whole = sigma * math.sqrt(len(terms.roster) / (len(terms.roster) - terms.privacy.t_collude))
    return all_of, fewer, sigma, whole


def test_differencing_gains_no_more_than_epsilon_allows(
    opened: tuple[list[Scores], list[Scores], float, float],
) -> None:
    all_of, fewer, _, _ = opened
    scores = np.array([each for a, b in zip(all_of, fewer, strict=True) for each in scores_of(a - b)])
    limit = allowed(EPSILON, len(scores))
    assert advantage(scores, CHOICE.touched) <= limit
    assert advantage(scores / 80, CHOICE.touched) > limit, "with an eightieth of the noise the attack would succeed"


def test_repeated_reports_gain_no_more_than_their_composed_epsilon(
    opened: tuple[list[Scores], list[Scores], float, float],
) -> None:
    all_of, fewer, sigma, _ = opened  # the merchant in both: their noise is independent, their sum twice the shift
    scores = np.array([each for a, b in zip(all_of, fewer, strict=True) for each in scores_of(a + b)])
    composed = epsilon_of([DiscreteGaussianCells(sigma, CHOICE.touched)] * 2, DELTA)
    assert EPSILON < composed < 2 * EPSILON
    limit = allowed(composed, len(scores))
    assert advantage(scores, 2 * CHOICE.touched) <= limit
    assert advantage(scores / 80, 2 * CHOICE.touched) > limit


def test_the_noise_of_opened_campaigns_is_what_the_bound_assumes(
    opened: tuple[list[Scores], list[Scores], float, float],
) -> None:
    all_of, fewer, _, whole = opened
    cells = np.concatenate([*all_of, *fewer])
    assert has_size(cells, whole)


def test_the_yearly_budget_stops_the_third(tmp_path: Path) -> None:
    """Differencing needs reports; two of these are what the year allows, whichever cohort they are of."""
    now = [datetime(2026, 3, 1, tzinfo=UTC)]
    world = make_world(tmp_path, budget=Budget(20.0, 1e-5, 0.5), noise_off=False, clock=lambda: now[0])
    plan = plan_of(world, noise=True, epsilon=EPSILON, campaign_id="first", clock=lambda: now[0])
    run(world, plan)
    now[0] += timedelta(days=1)
    run(world, without(world, plan, 3))
    spent = world.federation.spent()
    now[0] += timedelta(days=1)
    for third in (replace(plan, campaign_id="third"), without(world, replace(plan, campaign_id="fourth"), 4)):
        with pytest.raises(CampaignError, match=r"yearly budget 0\.5"):
            run(world, third)
    assert world.federation.spent() == spent
