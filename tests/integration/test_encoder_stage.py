"""The encoder stage over Flower: exactness, lost nodes, resumption, and what a lying hub may not do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crypto.canonical import digest
from crypto.errors import AttemptError, ManifestError, NoiseError, SignatureError
from crypto.jws import sign_model, verify_model
from crypto.manifest import holdout_mask
from crypto.parcel import Parcel
from crypto.round_grid import terms_rounds
from crypto.secure_sum import open_sum
from crypto.table_grid import terms_layout
from crypto.wire.base import SUITE
from crypto.wire.campaign import RoundOrder, RoundReceipt, RoundsMechanism
from crypto.wire.link import RoundShares
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, NoStore
from hub.encoder_stage import run_encoder_stage
from hub.encoder_terms import EncoderBudget, encoder_attempt_terms, encoder_budget, encoder_spec
from hub.errors import EncoderTriesUsedError, QuorumError
from hub.grids.channel import Channel
from hub.manifests import build_manifest
from hub.simulation import Budget
from models.central import train_with_opacus
from models.encoder_spec import EncoderSpec, discreteness_allowance, spec_for
from models.encoder_step import initial_parameters
from models.errors import BudgetError
from nodes import encoder_stage, table_stage, witness_rounds, witness_stage
from nodes.encoder_models import ReleasedEncoder
from nodes.ledger import Ledger
from nodes.rounds_check import check_rounds_privacy, unpaid_mechanisms
from nodes.store import Store
from nodes.terms_check import read_terms
from tests.federation import World, make_world

ROUNDS = 4


def small_spec(world: World, **changes: object) -> EncoderSpec:
    options: dict[str, object] = {"rounds": ROUNDS, "learning_rate": 2.0, **changes}
    return spec_for(world.federation.schema, "bank", **options)


def encoder_plan(world: World, **changes: object) -> CampaignPlan:
    return world.plan(stages=("encoder",), **changes)


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


# A lying hub.


class Driven:
    """A run at nodes and witness, asked step by step."""

    def __init__(
        self, world: World, plan: CampaignPlan, spec: EncoderSpec, budget: EncoderBudget | None = None
    ) -> None:
        self.world, self.plan, self.spec = world, plan, spec
        cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction).only("bank")
        self.terms = encoder_attempt_terms(
            plan, cohort, f"{plan.campaign_id}/encoder/1", spec, budget or encoder_budget(plan, spec)
        )
        self.manifest = build_manifest(self.terms, cohort, plan)
        self.nodes = [entry.party_id for entry in self.terms.roster]
        self.acceptances = ""

    def begin(self) -> Driven:
        witness = self.world.federation.witness_context
        cosignature = witness_stage.cosign(witness, self.manifest.for_witness()).text("cosignature")
        self.acceptances = " ".join(
            table_stage.accept(self.context(party), self.manifest.for_node(index, cosignature)).text("acceptance")
            for index, party in enumerate(self.nodes)
        )
        return self

    def context(self, party: str):
        return self.world.federation.contexts[party]

    def order(self, round_: int = 0, number: int = 0, *, shift: float = 0.0, key=None, **changes: object) -> Parcel:
        parameters = initial_parameters(self.spec) + shift
        order = RoundOrder(
            suite=SUITE,
            attempt=self.terms.attempt,
            h=self.manifest.h,
            round=round_,
            number=number,
            parameters_sha256=digest(parameters.tobytes()),
        ).model_copy(update=changes)
        token = sign_model(order, key or self.plan.identity, typ="round", kid=self.plan.hub_id)
        texts = {"attempt": self.terms.attempt, "order": token, "acceptances": self.acceptances}
        return Parcel(texts, {"parameters": parameters})

    def term(self, party: str, parcel: Parcel):
        return encoder_stage.train_round(self.context(party), parcel).arrays["term"]


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=False)
    spec = small_spec(world)
    return Driven(world, encoder_plan(world, noise="on", epsilon=2.0), spec).begin()


def test_a_round_asked_again_gives_the_same_bytes(driven: Driven) -> None:
    first = driven.term("bank-1", driven.order())
    assert np.array_equal(first, driven.term("bank-1", driven.order()))
    assert not np.array_equal(first, driven.term("bank-1", driven.order(number=1)))
    witness = driven.world.federation.witness_context
    released = [witness_rounds.release_round(witness, driven.order()).arrays["term"] for _ in range(2)]
    assert np.array_equal(*released)


def test_a_round_replayed_with_other_parameters_is_refused(driven: Driven) -> None:
    driven.term("bank-1", driven.order())
    with pytest.raises(AttemptError, match="ordered before with other parameters"):
        driven.term("bank-1", driven.order(shift=1.0))
    # Also when the node stopped between noting the order and sending.
    parcel = driven.order(number=1)
    run = driven.context("bank-2").attempts.load(driven.terms.attempt)
    assert run is not None
    encoder_stage._open(driven.context("bank-2"), run, _order_of(driven, parcel), _checked(driven))
    with pytest.raises(AttemptError, match="ordered before with other parameters"):
        driven.term("bank-2", driven.order(number=1, shift=1.0))
    assert len(driven.context("bank-2").ledger.charges()) == 0


def _checked(driven: Driven):
    return read_terms(driven.manifest.token, driven.context("bank-1").roster)


def _order_of(driven: Driven, parcel: Parcel) -> RoundOrder:
    return verify_model(parcel.text("order"), driven.plan.identity.public, RoundOrder, typ="round", kid="hub")


def test_orders_of_others_and_of_other_rounds_are_refused(driven: Driven) -> None:
    with pytest.raises(SignatureError):
        driven.term("bank-1", driven.order(key=driven.world.federation.identity_of("bank-2")))
    with pytest.raises(ManifestError):
        driven.term("bank-1", driven.order(h=bytes(32)))
    with pytest.raises(AttemptError, match="not within"):
        driven.term("bank-1", driven.order(round_=ROUNDS))
    other = driven.order()
    altered = Parcel(other.texts, {"parameters": other.arrays["parameters"] + 1.0})
    with pytest.raises(ManifestError, match="not those of the order"):
        driven.term("bank-1", altered)


def test_tries_past_the_charged_number_are_refused_by_node_and_witness(driven: Driven) -> None:
    witness = driven.world.federation.witness_context
    for number in range(driven.spec.charged_attempts - 1):
        driven.term("bank-1", driven.order(number=number))
        witness_rounds.release_round(witness, driven.order(number=number))
    last = driven.order(1)
    driven.term("bank-1", last)
    witness_rounds.release_round(witness, last)
    with pytest.raises(AttemptError, match="all 7 charged tries"):
        driven.term("bank-1", driven.order(2))
    with pytest.raises(AttemptError, match="all 7 charged tries"):
        witness_rounds.release_round(witness, driven.order(2))
    assert driven.context("bank-1").ledger.spent().epsilon <= 2.0


def test_terms_are_uniform_until_all_are_there(driven: Driven) -> None:
    witness = driven.world.federation.witness_context
    terms = [driven.term(party, driven.order()) for party in driven.nodes]
    terms.append(witness_rounds.release_round(witness, driven.order()).arrays["term"])
    grid = terms_rounds(driven.terms)
    assert np.abs(open_sum(terms, bound=grid.bound)).max() <= grid.bound
    for missing in range(len(terms)):
        partial = open_sum(terms[:missing] + terms[missing + 1 :])
        assert np.abs(partial.astype(np.float64)).mean() > 2.0**60


@pytest.mark.parametrize("misled", ["bank-1", "bank-3", "witness"])
def test_terms_at_different_parameters_do_not_open(driven: Driven, misled: str) -> None:
    """A hub that steers some and not all, or all behind the witness's back, opens nothing."""
    orders = {party: driven.order(shift=1.0 if party == misled else 0.0) for party in (*driven.nodes, "witness")}
    terms = [driven.term(party, orders[party]) for party in driven.nodes]
    witness = driven.world.federation.witness_context
    terms.append(witness_rounds.release_round(witness, orders["witness"]).arrays["term"])
    assert np.abs(open_sum(terms).astype(np.float64)).mean() > 2.0**60
    # Nor is the term, or a node's, given again for what the others were ordered.
    with pytest.raises(AttemptError, match="other parameters"):
        witness_rounds.release_round(witness, driven.order(shift=0.0 if misled == "witness" else 1.0))
    with pytest.raises(AttemptError, match="other parameters"):
        driven.term("bank-2", driven.order(shift=1.0))


