"""The encoder stage over Flower: exactness, lost nodes, resumption."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crypto.jws import sign_model
from crypto.manifest import holdout_mask
from crypto.parcel import Parcel
from crypto.table_grid import terms_layout
from crypto.wire.campaign import RoundsMechanism
from crypto.wire.link import RoundShares
from hub.campaign_errors import EncoderTriesUsedError, QuorumError
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, NoStore
from hub.encoder_stage import run_encoder_stage
from hub.encoder_terms import encoder_budget
from hub.grids.channel import Channel
from hub.simulation import Budget
from models.central import train_with_opacus
from models.encoder_spec import EncoderSpec
from models.encoder_step import initial_parameters
from models.errors import BudgetError
from nodes.encoder_models import ReleasedEncoder
from nodes.ledger import Ledger
from nodes.rounds_check import check_rounds_privacy
from nodes.store import Store
from nodes.terms_check import read_terms
from tests.encoder_world import ROUNDS, encoder_plan, small_spec
from tests.federation import World, make_world


def run_stage(world: World, plan: CampaignPlan, spec: EncoderSpec, **options: object):
    federation = world.federation
    channel = Channel(federation.grid, federation.node_ids, 30.0)
    budget = encoder_budget(plan, spec)
    store = options.pop("store", NoStore())
    return run_encoder_stage(channel, plan, spec, budget, world.events.append, store, **options)


def undisturbed(tmp_path: Path):
    """The same merchants without noise and without losses."""
    world = make_world(tmp_path / "undisturbed")
    return run_stage(world, encoder_plan(world), small_spec(world))


def training_rows(world: World):
    kept = ~holdout_mask(world.pseudonyms, world.plan().holdout_salt, world.plan().holdout_fraction)
    return world.codes["bank"][kept], world.outcome[kept]


class Kept(NoStore):
    """Checkpoints in memory; stops the hub after one of them."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.checkpoints: list[EncoderCheckpoint] = []
        self._stop_after = stop_after

    def round_opened(self, checkpoint: EncoderCheckpoint, opened: RoundShares | None) -> None:
        self.checkpoints.append(checkpoint)
        if checkpoint.state.step == self._stop_after:
            raise KeyboardInterrupt


def test_zero_noise_equals_a_central_opacus_run(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=240)
    spec = small_spec(world, rounds=12, hidden=(5,))
    trained = run_stage(world, encoder_plan(world), spec)
    codes, outcome = training_rows(world)
    central = train_with_opacus(spec, codes, outcome, n_public=len(codes))
    assert np.abs(trained.parameters - central).max() < 1e-4
    assert np.abs(trained.parameters - initial_parameters(spec)).max() > 0.01
    assert trained.rounds == 12
    assert trained.retries == 0
    assert trained.terms.cohort_size == len(codes)
    assert {entry.kind for entry in trained.terms.roster} == {"bank"}


def test_sampled_rounds_without_noise_equal_a_central_opacus_run_on_the_same_coins(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=240)
    spec = small_spec(world, rounds=12, hidden=(5,), sampling_rate=0.4)
    federation = world.federation
    tossed: dict[str, list[np.ndarray]] = {party: [] for party in ("bank-1", "bank-2", "bank-3")}

    def coins_of(party: str):
        drawn = np.random.default_rng(int(party[-1])).bytes

        def toss(n: int) -> bytes:
            words = drawn(n)
            tossed[party].append(np.frombuffer(words, "<u8") < int(0.4 * 2.0**64))
            return words

        return toss

    for party in tossed:
        federation.contexts[party] = replace(federation.contexts[party], coins=coins_of(party))
    world.disturb()
    trained = run_stage(world, encoder_plan(world), spec)
    kept = ~holdout_mask(world.pseudonyms, world.plan().holdout_salt, world.plan().holdout_fraction)
    cohort = world.plan().cohort.training(world.plan().holdout_salt, world.plan().holdout_fraction)
    place = {row.tobytes(): index for index, row in enumerate(world.pseudonyms[kept])}
    codes, outcome = training_rows(world)
    masks = [np.zeros(len(codes), dtype=np.bool_) for _ in range(spec.rounds)]
    for index, entry in enumerate(cohort.nodes):
        if entry.party_id in tossed:
            rows = [place[each.tobytes()] for each in cohort.slice_of(index).pseudonyms]
            for step, mask in enumerate(masks):
                mask[rows] = tossed[entry.party_id][step]
    central = train_with_opacus(spec, codes, outcome, n_public=len(codes), taking_part=masks)
    assert np.abs(trained.parameters - central).max() < 1e-4
    full = train_with_opacus(spec.model_copy(update={"sampling_rate": 1.0}), codes, outcome, n_public=len(codes))
    assert np.abs(trained.parameters - full).max() > 1e-3
    assert 0.3 < np.mean(masks) < 0.5


