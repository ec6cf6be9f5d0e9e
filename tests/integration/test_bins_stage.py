"""The bins stage over Flower in one process: exact counts, noise, charges, losses, and what comes after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.wire.link import ReleaseProposal
from hub.campaign_errors import CampaignError
from hub.campaign_plan import NoStore, ReleasedTable
from hub.opened_tables import opened_table
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignJob, LeftOver, run_server_app
from hub.simulation import WITNESS_ID, Budget
from models.quantile_bins import count_trees, settled
from models.schema import unsettled
from models.stages import BINS_SHARE
from tests.assessments import assessed
from tests.bins_world import bins_of, exact_counts, exact_table, open_world
from tests.federation import held_out, lose, make_world
from tests.noise_size import has_size


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nodes", [{"bank": 3, "tax": 2, "utility": 2}, {"bank": 1, "tax": 4, "utility": 1}])
def test_without_noise_bins_are_those_of_the_joined_rows_and_so_is_the_table(
    tmp_path: Path, seed: int, nodes: dict[str, int]
) -> None:
    world = open_world(tmp_path, seed=seed, nodes=nodes, merchants=200)
    plan = world.plan()
    plan = replace(plan, stages=("bins", "scorecard"))
    result = world.federation.train(plan, world.events.append)
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert cohort.size == int((~held_out(world)).sum())
    counts = exact_counts(world, cohort)
    assert np.array_equal(bins_of(result).counts, counts)
    due = settled(world.federation.schema, counts)
    released = result.table()
    assert released.terms.schema_sha256 == due.hash()
    assert released.terms.bins_attempt == "c1/bins/1"
    assert np.array_equal(opened_table(released).to_vector(), exact_table(world, due, cohort))
    assert {trips for party, (_, _, trips) in world.federation.traffic().items() if party != WITNESS_ID} == {3 + 4}


def test_a_bins_stage_runs_by_itself_where_the_schema_gives_no_bins(tmp_path: Path) -> None:
    world = open_world(tmp_path)
    assert world.plan().stages == ("bins", "scorecard")
    assert make_world(tmp_path / "given").plan().stages == ("scorecard",)


def test_blocks_of_a_cohort_give_the_same_counts(tmp_path: Path) -> None:
    world = open_world(tmp_path, merchants=200)
    plan = world.plan(block_rows=17)
    result = world.federation.train(plan, world.events.append)
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert np.array_equal(bins_of(result).counts, exact_counts(world, cohort))
    assert len([event for event in world.events if event.stage == "bins"]) > 20


def test_noise_has_the_promised_size_and_both_stages_together_cost_the_budget(tmp_path: Path) -> None:
    world = open_world(tmp_path, merchants=300, budget=Budget(3.0, 1e-5), noise_off=False)
    plan = world.noisy_plan(3.0)
    result = world.federation.train(plan, world.events.append)
    opened, released = bins_of(result), result.table()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    terms, n = opened.terms, len(opened.terms.roster)
    assert terms.bins is not None
    error = opened.counts - exact_counts(world, cohort)
    assert has_size(error, terms.bins.sigma * np.sqrt(n / (n - terms.privacy.t_collude)))
    stated = terms.privacy.mechanisms
    assert [each.stage for each in stated] == ["bins", "scorecard", "scorecard"]
    assert stated == released.terms.privacy.mechanisms
    mu2 = [each.count / each.sigma**2 for each in stated]  # type: ignore[union-attr]
    assert mu2[0] / sum(mu2) == pytest.approx(BINS_SHARE)
    assert stated[0].count == sum(tree.levels for tree in count_trees(world.federation.schema))  # type: ignore[union-attr]
    for party, spent in world.federation.spent().items():
        assert 2.9 < spent.epsilon <= 3.0, party
        attempts = [each.attempt for each in world.federation.contexts[party].ledger.charges()]
        assert attempts == ["c1/bins/1", "c1/scorecard/1"]
    assert 2.9 < world.federation.witness_context.ledger.spent().epsilon <= 3.0


def test_a_budget_too_small_for_both_stages_is_refused_before_the_first(tmp_path: Path) -> None:
    world = open_world(tmp_path, merchants=200, budget=Budget(2.9, 1e-5), noise_off=False)
    with pytest.raises(CampaignError, match="budget-exceeded"):
        world.federation.train(world.noisy_plan(3.0), world.events.append)
    assert all(not context.ledger.charges() for context in world.federation.contexts.values())


@pytest.mark.parametrize("step", ["train.enter", "train.tally"])
def test_a_lost_node_voids_the_attempt_and_the_next_is_without_it(tmp_path: Path, step: str) -> None:
    world = open_world(tmp_path, merchants=200)
    world.disturb(before=lose("tax-1", step))
    result = world.federation.train(world.plan(), world.events.append)
    opened = bins_of(result)
    assert (opened.attempts, set(opened.lost)) == (2, {"tax-1"})
    plan = world.plan()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction).without({"tax-1"})
    assert np.array_equal(opened.counts, exact_counts(world, cohort))
    charges = world.federation.contexts["bank-1"].ledger.charges()
    assert [each.attempt for each in charges if not each.refunded and "/bins/" in each.attempt] == ["c1/bins/2"]
    assert result.table().terms.bins_attempt == "c1/bins/2"


def test_a_node_that_was_away_for_the_bins_takes_part_in_the_scorecard(tmp_path: Path) -> None:
    world = open_world(tmp_path, merchants=300, budget=Budget(3.0, 1e-5), noise_off=False)
    away = iter([True])
    world.disturb(
        before=lambda party, step, parcel: (
            None if (party, step) == ("tax-1", "train.tally") and next(away, False) else parcel
        )
    )
    result = world.federation.train(world.noisy_plan(3.0), world.events.append)
    assert bins_of(result).attempts == 2
    assert "tax-1" in {entry.party_id for entry in result.table().terms.roster}
    assert all(spent.epsilon <= 3.0 for spent in world.federation.spent().values())


def test_model_and_evaluation_follow_the_settled_schema(tmp_path: Path) -> None:
    world = open_world(tmp_path, merchants=2500, absent=0.2, budget=Budget(3.0, 1e-5), noise_off=False)
    plan = world.noisy_plan(3.0, stages=("bins", "scorecard", "evaluation"), parity=("b2",), bands=5)
    result = world.federation.train(plan, world.events.append)
    card, artefact = make_scorecard(result.table(), plan.clock())
    schema = artefact.schema_of()
    assert not unsettled(schema)
    assert card.score({kind: np.zeros((1, len(schema.features(kind))), dtype=np.uint8) for kind in schema.kinds}).size
    table = result.table()
    found = world.federation.evaluate(plan, result, artefact, world.events.append)
    assert found.model_id == artefact.model_id
    proposal = ReleaseProposal(
        artefact=artefact.to_bytes().decode(),
        attempt=table.terms.attempt,
        scope="release",
        shares=dict(table.shares),
        assessment=assessed(table.terms.campaign_id),
    )
    assert world.federation.desk.release(canonical_bytes(proposal))
    assert artefact.privacy.stages == ("bins", "scorecard")
    assert all(spent.epsilon <= 3.0 for spent in world.federation.spent().values())


class Stopping(NoStore):
    """A hub that is killed when the bins are open, or before it kept them."""

    def __init__(self, *, kept: bool) -> None:
        self.kept = kept
        self.table: ReleasedTable | None = None
        self.cosigned: dict[str, tuple[Any, bytes]] = {}

    def opened(self, result: ReleasedTable) -> None:
        if result.terms.stage == "bins":
            self.table = result if self.kept else None
            self.cosigned[result.terms.attempt] = (result.terms, result.h)
            raise KilledError


class KilledError(Exception):
    """The hub's process is gone."""


