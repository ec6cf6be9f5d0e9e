"""An encoder counts as a feature only after the witness made it again: what a hub could try, and what it gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypto.canonical import canonical_bytes, digest
from crypto.jws import sign_model, verify_model
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRelease, Receipt, RoundReceipt, TablesMechanism
from crypto.wire.link import ReleaseProposal
from hub import encoder_stage as stage
from hub.campaign_errors import CampaignError, QuorumError
from hub.campaign_plan import CampaignPlan, TrainedEncoder
from hub.encoder_model import make_encoder
from hub.encoder_stage import run_encoder_stage
from hub.encoder_terms import encoder_budget
from hub.grids.channel import Channel
from hub.server_app import CampaignJob, run_server_app
from hub.simulation import Budget, EncoderRounds
from models.artefact import EncoderEntry, ModelArtefact
from models.encoder_spec import EncoderSpec, spec_for
from models.errors import BudgetError
from nodes.errors import PolicyRefusal
from nodes.terms_check import check_tables_privacy, read_terms
from nodes.witness.encoder_replay import same_weights
from tests.federation import World, make_world

ROUNDS = 3


def small_spec(world: World) -> EncoderSpec:
    return spec_for(world.federation.schema, "bank", rounds=ROUNDS, learning_rate=2.0)


class Run:
    """A trained encoder, as an honest hub proposes it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plan: CampaignPlan = world.plan(stages=("encoder",))
        self.rounds = EncoderRounds(world.federation.desk)
        spec = small_spec(world)
        channel = Channel(world.federation.grid, world.federation.node_ids, 30.0)
        budget = encoder_budget(self.plan, spec)
        self.trained: TrainedEncoder = run_encoder_stage(
            channel, self.plan, spec, budget, world.events.append, self.rounds
        )
        self.artefact = make_encoder(self.trained, self.plan.clock())
        self.proposal = ReleaseProposal(
            artefact=self.artefact.to_bytes().decode(),
            attempt=self.trained.terms.attempt,
            scope="evaluation",
            rounds=tuple(self.rounds.rounds),
        )

    def release(self, proposal: ReleaseProposal) -> ModelRelease:
        token = self.world.federation.desk.release(canonical_bytes(proposal)).decode()
        key = self.world.federation.witness.sign_key
        return verify_model(token, key, ModelRelease, typ="model-release", kid="witness")

    def with_parameters(self, parameters: np.ndarray) -> ReleaseProposal:
        entry = self.artefact.encoder
        assert entry is not None
        other = EncoderEntry.of(entry.kind, entry.spec, parameters, entry.edges)
        artefact = self.artefact.model_copy(update={"encoder": other})
        return self.proposal.model_copy(update={"artefact": artefact.to_bytes().decode()})

    def refused(self, proposal: ReleaseProposal) -> str:
        with pytest.raises(PolicyRefusal) as caught:
            self.release(proposal)
        assert caught.value.reason == "model-not-reproduced"
        return caught.value.message


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    world = make_world(tmp_path_factory.mktemp("world"))
    yield Run(world)
    world.federation.close()


def test_what_the_rounds_give_is_released_after_their_keys_are_gone(run: Run) -> None:
    record = run.world.federation.witness_context.attempts.load(run.trained.terms.attempt)
    assert record is not None
    assert record.key is None
    release = run.release(run.proposal)
    assert (release.model_id, release.scope) == (run.artefact.model_id, "evaluation")
    assert release.campaign_id == run.plan.campaign_id


def test_parameters_of_the_hubs_choice_are_refused(run: Run) -> None:
    honest = run.trained.parameters
    chosen = np.zeros_like(honest)
    chosen[0] = 50.0  # a feature that reads off one bin
    one = honest.copy()
    one[-1] = np.float64(np.float32(one[-1])) * (1 + 1e-6)
    for parameters in (chosen, one, honest[::-1].copy(), -honest):
        assert "other parameters" in run.refused(run.with_parameters(parameters))


def test_rounds_missing_repeated_reordered_or_of_other_tries_are_refused(run: Run) -> None:
    first, second, third = run.proposal.rounds
    own = first.attempt.rpartition(".")[0]
    never = first.model_copy(update={"attempt": f"{own}.1"})
    cases = [
        ((), "0 of the 3 rounds"),
        ((first, second), "2 of the 3 rounds"),
        ((first, first, third), "no try of round 2"),
        ((second, first, third), "no try of round 1"),
        ((never, second, third), "released no term"),
    ]
    other = run.with_parameters(run.trained.parameters * 2)
    for rounds, why in cases:
        assert why in run.refused(other.model_copy(update={"rounds": rounds}))