def test_a_receipt_names_the_parameters(driven: Driven) -> None:
    order = driven.order(shift=0.25)
    token = encoder_stage.train_round(driven.context("bank-1"), order).text("receipt")
    key = driven.world.federation.identity_of("bank-1").public
    receipt = verify_model(token, key, RoundReceipt, typ="round-receipt", kid="bank-1")
    assert receipt.parameters_sha256 == digest(order.arrays["parameters"].tobytes())


def test_after_the_end_nothing_is_answered(driven: Driven) -> None:
    driven.term("bank-1", driven.order())
    encoder_stage.finish(driven.context("bank-1"), Parcel({"attempt": driven.terms.attempt}))
    with pytest.raises(AttemptError, match="no encoder run"):
        driven.term("bank-1", driven.order(1))
    witness = driven.world.federation.witness_context
    witness_rounds.release_round(witness, driven.order())
    witness_rounds.finish(witness, Parcel({"attempt": driven.terms.attempt}))
    with pytest.raises(AttemptError, match="has ended"):
        witness_rounds.release_round(witness, driven.order(1))


def test_a_run_whose_id_lies_within_another_is_not_taken_for_paid(driven: Driven) -> None:
    """A prefix of ids is no proof of payment: ids are the hub's choice."""
    driven.term("bank-1", driven.order())
    ledger = driven.context("bank-1").ledger
    mechanisms = driven.terms.privacy.mechanisms
    assert unpaid_mechanisms(ledger, "c1", "c1/encoder/1", mechanisms) == ()
    for campaign, run in (("c1", "c1/encoder"), ("c1", "c1"), ("c1/encoder", "c1/encoder/1"), ("c1", "c1/encoder/1/0")):
        assert unpaid_mechanisms(ledger, campaign, run, mechanisms) == mechanisms


