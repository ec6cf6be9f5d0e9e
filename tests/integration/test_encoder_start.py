"""An encoder that starts from an earlier released model: the same as a central run from there, and made again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.jws import verify_model
from crypto.manifest import holdout_mask
from crypto.wire.campaign import ModelRelease
from crypto.wire.link import ReleaseProposal, WithdrawalProposal
from hub.campaign_plan import CampaignPlan, TrainedEncoder
from hub.encoder_model import make_encoder
from hub.encoder_stage import run_encoder_stage
from hub.encoder_terms import encoder_budget
from hub.grids.channel import Channel
from hub.scorecard_model import make_scorecard
from hub.simulation import EncoderRounds
from models.artefact import ModelArtefact
from models.central import train_with_opacus
from models.encoder_scores import encoder_logits
from models.encoder_spec import EncoderSpec, spec_for
from models.encoder_start import first_parameters
from models.encoder_step import initial_parameters
from models.errors import DataError
from models.schema import Schema
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.store import Store
from nodes.witness.release import ReleaseDesk
from tests.federation import World, make_world, run_scorecard, small_schema
from tests.scoring_world import NOW


def banks_alone() -> Schema:
    schema = small_schema()
    return schema.model_copy(update={"kinds": {"bank": schema.kinds["bank"]}})


@dataclass
class Trained:
    """An encoder and what the witness needs to make it again."""

    result: TrainedEncoder
    artefact: ModelArtefact
    proposal: ReleaseProposal


@dataclass
class Banks:
    """Banks that first train a scorecard and an encoder, each to start from."""

    world: World
    scorecard: ModelArtefact
    card_proposal: ReleaseProposal
    first: Trained

    @property
    def schema(self) -> Schema:
        return self.world.federation.schema

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        plan = self.world.plan()
        kept = ~holdout_mask(self.world.pseudonyms, plan.holdout_salt, plan.holdout_fraction)
        return self.world.codes["bank"][kept], self.world.outcome[kept]

    def spec(self, start: ModelArtefact | None, **options: object) -> EncoderSpec:
        chosen = {"rounds": 5, "learning_rate": 2.0, "start": None if start is None else start.model_id, **options}
        return spec_for(self.schema, "bank", **chosen)


def trained(world: World, spec: EncoderSpec, campaign_id: str, start: ModelArtefact | None) -> Trained:
    data = None if start is None else start.to_bytes()
    plan: CampaignPlan = world.plan(stages=("encoder",), campaign_id=campaign_id, start=data)
    rounds = EncoderRounds(world.federation.desk)
    channel = Channel(world.federation.grid, world.federation.node_ids, 30.0)
    result = run_encoder_stage(channel, plan, spec, encoder_budget(plan, spec), world.events.append, rounds)
    artefact = make_encoder(result, plan.clock())
    proposal = ReleaseProposal(
        artefact=artefact.to_bytes().decode(),
        attempt=result.terms.attempt,
        scope="evaluation",
        rounds=tuple(rounds.rounds),
        start=None if data is None else data.decode(),
    )
    return Trained(result, artefact, proposal)


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Banks]:
    world = make_world(
        tmp_path_factory.mktemp("world"), merchants=240, nodes={"bank": 3}, unlabelled=0.0, schema=banks_alone()
    )
    released = run_scorecard(world, world.plan(campaign_id="c0"))
    _, card = make_scorecard(released, NOW)
    proposal = ReleaseProposal(
        artefact=card.to_bytes().decode(),
        attempt=released.terms.attempt,
        scope="evaluation",
        shares=dict(released.shares),
    )
    spec = spec_for(world.federation.schema, "bank", rounds=5, learning_rate=2.0)
    yield Banks(world, card, proposal, trained(world, spec, "c1", None))
    world.federation.close()


@pytest.fixture
def desk(banks: Banks, tmp_path: Path) -> Iterator[ReleaseDesk]:
    store = Store.open(tmp_path / "node.db")
    yield ReleaseDesk(store, banks.world.federation.witness_context, Journal(store, "witness", clock=lambda: NOW))
    store.close()


@pytest.mark.parametrize("start", ["encoder", "scorecard"])
def test_zero_noise_from_an_earlier_model_equals_a_central_run_from_there(
    banks: Banks, desk: ReleaseDesk, start: str
) -> None:
    before = banks.first.artefact if start == "encoder" else banks.scorecard
    spec = banks.spec(before)
    made = trained(banks.world, spec, f"c2-{start}", before)
    codes, outcome = banks.rows()
    first = first_parameters(spec, banks.schema, before.to_bytes())
    central = train_with_opacus(spec, codes, outcome, n_public=len(codes), start=first)
    assert np.abs(made.result.parameters - central).max() < 1e-4
    assert np.abs(made.result.parameters - first).max() > 0.01
    from_nothing = train_with_opacus(banks.spec(None), codes, outcome, n_public=len(codes))
    assert np.abs(made.result.parameters - from_nothing).max() > 0.01
    # The witness knows the model, takes the same steps from it, and releases.
    desk.release(canonical_bytes(banks.first.proposal if start == "encoder" else banks.card_proposal))
    token = desk.release(canonical_bytes(made.proposal)).decode()
    key = banks.world.federation.witness.sign_key
    release = verify_model(token, key, ModelRelease, typ="model-release", kid="witness")
    assert release.model_id == made.artefact.model_id


def test_a_start_that_was_not_released_is_withdrawn_or_another_is_refused(banks: Banks, desk: ReleaseDesk) -> None:
    made = trained(banks.world, banks.spec(banks.first.artefact), "c3", banks.first.artefact)

    def refused(proposal: ReleaseProposal) -> tuple[str, str | None]:
        with pytest.raises(PolicyRefusal) as caught:
            desk.release(canonical_bytes(proposal))
        return caught.value.reason, caught.value.field

    assert refused(made.proposal) == ("model-unknown", "start")
    desk.release(canonical_bytes(banks.first.proposal))
    assert refused(made.proposal.model_copy(update={"start": None})) == ("model-not-reproduced", "start")
    other = banks.scorecard.to_bytes().decode()
    assert refused(made.proposal.model_copy(update={"start": other})) == ("model-not-reproduced", "start")
    unasked = banks.first.proposal.model_copy(update={"start": other, "scope": "release"})
    assert refused(unasked) == ("model-not-reproduced", "start")
    desk.withdraw(canonical_bytes(WithdrawalProposal(model_id=banks.first.artefact.model_id, reason="drift")))
    assert refused(made.proposal)[0] == "model-withdrawn"


def test_rounds_from_another_start_than_the_terms_name_are_refused(banks: Banks, desk: ReleaseDesk) -> None:
    """A hub that sends gradients out from parameters of its own choice has no encoder to show for it."""
    desk.release(canonical_bytes(banks.first.proposal))
    made = trained(banks.world, banks.spec(banks.first.artefact), "c4", banks.first.artefact)
    first, *rest = made.proposal.rounds
    zeros = initial_parameters(banks.spec(None))
    bent = first.model_copy(update={"parameters": zeros.astype("<f8").tobytes()})
    with pytest.raises(PolicyRefusal) as caught:
        desk.release(canonical_bytes(made.proposal.model_copy(update={"rounds": (bent, *rest)})))
    assert caught.value.reason == "model-not-reproduced"


def test_a_scorecard_is_taken_over_as_log_odds_where_clipped_training_settles(banks: Banks) -> None:
    spec = banks.spec(banks.scorecard)
    codes, _ = banks.rows()
    logits = encoder_logits(spec, first_parameters(spec, banks.schema, banks.scorecard.to_bytes()), codes)
    card = banks.scorecard.card()
    pd = card.calibration.pd(card.kind_points("bank", codes).astype(np.float64) + card.base)
    assert logits == pytest.approx(np.log(pd / (1 - pd)) + math.log(spec.clip), abs=1e-5)


def test_models_that_do_not_fit_are_refused(banks: Banks) -> None:
    schema, first = banks.schema, banks.first.artefact
    cases = [
        (banks.spec(first), None, "not there"),
        (banks.spec(first), banks.scorecard.to_bytes(), "not the model"),
        (banks.spec(None), first.to_bytes(), "from nothing"),
        (banks.spec(first, hidden=(4,)), first.to_bytes(), "another shape"),
        (banks.spec(banks.scorecard, hidden=(4,)), banks.scorecard.to_bytes(), "only a linear encoder"),
    ]
    for spec, start, sentence in cases:
        with pytest.raises(DataError, match=sentence) as caught:
            first_parameters(spec, schema, start)
        assert caught.value.field == "encoder.start"
    with pytest.raises(DataError, match="other kinds") as caught:
        first_parameters(banks.spec(first), small_schema(), first.to_bytes())
    assert caught.value.field == "encoder.start"
    plan = banks.world.plan(stages=("encoder",), campaign_id="c5")
    spec = banks.spec(first)
    channel = Channel(banks.world.federation.grid, banks.world.federation.node_ids, 30.0)
    rounds = EncoderRounds(banks.world.federation.desk)
    with pytest.raises(DataError, match="not there"):
        run_encoder_stage(channel, replace(plan, start=None), spec, encoder_budget(plan, spec), lambda _: None, rounds)
