"""The statistics stage over Flower in one process: exactly the chosen cells, the stated noise, the yearly budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.errors import ManifestError
from crypto.wire.campaign import Terms
from hub.campaign_errors import CampaignError
from hub.manifests import build_manifest
from hub.simulation import Budget
from hub.statistics_terms import statistics_terms
from models.accounting import epsilon_of, usable_delta
from models.codes import ABSENT
from models.errors import BudgetError
from models.statistics.choice import StatisticsChoice
from nodes import witness_stage
from nodes.charges import campaign_mechanisms
from tests.federation import World, lose, make_world
from tests.noise_size import has_size
from tests.opened_statistics import CHOICE, exact, plan_of, run


@pytest.mark.parametrize("seed", range(3))
def test_without_noise_the_opened_cells_are_those_of_the_joined_rows(tmp_path: Path, seed: int) -> None:
    world = make_world(tmp_path, seed=seed)
    plan = plan_of(world)
    released = run(world, plan)
    assert np.array_equal(released.counts, exact(world, plan))
    # b2 and u1 by class (5 bins each), then b1×b2, b1×t1, t2×u1: nothing else was opened.
    assert len(released.counts) == 2 * 5 + 2 * 5 + 4 * 5 + 4 * 4 + 4 * 5


def test_one_block_alone_can_be_released(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    for choice in (StatisticsChoice(year=2025, by_label=("t1",)), StatisticsChoice(year=2025, pairs=(("u1", "b1"),))):
        plan = plan_of(world, statistics=choice, campaign_id=f"one-{len(choice.by_label)}")
        assert np.array_equal(run(world, plan).counts, exact(world, plan, choice))


def test_noise_is_that_of_the_chosen_cells_and_everybody_is_charged_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=300, budget=Budget(1.0, 1e-5), noise_off=False)
    plan = plan_of(world, noise=True)
    released = run(world, plan)
    terms = released.terms
    assert terms.tables is not None
    n, t, sigma = len(terms.roster), terms.privacy.t_collude, terms.tables.sigma_class
    assert has_size(released.counts - exact(world, plan), sigma * np.sqrt(n / (n - t)))
    for party, spent in world.federation.spent().items():
        assert 0.97 < spent.epsilon <= 1.0, party
    assert 0.97 < world.federation.witness_context.ledger.spent().epsilon <= 1.0


def test_a_lost_node_voids_the_attempt_and_takes_its_charge_back(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    world.disturb(before=lose("tax-2", "train.exchange"))
    released = run(world, plan_of(world, noise=True))
    assert (released.attempts, set(released.lost)) == (2, {"tax-2"})
    assert world.federation.spent()["tax-2"].epsilon == 0.0
    assert all(spent.epsilon > 0.97 for party, spent in world.federation.spent().items() if party != "tax-2")


def test_the_witness_opens_the_same_counts_from_the_shares(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    released = run(world, plan_of(world, noise=True))
    opened = witness_stage.open_attempt(world.federation.witness_context, released.terms.attempt, released.shares)
    assert np.array_equal(opened.counts, released.counts)


def terms_of(world: World, **changes: Any) -> Terms:
    plan = plan_of(world, noise=True)
    honest = statistics_terms(plan, plan.cohort, "c1/statistics/1")
    return Terms.model_validate(honest.model_dump() | changes)


def test_terms_whose_cells_cost_more_than_they_say_are_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    plan = plan_of(world, noise=True)
    honest = terms_of(world)
    assert honest.statistics is not None
    more = honest.statistics.model_copy(update={"classes": (0, 1, 2, 3, 4)})
    every_cell = honest.model_dump() | {"statistics": more.model_dump()}
    for changed, error in (
        (every_cell, BudgetError),
        (honest.model_dump() | {"statistics": None}, ManifestError),
        (honest.model_dump() | {"tables": {"sigma_class": 9.0, "sigma_pair": 90.0}}, ManifestError),
        (honest.model_dump() | {"tables": {"sigma_class": 9.0, "sigma_pair": 9.0}}, BudgetError),
        (honest.model_dump() | {"evaluation_due": True}, ManifestError),
    ):
        manifest = build_manifest(Terms.model_validate(changed), plan.cohort, plan)
        with pytest.raises(error):
            witness_stage.cosign(world.federation.witness_context, manifest.for_witness())


def test_terms_cannot_set_aside_less_delta_than_the_shares_are_away_from_the_noise(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    plan, honest = plan_of(world, noise=True), terms_of(world)
    privacy = honest.privacy.model_dump() | {"delta_sum": 0.0}
    manifest = build_manifest(terms_of(world, privacy=privacy), plan.cohort, plan)
    with pytest.raises(BudgetError, match="set aside delta"):
        witness_stage.cosign(world.federation.witness_context, manifest.for_witness())


def test_sensitivity_is_the_root_of_the_chosen_blocks(tmp_path: Path) -> None:
    """Any merchant's rows replaced by empty ones change at most one cell of each block, by one."""
    world = make_world(tmp_path, absent=0.0)
    plan = plan_of(world)
    before = exact(world, plan)
    for merchant in range(0, len(world.pseudonyms), 7):
        codes = {kind: rows.copy() for kind, rows in world.codes.items()}
        for rows in codes.values():
            rows[merchant] = ABSENT
        changed = exact(replace(world, codes=codes), plan)
        assert np.sum((before - changed) ** 2) == CHOICE.touched
        assert np.abs(before - changed).max() == 1


def test_stated_epsilon_is_that_of_the_accountant(tmp_path: Path) -> None:
    privacy = terms_of(make_world(tmp_path, noise_off=False)).privacy
    usable = usable_delta(privacy.epsilon, privacy.delta, privacy.delta_sum)
    assert 0.97 < epsilon_of(campaign_mechanisms(privacy.mechanisms), usable) <= 1.0


class Days:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_the_yearly_budget_stops_a_third_report_and_says_from_when_on_it_is_possible(tmp_path: Path) -> None:
    days = Days()
    world = make_world(tmp_path, budget=Budget(20.0, 1e-5, 1.2), noise_off=False, clock=days)
    plan = plan_of(world, noise=True, epsilon=0.9, clock=days)
    run(world, plan)
    first = days.now
    days.now += timedelta(days=100)
    half = replace(plan, campaign_id="c2", epsilon=0.5)
    run(world, half)
    days.now += timedelta(days=100)
    spent = world.federation.spent()
    with pytest.raises(CampaignError, match=r"yearly budget 1\.2") as refused:
        run(world, replace(plan, campaign_id="c3"))
    free_from = first + timedelta(days=365)
    assert f"from {free_from:%Y-%m-%dT%H:%M:%SZ} on" in str(refused.value)
    assert "witness" in str(refused.value)
    assert world.federation.spent() == spent
    days.now = free_from - timedelta(minutes=1)
    with pytest.raises(CampaignError, match="yearly budget"):
        run(world, replace(plan, campaign_id="c4"))
    days.now = free_from + timedelta(minutes=1)
    assert run(world, replace(plan, campaign_id="c5")).attempts == 1


def test_training_is_not_bound_by_the_yearly_budget(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(20.0, 1e-5, 0.2), noise_off=False)
    world.federation.run(world.noisy_plan(3.0), world.events.append)
    with pytest.raises(CampaignError, match="never, as it alone is more"):
        run(world, plan_of(world, noise=True, epsilon=0.5))