@pytest.mark.parametrize(
    ("what", "change", "refusal"),
    [
        ("less noise", {"sigma_grid": 0.5}, BudgetError),
        ("coarser noise", {"sigma_grid": 1e-9}, NoiseError),
        ("a larger clip", {"clip": 2.0}, ManifestError),
        ("more rounds", {"charged_attempts": 2.0}, ManifestError),
    ],
)
def test_terms_whose_noise_is_less_than_they_claim_are_refused(
    driven: Driven, what: str, change: dict[str, float], refusal: type[Exception]
) -> None:
    encoder = driven.terms.encoder
    assert encoder is not None
    fields = {name: type(getattr(encoder, name))(getattr(encoder, name) * by) for name, by in change.items()}
    terms = driven.terms.model_copy(update={"encoder": encoder.model_copy(update=fields)})
    token = sign_model(terms, driven.plan.identity, typ="terms", kid="hub")
    with pytest.raises(refusal):
        check_rounds_privacy(read_terms(token, driven.context("bank-1").roster))


def test_terms_that_claim_less_than_their_rounds_cost_are_refused(driven: Driven) -> None:
    rounds = driven.terms.privacy.mechanisms[0]
    assert isinstance(rounds, RoundsMechanism)
    for mechanisms, epsilon in (((rounds,), 1.9), ((), 2.0), ((rounds.model_copy(update={"rounds": 2}),), 2.0)):
        privacy = driven.terms.privacy.model_copy(update={"mechanisms": mechanisms, "epsilon": epsilon})
        token = sign_model(
            driven.terms.model_copy(update={"privacy": privacy}), driven.plan.identity, typ="terms", kid="hub"
        )
        with pytest.raises(BudgetError):
            check_rounds_privacy(read_terms(token, driven.context("bank-1").roster))


def test_a_grid_on_which_discreteness_counts_is_refused_though_its_cost_is_stated(driven: Driven) -> None:
    """The bound for discrete noise is meant for noise that is close to continuous (docs/protocol.md, 5)."""
    plan, spec = driven.plan, driven.spec.model_copy(update={"grid": 2.0**-5})
    with pytest.raises(BudgetError, match="too coarse"):
        encoder_budget(plan, spec)
    honest = driven.terms.privacy
    rounds = honest.mechanisms[0]
    assert isinstance(rounds, RoundsMechanism)
    sigma = rounds.sigma_over_sensitivity * spec.sensitivity
    allowance = discreteness_allowance(spec.n_parameters, spec.charged_attempts, sigma)
    assert allowance > honest.epsilon / 100
    stated = {
        "epsilon": honest.epsilon + 2 * allowance,
        "epsilon_replace_one": honest.epsilon_replace_one + 8 * allowance,
        "delta_sum": 1e-9,
    }
    lie = Driven(driven.world, plan, spec, EncoderBudget(sigma, honest.model_copy(update=stated)))
    with pytest.raises(BudgetError, match="too coarse: that noise is discrete"):
        check_rounds_privacy(read_terms(lie.manifest.token, driven.context("bank-1").roster))


def test_the_hub_takes_a_grid_that_its_nodes_accept(driven: Driven) -> None:
    plan, wanted = driven.plan, driven.spec.model_copy(update={"grid": 2.0**-5, "clip": 0.125})
    spec = encoder_spec(plan, wanted)
    assert spec.grid < wanted.grid
    assert encoder_spec(plan, driven.spec).grid == driven.spec.grid
    assert encoder_spec(replace(plan, noise="off"), wanted) == wanted
    for stages in (("encoder",), ("encoder", "scorecard")):
        own = replace(plan, stages=stages)
        terms = Driven(driven.world, own, spec, encoder_budget(own, spec))
        check_rounds_privacy(read_terms(terms.manifest.token, driven.context("bank-1").roster))


def test_a_table_attempt_cannot_be_turned_into_rounds(driven: Driven) -> None:
    state = driven.context("bank-1").attempts.load(driven.terms.attempt)
    assert state is not None
    assert state.sort == "round"
    with pytest.raises(AttemptError):
        table_stage.share(driven.context("bank-1"), Parcel({"attempt": driven.terms.attempt}))
    with pytest.raises(AttemptError):
        witness_stage.abort(driven.world.federation.witness_context, Parcel({"attempt": driven.terms.attempt}))