def test_shares_without_their_nodes_receipts_are_refused(run: Run) -> None:
    first, *rest = run.proposal.rounds
    party, share = next(iter(first.shares.items()))
    other = next(name for name in first.shares if name != party)
    zeros = bytes(len(share))
    identity = run.world.federation.identity_of(other)

    def receipt(signer_claims: str, data: bytes) -> str:
        body = RoundReceipt(
            suite=SUITE,
            attempt=first.attempt,
            h=run.trained.h,
            party_id=signer_claims,
            sha256=digest(data),
            parameters_sha256=digest(first.parameters),
        )
        return sign_model(body, identity, typ="round-receipt", kid=signer_claims)

    cases = [
        ({"shares": {**first.shares, party: zeros}}, "receipted another share"),
        (
            {"shares": {**first.shares, party: zeros}, "receipts": {**first.receipts, party: receipt(party, zeros)}},
            "signed no receipt",
        ),
        ({"receipts": {**first.receipts, party: rest[0].receipts[party]}}, "receipted another share"),
        ({"shares": {name: data for name, data in first.shares.items() if name != party}}, "not those of all nodes"),
        ({"receipts": {}}, "not those of all nodes"),
    ]
    proposal = run.with_parameters(run.trained.parameters * 3)
    for changes, why in cases:
        altered = first.model_copy(update=changes)
        assert why in run.refused(proposal.model_copy(update={"rounds": (altered, *rest)}))


def test_parameters_that_a_receipt_or_the_witness_does_not_name_are_refused(run: Run) -> None:
    first, second, third = run.proposal.rounds
    moved = (np.frombuffer(second.parameters) + 1e-3).tobytes()
    party = next(iter(second.shares))
    body = RoundReceipt(
        suite=SUITE,
        attempt=second.attempt,
        h=run.trained.h,
        party_id=party,
        sha256=digest(second.shares[party]),
        parameters_sha256=digest(moved),
    )
    token = sign_model(body, run.world.federation.identity_of(party), typ="round-receipt", kid=party)
    plain = body.model_dump(exclude={"parameters_sha256"})
    unbound = sign_model(Receipt(**plain), run.world.federation.identity_of(party), typ="receipt", kid=party)
    cases = [
        ({"parameters": moved}, "released its term of round 2 for other parameters"),
        ({"parameters": second.parameters[:-8]}, "released its term of round 2 for other parameters"),
        ({"receipts": {**second.receipts, party: token}}, f"{party} took its gradients of round 2 at other parameters"),
        ({"receipts": {**second.receipts, party: unbound}}, "signed no receipt"),
    ]
    proposal = run.with_parameters(run.trained.parameters * 3)
    for changes, why in cases:
        rounds = (first, second.model_copy(update=changes), third)
        assert why in run.refused(proposal.model_copy(update={"rounds": rounds}))


