"""The hub's Flower `ServerApp`: called as Flower calls it, and taken up where it was left."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from crypto.jws import verify_model
from crypto.wire.campaign import Terms
from hub.campaign_errors import CampaignError
from hub.campaign_plan import NoStore, Progress
from hub.server_app import CampaignJob, CampaignResult, EncoderResult, LeftOver, build_server_app, run_server_app
from hub.simulation import EncoderRounds
from models.encoder_spec import EncoderSpec, spec_for
from tests.federation import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, merchants=60)


def _spec(world: World) -> EncoderSpec:
    return spec_for(world.federation.schema, "bank", rounds=2, learning_rate=2.0)


def _flower_context() -> Context:
    return Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})


def test_flower_calls_it_with_a_grid_and_a_context(world: World) -> None:
    results: list[CampaignResult] = []
    plan = world.plan()
    app = build_server_app(CampaignJob(plan, world.events.append, world.federation.node_ids), results.append)
    assert isinstance(app, ServerApp)
    app(world.federation.grid, _flower_context())
    released = results[0].table()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert np.array_equal(released.counts, world.exact(cohort))


class _StoppedError(Exception):
    """The hub's process ends here."""


@dataclass
class _Kept(NoStore):
    manifests: list[tuple[str, bytes, str]] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        self.manifests.append((attempt, h, terms))

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        self.decided.append(attempt)


def test_errors_of_a_campaign_pass_through_it(world: World) -> None:
    plan = world.plan(quorum={"bank": 9})
    with pytest.raises(CampaignError, match="bank"):
        run_server_app(world.federation.grid, CampaignJob(plan, world.events.append, world.federation.node_ids))
    with pytest.raises(CampaignError, match="no scorecard stage"):
        CampaignResult(None, None).table()


def test_a_finished_encoder_is_not_trained_again(world: World) -> None:
    plan, kept = world.plan(stages=("encoder", "scorecard")), []
    rounds = EncoderRounds(world.federation.desk)
    job = CampaignJob(
        plan,
        world.events.append,
        world.federation.node_ids,
        store=rounds,
        spec=_spec(world),
        keep_encoder=kept.append,
        release_encoder=rounds.release,
    )
    first = run_server_app(world.federation.grid, replace(job, plan=replace(plan, stages=("encoder",))))
    assert isinstance(first.encoder, EncoderResult)
    assert kept == [first.encoder]
    assert first.released is None
    world.events.clear()
    left = LeftOver(encoder=first.encoder.artefact.to_bytes(), encoder_terms=first.encoder.trained.terms)
    again = run_server_app(world.federation.grid, replace(job, left=left))
    assert {event.stage for event in world.events} == {"scorecard"}
    assert again.encoder is None
    assert again.table().terms.encoders_used == {"bank": first.encoder.artefact.model_id}


def test_what_was_under_way_is_voided_first(world: World) -> None:
    def stop(event: Progress) -> None:
        if event.step == "seeds":
            raise _StoppedError

    store = _Kept()
    job = CampaignJob(world.plan(), stop, world.federation.node_ids, store=store)
    with pytest.raises(_StoppedError):
        run_server_app(world.federation.grid, job)
    assert store.decided == []
    attempt, h, token = store.manifests[0]
    terms = verify_model(token, world.federation.identity.public, Terms, typ="terms", kid="hub")
    left = LeftOver(undecided=((terms, h),))
    plan = world.plan(attempts_before={"scorecard": 1})
    result = run_server_app(world.federation.grid, replace(job, plan=plan, progress=world.events.append, left=left))
    assert store.decided == [attempt, "c1/scorecard/2"]
    assert result.table().terms.attempt == "c1/scorecard/2"
