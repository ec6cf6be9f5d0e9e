"""An encoder run outlives the death of hub, node or witness at every step of a round, and each try is paid for once.

A party dies in mid-step by an exception that nothing catches, and comes back from what is on its disk.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.wire.link import ReleaseProposal, RoundShares
from hub.campaign_plan import CampaignPlan, EncoderCheckpoint, NoStore, TrainedEncoder
from hub.encoder_model import make_encoder
from hub.encoder_stage import run_encoder_stage
from hub.encoder_terms import encoder_budget
from hub.grids.base import UnansweredError
from hub.grids.channel import Channel
from hub.simulation import WITNESS_ID, Budget
from models.encoder_spec import EncoderSpec, spec_for
from tests.federation import World, make_world
from tests.mortals import Killed, MortalGrid, die

pytestmark = pytest.mark.faults

ROUNDS = 3
BUDGET = Budget(3.0, 1e-5)


class Disk(NoStore):
    """What the hub has kept."""

    def __init__(self) -> None:
        self.checkpoint: EncoderCheckpoint | None = None
        self.rounds: dict[int, RoundShares] = {}

    def round_opened(self, checkpoint: EncoderCheckpoint, opened: RoundShares | None) -> None:
        self.checkpoint = checkpoint
        if opened is not None:
            self.rounds[checkpoint.state.step] = opened


def small(tmp_path: Path, *, noise: str = "on") -> tuple[World, CampaignPlan, EncoderSpec]:
    world = make_world(
        tmp_path,
        budget=BUDGET,
        noise_off=noise == "off",
        merchants=60,
        nodes={"bank": 3, "tax": 1, "utility": 1},
    )
    spec = spec_for(world.federation.schema, "bank", rounds=ROUNDS, learning_rate=2.0)
    world.federation.grid.close()
    world.federation.grid = MortalGrid(world, BUDGET)
    return world, world.plan(stages=("encoder",), noise=noise, epsilon=2.0), spec


def train(world: World, plan: CampaignPlan, spec: EncoderSpec, disk: Disk, channel: Channel | None = None):
    federation = world.federation
    return run_encoder_stage(
        channel or Channel(federation.grid, federation.node_ids, 30.0),
        plan,
        spec,
        encoder_budget(plan, spec),
        world.events.append,
        disk,
        resume=disk.checkpoint,
    )


def check(world: World, plan: CampaignPlan, trained: TrainedEncoder, disk: Disk, tries: int = ROUNDS) -> None:
    """Everybody paid once; what the hub counted is what was sent; the witness makes the encoder again."""
    federation = world.federation
    banks = ("bank-1", "bank-2", "bank-3")
    for ledger in (*(federation.contexts[party].ledger for party in banks), federation.witness_context.ledger):
        assert sum(bool(each.mechanisms) for each in ledger.charges()) == 1
        assert len(ledger.charges()) == tries
        assert not any(each.refunded for each in ledger.charges())
        assert 1.9 < ledger.spent().epsilon <= 2.0
    assert sorted(disk.rounds) == list(range(1, ROUNDS + 1))
    for party in banks:
        sent = {each.attempt: each.sha256 for each in federation.contexts[party].ledger.charges()}
        for kept in disk.rounds.values():
            assert hashlib.sha256(kept.shares[party]).digest() == sent[kept.attempt]
    proposal = ReleaseProposal(
        artefact=make_encoder(trained, plan.clock()).to_bytes().decode(),
        attempt=trained.terms.attempt,
        scope="evaluation",
        rounds=tuple(disk.rounds[step] for step in sorted(disk.rounds)),
    )
    assert federation.desk.release(canonical_bytes(proposal))


NODE_STEPS = [
    # An acceptance is saved first; then each round saves the opened and the sent try.
    *(("bank-2", "attempts.save", nth, after) for nth in (2, 3, 4, 5) for after in (False, True)),
    *(("bank-2", "ledger.record_send", nth, after) for nth in (1, 2) for after in (False, True)),
    ("bank-2", "attempts.blob", 5, False),
]
WITNESS_STEPS = [
    # A manifest is recorded first; then every round records the try and saves its term; the first saves acceptances.
    *((WITNESS_ID, "attempts.create", nth, after) for nth in (2, 3) for after in (False, True)),
    *((WITNESS_ID, "attempts.save", nth, after) for nth in (1, 2, 3) for after in (False, True)),
    *((WITNESS_ID, "ledger.record_send", nth, after) for nth in (1, 2) for after in (False, True)),
]


@pytest.mark.parametrize(("party", "call", "nth", "after"), [*NODE_STEPS, *WITNESS_STEPS])
def test_a_party_dies_and_comes_back(tmp_path: Path, party: str, call: str, nth: int, after: bool) -> None:
    world, plan, spec = small(tmp_path)
    federation = world.federation
    context: Any = federation.witness_context if party == WITNESS_ID else federation.contexts[party]
    owner, method = call.split(".")
    die(getattr(context, owner), method, nth, after=after)
    disk = Disk()
    trained = train(world, plan, spec, disk)
    assert federation.grid.deaths == [party]
    assert trained.retries == 0  # the same try was asked for again
    check(world, plan, trained, disk)
    federation.close()


HUB_STEPS = [
    *(("store", "round_opened", nth, after) for nth in (2, 3, 4) for after in (False, True)),
    # Asked first for the cosignature and the acceptances, then once a round.
    *(("channel", "ask_each", nth, after) for nth in (3, 4, 5) for after in (False, True)),
]


@pytest.mark.parametrize(("owner", "method", "nth", "after"), HUB_STEPS)
def test_the_hub_dies_and_comes_back(tmp_path: Path, owner: str, method: str, nth: int, after: bool) -> None:
    class MortalChannel(Channel):
        """Of this test, as its method is replaced."""

    world, plan, spec = small(tmp_path)
    disk = Disk()
    die(disk if owner == "store" else MortalChannel, method, nth, after=after)
    with pytest.raises(Killed):
        train(world, plan, spec, disk, MortalChannel(world.federation.grid, world.federation.node_ids, 30.0))
    reopened = Disk()
    reopened.checkpoint, reopened.rounds = disk.checkpoint, disk.rounds
    trained = train(world, plan, spec, reopened)
    assert trained.retries == 0
    check(world, plan, trained, reopened)
    world.federation.close()


def test_without_noise_the_encoder_is_the_undisturbed_one(tmp_path: Path) -> None:
    whole, plan, spec = small(tmp_path / "whole", noise="off")
    undisturbed = train(whole, plan, spec, Disk())
    world, plan, spec = small(tmp_path / "cut", noise="off")
    die(world.federation.contexts["bank-1"].ledger, "record_send", 1, after=True)
    die(world.federation.contexts["bank-3"].attempts, "save", 4, after=True)
    die(world.federation.witness_context.attempts, "save", 2, after=False)
    disk = Disk()
    die(disk, "round_opened", 3, after=False)
    with pytest.raises(Killed):
        train(world, plan, spec, disk)
    reopened = Disk()
    reopened.checkpoint = disk.checkpoint
    trained = train(world, plan, spec, reopened)
    assert sorted(world.federation.grid.deaths) == ["bank-1", "bank-3", WITNESS_ID]
    assert np.array_equal(trained.parameters, undisturbed.parameters)
    for world_ in (whole, world):
        world_.federation.close()


def test_a_hub_that_dies_in_a_second_try_goes_on_and_pays_nothing_more(tmp_path: Path) -> None:
    """What it has forgotten of the try that was under way, nodes and witness have on record."""
    world, plan, spec = small(tmp_path)
    federation = world.federation
    disk = Disk()
    lost = iter([True, True])
    honest = federation.grid.deliver

    def deliver(node_id: int, wire: bytes, timeout: float | None) -> bytes:
        if node_id == federation.node_ids["bank-3"] and b"train.round" in wire and next(lost, False):
            raise UnansweredError("bank-3")
        return honest(node_id, wire, timeout)

    federation.grid.deliver = deliver
    die(disk, "round_opened", 2, after=False)
    with pytest.raises(Killed):
        train(world, plan, spec, disk)
    reopened = Disk()
    reopened.checkpoint = disk.checkpoint
    trained = train(world, plan, spec, reopened)
    charges = {party: federation.contexts[party].ledger.charges() for party in ("bank-1", "bank-2", "bank-3")}
    assert {party: len(each) for party, each in charges.items()} == dict.fromkeys(charges, ROUNDS + 1)
    check(world, plan, trained, reopened, tries=ROUNDS + 1)
    federation.close()