def test_sampled_rounds_are_charged_as_such_and_checked(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=False)
    plan, spec = encoder_plan(world, noise="on", epsilon=3.0), small_spec(world, sampling_rate=0.5)
    trained = run_stage(world, plan, spec)
    stated = trained.terms.privacy.mechanisms[0]
    assert isinstance(stated, RoundsMechanism)
    assert stated.sampling_rate == 0.5
    for ledger in (world.federation.contexts["bank-1"].ledger, world.federation.witness_context.ledger):
        assert 2.97 < ledger.spent().epsilon <= 3.0
    roster = world.federation.contexts["bank-1"].roster
    for rate in (0.4, 1.0):  # more amplification than its rows are sampled with, or another statement than the spec's
        claim = stated.model_copy(update={"sampling_rate": rate})
        privacy = trained.terms.privacy.model_copy(update={"mechanisms": (claim,)})
        lie = sign_model(trained.terms.model_copy(update={"privacy": privacy}), plan.identity, typ="terms", kid="hub")
        with pytest.raises(BudgetError, match="not those of their encoder"):
            check_rounds_privacy(read_terms(lie, roster))


def test_a_lost_reply_is_asked_for_again_and_costs_no_try(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    dropped: list[str] = []

    def after(party: str, step: str, parcel: Parcel) -> Parcel | None:
        if party == "bank-2" and step == "train.round" and not dropped:
            dropped.append(step)
            return None
        return parcel

    world.disturb(after=after)
    trained = run_stage(world, encoder_plan(world), small_spec(world))
    assert dropped
    assert trained.retries == 0
    assert len(world.federation.contexts["bank-2"].ledger.charges()) == ROUNDS


def test_a_lost_node_makes_a_round_be_tried_again_on_the_same_parameters(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    asked: Counter[str] = Counter()

    def before(party: str, step: str, parcel: Parcel) -> Parcel | None:
        if party == "bank-2" and step == "train.round":
            asked[step] += 1
            return None if 2 <= asked[step] <= 4 else parcel
        return parcel

    whole = undisturbed(tmp_path)
    world.disturb(before=before)
    trained = run_stage(world, encoder_plan(world), small_spec(world))
    assert trained.retries == 1
    assert np.array_equal(trained.parameters, whole.parameters)
    tries = [each.attempt for each in world.federation.contexts["bank-1"].ledger.charges()]
    assert "c1/encoder/1/1.1" in tries


def test_a_node_missing_for_good_ends_the_run_when_the_charged_tries_are_used(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.disturb(before=lambda party, step, parcel: None if (party, step) == ("bank-2", "train.round") else parcel)
    with pytest.raises(EncoderTriesUsedError, match="bank-2"):
        run_stage(world, encoder_plan(world), small_spec(world, retries=3))
    assert len(world.federation.contexts["bank-1"].ledger.charges()) == 4


def test_a_node_whose_owner_asks_for_a_device_that_is_not_there_says_so_before_it_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    world = make_world(tmp_path)
    world.federation.contexts["bank-2"] = replace(world.federation.contexts["bank-2"], device="cuda")
    world.disturb()
    trained = run_stage(world, encoder_plan(world), small_spec(world))
    assert set(trained.lost) == {"bank-2"}
    assert "device-unavailable" in trained.lost["bank-2"]
    assert world.federation.contexts["bank-2"].ledger.charges() == ()


def test_a_node_lost_before_acceptance_is_left_out_of_the_next_attempt(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.disturb(before=lambda party, step, parcel: None if (party, step) == ("bank-2", "train.accept") else parcel)
    trained = run_stage(world, encoder_plan(world), small_spec(world))
    assert trained.attempts == 2
    assert set(trained.lost) == {"bank-2"}
    assert [entry.party_id for entry in trained.terms.roster] == ["bank-1", "bank-3"]


def test_a_restarted_hub_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole = undisturbed(tmp_path)
    world = make_world(tmp_path / "cut")
    plan, spec = encoder_plan(world), small_spec(world)
    kept = Kept(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run_stage(world, plan, spec, store=kept)
    assert [each.state.step for each in kept.checkpoints] == [0, 1, 2]
    # Round 1's tries are on record at the nodes; a checkpoint that is one round old only makes them repeat.
    trained = run_stage(world, plan, spec, resume=kept.checkpoints[1])
    assert np.array_equal(trained.parameters, whole.parameters)
    assert len(world.federation.contexts["bank-1"].ledger.charges()) == ROUNDS


def test_noise_is_on_and_charged_once_for_all_tries(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=False)
    plan, spec = encoder_plan(world, noise="on", epsilon=3.0), small_spec(world)
    exact = undisturbed(tmp_path)
    trained = run_stage(world, plan, spec)
    assert np.abs(trained.parameters - exact.parameters).max() > 1e-3
    for party in ("bank-1", "bank-2", "bank-3"):
        ledger = world.federation.contexts[party].ledger
        assert [bool(each.mechanisms) for each in ledger.charges()] == [True, False, False, False]
        assert ledger.spent().epsilon == pytest.approx(3.0, rel=1e-3)
        assert ledger.spent().epsilon <= 3.0
    assert world.federation.witness_context.ledger.spent().epsilon <= 3.0
    assert world.federation.contexts["tax-1"].ledger.spent().epsilon == 0
    assert all(
        world.federation.contexts[p].attempts.blob("c1/encoder/1", "rows.0") is None for p in ("bank-1", "bank-2")
    )


def test_a_second_campaign_past_the_budget_is_refused_with_the_numbers(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(2.5, 1e-5), noise_off=False)
    spec = small_spec(world)
    run_stage(world, encoder_plan(world, noise="on", epsilon=2.0), spec)
    world.federation.witness_context = replace(world.federation.witness_context, ledger=_generous(world, tmp_path))
    world.disturb()
    with pytest.raises(QuorumError, match="budget-exceeded: epsilon 2 is spent and 2 is asked"):
        run_stage(world, encoder_plan(world, noise="on", epsilon=2.0, campaign_id="c2"), spec)


def _generous(world: World, tmp_path: Path):
    return Ledger(Store.open(tmp_path / "generous.sqlite"), 50.0, 1e-5)


@pytest.mark.parametrize("noise", ["on", "off"])
def test_encoder_then_scorecard_share_one_budget(tmp_path: Path, noise: str) -> None:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=noise == "off", merchants=200)
    plan = world.plan(stages=("encoder", "scorecard"), noise=noise, epsilon=3.0)
    result = world.federation.train(plan, world.events.append, spec=small_spec(world))
    assert result.encoder is not None
    released = result.table()
    assert released.terms.encoders_used == {"bank": result.encoder.artefact.model_id}
    bank = next(each for each in released.terms.kinds if each.kind == "bank")
    assert bank.widths[:-1] == world.federation.schema.widths("bank")
    if noise == "on":
        stages = [each.stage for each in released.terms.privacy.mechanisms]
        assert stages == ["encoder", "scorecard", "scorecard"]
        for context in world.federation.contexts.values():
            assert 2.9 < context.ledger.spent().epsilon <= 3.0
        assert 2.9 < world.federation.witness_context.ledger.spent().epsilon <= 3.0
        return
    # Without noise the encoder's column of the table is exactly its binned output on the training rows.
    codes, _ = training_rows(world)
    own = ReleasedEncoder.of(result.encoder.artefact).codes(codes)
    classes, _ = terms_layout(released.terms).split(released.counts)
    column = classes[len(world.federation.schema.features("bank"))].sum(axis=1)
    assert np.array_equal(column, np.bincount(own, minlength=len(column)))