def test_a_hub_that_has_gradients_taken_elsewhere_has_no_encoder_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It steers the second round, openly towards nodes and witness, and brings whatever parameters it likes."""
    honest = stage.apply_step

    def steer(parameters, opened, **given):
        after, state = honest(parameters, opened, **given)
        return (after + 0.5 if state.step == 1 else after), state

    monkeypatch.setattr(stage, "apply_step", steer)
    steered = Run(make_world(tmp_path))
    first, second, third = steered.proposal.rounds
    assert "round 2 was run on other parameters" in steered.refused(steered.proposal)
    due = (np.frombuffer(second.parameters) - 0.5).tobytes()
    claimed = second.model_copy(update={"parameters": due})
    refusal = steered.refused(steered.proposal.model_copy(update={"rounds": (first, claimed, third)}))
    assert "released its term of round 2 for other parameters" in refusal
    steered.world.federation.close()


def test_weights_may_differ_in_the_last_place_only() -> None:
    due = np.array([0.1, -3.0, 0.0, 1e-20])
    unit = np.spacing(due.astype(np.float32)).astype(np.float64)
    assert same_weights(due + np.array([unit[0], unit[1], 0.0, 0.0]), due)
    assert same_weights(due + np.array([0.0, 0.0, 2e-12, 2e-12]), due)  # all but cancelled: 1e-12 of the largest
    for place, step in ((0, 3 * unit[0]), (1, 3 * abs(unit[1])), (2, 1e-11)):
        moved = due.copy()
        moved[place] += step
        assert not same_weights(moved, due)
    assert not same_weights(due[:3], due)


# T1 of the next stage.


def two_stages(world: World, **changes: object) -> tuple[CampaignJob, EncoderRounds]:
    rounds = EncoderRounds(world.federation.desk)
    job = CampaignJob(
        world.plan(stages=("encoder", "scorecard")),
        world.events.append,
        world.federation.node_ids,
        store=rounds,
        spec=small_spec(world),
        release_encoder=rounds.release,
    )
    return replace(job, **changes), rounds


def test_nodes_refuse_an_encoder_that_the_witness_did_not_release(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    federation = world.federation

    def release_by(key: str, campaign: str, model_id: str | None = None):
        def release(artefact: bytes) -> str:
            body = ModelRelease(
                suite=SUITE,
                model_id=model_id or ModelArtefact.from_bytes(artefact).model_id,
                campaign_id=campaign,
                scope="evaluation",
                issued_at=world.plan().clock(),
            )
            return sign_model(body, federation.identity_of(key), typ="model-release", kid="witness")

        return release

    cases = [
        (release_by("bank-1", "c0"), "signature-invalid"),  # signed by another than the witness
        (release_by("witness", "c1", "sha256:" + "0" * 64), "encoder-not-released"),  # of another model
        (release_by("witness", "c1"), "encoder-not-released"),  # of another campaign
        (lambda _: "", "encoder-not-released"),
    ]
    for number, (release, why) in enumerate(cases):
        job, _ = two_stages(world, release_encoder=release)
        plan = replace(job.plan, campaign_id=f"c{number}")
        with pytest.raises(QuorumError, match=f"bank-1: {why}"):
            run_server_app(federation.grid, replace(job, plan=plan))
    federation.close()


def test_a_hub_that_swaps_the_encoder_fails_at_the_witness(tmp_path: Path) -> None:
    """The artefact that goes to the nodes is the one that is proposed; another one is not made again."""
    world = make_world(tmp_path)
    job, rounds = two_stages(world)

    def propose_another(artefact: bytes) -> str:
        model = ModelArtefact.from_bytes(artefact)
        assert model.encoder is not None
        entry = EncoderEntry.of("bank", model.encoder.spec, model.encoder.parameters() + 1.0, model.encoder.edges)
        return rounds.release(model.model_copy(update={"encoder": entry}).to_bytes())

    with pytest.raises(PolicyRefusal, match="other parameters"):
        run_server_app(world.federation.grid, replace(job, release_encoder=propose_another))
    with pytest.raises(CampaignError, match="nobody can ask the witness"):
        run_server_app(
            world.federation.grid,
            replace(job, plan=replace(job.plan, campaign_id="c2"), release_encoder=None),
        )
    world.federation.close()


def test_both_stages_state_the_same_privacy_and_the_table_counts_the_encoders_rounds(tmp_path: Path) -> None:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=False, merchants=200)
    # A tax bureau is lost between the stages: the grid of the noise may change, the noise may not.
    world.disturb(before=lambda party, step, parcel: None if party == "tax-1" else parcel)
    plan = world.noisy_plan(stages=("encoder", "scorecard"))
    result = world.federation.train(plan, world.events.append, spec=small_spec(world))
    assert result.encoder is not None
    terms, first = result.table().terms, result.encoder.trained.terms
    assert set(result.table().lost) == {"tax-1"}

    def shape(each):
        return each.model_copy(update={"scale": 1}) if isinstance(each, TablesMechanism) else each

    assert [*map(shape, terms.privacy.mechanisms)] == [*map(shape, first.privacy.mechanisms)]
    roster = world.federation.contexts["utility-1"].roster
    for mechanisms in (
        tuple(each for each in terms.privacy.mechanisms if isinstance(each, TablesMechanism)),
        tuple(
            each if isinstance(each, TablesMechanism) else each.model_copy(update={"stage": "scorecard"})
            for each in terms.privacy.mechanisms
        ),
    ):
        privacy = terms.privacy.model_copy(update={"mechanisms": mechanisms})
        lie = sign_model(
            terms.model_copy(update={"privacy": privacy}), world.federation.identity, typ="terms", kid="hub"
        )
        with pytest.raises(BudgetError, match="leave its rounds out"):
            check_tables_privacy(read_terms(lie, roster))
    world.federation.close()