@pytest.mark.parametrize("kept", [True, False])
def test_a_hub_that_was_killed_goes_on_with_the_bins_that_were_released(tmp_path: Path, *, kept: bool) -> None:
    world = open_world(tmp_path, merchants=200, budget=Budget(3.0, 1e-5), noise_off=False)
    plan, store = world.noisy_plan(3.0), Stopping(kept=kept)
    job = CampaignJob(plan, world.events.append, world.federation.node_ids, store=store)
    with pytest.raises(KilledError):
        run_server_app(world.federation.grid, job)
    left = LeftOver(
        tuple(store.cosigned.values()),
        frozenset(store.cosigned) if kept else frozenset(),
        store.table,
    )
    result = run_server_app(world.federation.grid, replace(job, store=NoStore(), left=left))
    assert bins_of(result).terms.attempt == "c1/bins/1"
    if kept:
        assert store.table is not None
        assert np.array_equal(bins_of(result).counts, store.table.counts)
    assert result.table().terms.bins_attempt == "c1/bins/1"
    for party, context in world.federation.contexts.items():
        standing = [each.attempt for each in context.ledger.charges() if not each.refunded]
        assert standing == ["c1/bins/1", "c1/scorecard/1"], party
        assert context.ledger.spent().epsilon <= 3.0
