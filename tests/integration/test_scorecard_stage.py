"""The scorecard stage over Flower in one process: exactness, losses, refunds, next attempts."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from crypto.errors import AttemptError
from crypto.parcel import Parcel
from hub.campaign_errors import CampaignError, QuorumError
from hub.campaign_plan import NoStore
from hub.opened_tables import opened_table
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignJob, run_server_app
from hub.simulation import WITNESS_ID, Budget
from nodes import table_stage, witness_stage
from tests.federation import Drive, held_out, lose, make_world, run_scorecard
from tests.noise_size import has_size


class Recorded(NoStore):
    """Remembers what a hub would have to keep."""

    def __init__(self) -> None:
        self.manifests: list[tuple[str, bytes]] = []
        self.decisions: list[tuple[str, str, tuple[str, ...]]] = []

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        self.manifests.append((attempt, h))

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        self.decisions.append((attempt, token, undelivered))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nodes", [{"bank": 3, "tax": 2, "utility": 2}, {"bank": 1, "tax": 4, "utility": 1}])
def test_without_noise_the_opened_table_is_the_joined_table(tmp_path: Path, seed: int, nodes: dict[str, int]) -> None:
    world = make_world(tmp_path, seed=seed, nodes=nodes)
    released = run_scorecard(world)
    plan = world.plan()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert cohort.size == int((~held_out(world)).sum())
    assert np.array_equal(opened_table(released).to_vector(), world.exact(cohort))
    assert released.attempts == 1
    assert {trips for party, (_, _, trips) in world.federation.traffic().items() if party != WITNESS_ID} == {4}


def test_a_node_without_merchants_in_the_cohort_takes_part(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=6, nodes={"bank": 4, "tax": 3, "utility": 3})
    released = run_scorecard(world)
    plan = world.plan()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert np.array_equal(opened_table(released).to_vector(), world.exact(cohort))


def test_noise_has_the_promised_size_and_every_node_is_charged_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=300, budget=Budget(3.0, 1e-5), noise_off=False)
    plan = world.noisy_plan(3.0)
    released = run_scorecard(world, plan)
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    error = released.counts - world.exact(cohort)
    tables, n, t = released.terms.tables, len(released.terms.roster), released.terms.privacy.t_collude
    classes = 2 * sum(sum(each.widths) for each in released.terms.kinds)
    for part, sigma in ((error[:classes], tables.sigma_class), (error[classes:], tables.sigma_pair)):
        assert has_size(part, sigma * np.sqrt(n / (n - t)))  # all n shares are in
    for party, spent in world.federation.spent().items():
        assert 2.9 < spent.epsilon <= 3.0, party
        assert spent.campaigns == ("c1",)
    assert 2.9 < world.federation.witness_context.ledger.spent().epsilon <= 3.0


def test_small_noise_is_scaled_to_the_integer_grid(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(10.0, 1e-5), noise_off=False)
    released = run_scorecard(world, world.noisy_plan(9.0))
    assert released.terms.tables is not None
    assert released.terms.tables.sigma_class / np.sqrt(6) < 2
    assert np.any(released.counts != np.rint(released.counts))
    assert np.array_equal(released.counts * 1024, np.rint(released.counts * 1024))


def test_the_witness_opens_the_same_table_from_the_shares(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    released = run_scorecard(world, world.noisy_plan())
    opened = witness_stage.open_attempt(world.federation.witness_context, released.terms.attempt, released.shares)
    assert np.array_equal(opened.counts, released.counts)


def test_the_table_becomes_a_model(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=600, absent=0.1)
    card, artefact = make_scorecard(run_scorecard(world), world.plan().clock())
    assert artefact.privacy.epsilon is None
    assert len(card.features) == 5


@pytest.mark.parametrize("step", ["train.accept", "train.exchange", "train.share"])
def test_a_lost_node_voids_the_attempt_and_the_next_goes_on_without_it(tmp_path: Path, step: str) -> None:
    world = make_world(tmp_path, noise_off=False)
    world.disturb(before=lose("bank-2", step))
    store = Recorded()
    released = run_scorecard(world, world.noisy_plan(), store)
    assert (released.attempts, set(released.lost)) == (2, {"bank-2"})
    assert "bank-2" not in released.shares
    assert [attempt for attempt, _ in store.manifests] == ["c1/scorecard/1", "c1/scorecard/2"]
    assert store.manifests[0][1] != store.manifests[1][1]
    # Nodes that had sent in the first attempt took their charge back; all pay for the second only.
    spent = world.federation.spent()
    assert spent["bank-2"].epsilon == 0.0
    assert all(2.9 < each.epsilon <= 3.0 for party, each in spent.items() if party != "bank-2")
    assert "bank-2" in store.decisions[0][2]


def test_the_next_attempt_counts_the_remaining_nodes_merchants(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.disturb(before=lose("tax-1", "train.exchange"))
    released = run_scorecard(world)
    plan = world.plan()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction).without({"tax-1"})
    assert np.array_equal(opened_table(released).to_vector(), world.exact(cohort))


def test_a_node_lost_after_it_sent_stays_charged_until_it_hears_the_void(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    world.disturb(after=lose("tax-2", "train.share"), before=lose("tax-2", "train.outcome"))
    store = Recorded()
    released = run_scorecard(world, world.noisy_plan(), store)
    assert released.attempts == 2
    context = world.federation.contexts["tax-2"]
    assert context.ledger.spent().epsilon > 2.9
    attempt, token, undelivered = store.decisions[0]
    assert (attempt, undelivered) == ("c1/scorecard/1", ("tax-2",))
    for _ in range(2):  # told twice: refunded once
        table_stage.outcome(context, Parcel({"decision": token}))
    assert context.ledger.spent().epsilon == 0.0
    assert {each.refunded for each in context.ledger.charges()} == {True}


def test_a_refusal_drops_the_node_that_has_no_budget_left(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=False)
    poor = world.federation.contexts["utility-1"]
    poor.ledger.record_send(
        campaign_id="before",
        attempt="before/scorecard/1",
        h=bytes(32),
        payload=b"x",
        mechanisms=Drive.start(world, world.noisy_plan(1.0)).manifest.terms.privacy.mechanisms,
    )
    released = run_scorecard(world, world.noisy_plan(3.0))
    assert set(released.lost) == {"utility-1"}
    assert "budget-exceeded" in released.lost["utility-1"]
    assert "more than the budget 3" in released.lost["utility-1"]


def test_too_few_nodes_end_the_campaign(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.disturb(before=lose("tax-1", "train.accept"))
    with pytest.raises(QuorumError, match="tax has 1 nodes of the 2"):
        run_scorecard(world, world.plan(quorum={"tax": 2}))


def test_a_node_that_the_quorum_needs_is_waited_for_and_asked_again(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    away, waited = {"tax-1": False}, []

    def hook(party: str, step: str, parcel: Parcel) -> Parcel | None:
        away["tax-1"] |= (party, step) == ("tax-1", "train.share") and not waited
        return None if party == "tax-1" and away["tax-1"] else parcel

    def wait_for(parties: Collection[str]) -> None:
        waited.append(tuple(parties))
        away["tax-1"] = False

    world.disturb(before=hook)
    plan = world.plan(quorum={"tax": 2})
    job = CampaignJob(plan, world.events.append, world.federation.node_ids, wait_for=wait_for)
    released = run_server_app(world.federation.grid, job).table()
    assert waited == [("tax-1",)]
    assert (released.attempts, dict(released.lost)) == (2, {})
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert np.array_equal(opened_table(released).to_vector(), world.exact(cohort))


def test_a_node_that_stays_away_is_waited_for_once(tmp_path: Path) -> None:
    world, waited = make_world(tmp_path), []
    world.disturb(before=lose("tax-1", "train.accept"))
    job = CampaignJob(
        world.plan(quorum={"tax": 2}), world.events.append, world.federation.node_ids, wait_for=waited.append
    )
    with pytest.raises(QuorumError, match="tax-1: no reply in time"):
        run_server_app(world.federation.grid, job)
    assert waited == [["tax-1"]]


def test_a_lost_witness_ends_the_campaign_and_nobody_is_refunded_without_a_void(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    world.disturb(before=lose(WITNESS_ID, "query.release"))
    with pytest.raises(CampaignError) as caught:
        run_scorecard(world, world.noisy_plan())
    assert caught.value.party == WITNESS_ID
    assert all(each.epsilon > 2.9 for each in world.federation.spent().values())


def test_a_witness_that_dies_between_charge_and_release_is_charged_for_no_void_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path)
    drive = Drive.start(world).until_exchange()
    receipts = [reply.text("receipt") for reply in drive.share_all().values()]
    witness = world.federation.witness_context
    with monkeypatch.context() as patch:
        patch.setattr(witness.attempts, "save", _dies)
        with pytest.raises(KeyboardInterrupt):
            drive.release(receipts)
    assert [each.refunded for each in witness.ledger.charges()] == [False]
    drive.abort()
    assert [each.refunded for each in witness.ledger.charges()] == [True]
    assert drive.abort()  # asked again it signs the same, and takes nothing back twice
    with pytest.raises(AttemptError):
        drive.release(receipts)


def _dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_late_node_is_a_lost_node(tmp_path: Path) -> None:
    ended = threading.Event()

    def slow(party: str, step: str, parcel: Parcel) -> Parcel:
        if (party, step) == ("bank-1", "train.accept"):
            assert ended.wait(120)
        return parcel

    world = make_world(tmp_path)
    world.disturb(before=slow)
    try:
        released = run_scorecard(world, timeout=4.0)  # for the others' steps, too, of which each takes some hundredths
    finally:
        ended.set()
    assert set(released.lost) == {"bank-1"}
