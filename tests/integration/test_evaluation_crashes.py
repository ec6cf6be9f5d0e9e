"""An evaluation outlives the death of hub, node or witness at every durable step, and each attempt is paid for once.

One world is trained; every test begins with a copy of what was on its parties' disks then.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.jws import sign_model, verify_model
from crypto.parcel import Parcel
from crypto.wire.campaign import Decision, Terms
from hub.campaign_plan import CampaignPlan, NoStore, ReleasedTable
from hub.evaluation_stage import EvaluationTask
from hub.grids.channel import Channel
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignJob, LeftOver, run_server_app
from hub.simulation import HUB_ID, WITNESS_ID, Budget
from tests.federation import World, make_world
from tests.mortals import Killed, MortalGrid, die, restart

pytestmark = pytest.mark.faults

BUDGET = Budget(3.0, 1e-5)
EDGES = (560, 590, 620, 650)


class Disk(NoStore):
    """What the hub has kept."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.decisions: dict[str, str] = {}
        self.undelivered: dict[str, tuple[str, ...]] = {}
        self.passed: list[str] = []
        self.table: ReleasedTable | None = None

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        self.manifests[attempt] = (h, terms)

    def points_passed(self, terms: Terms, boxes: Any) -> None:
        self.passed.append(terms.attempt)

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        self.decisions[attempt] = token
        self.undelivered[attempt] = undelivered

    def opened(self, result: ReleasedTable) -> None:
        assert self.table is None
        self.table = result


@dataclass
class Trained:
    """A world with a model that is to be evaluated."""

    world: World
    plan: CampaignPlan
    task: EvaluationTask
    table: ReleasedTable
    disks: Path

    def run(self, disk: Disk) -> ReleasedTable:
        """The stage as the hub runs it, from what it has kept."""
        federation = self.world.federation
        numbers = [int(event.attempt.rpartition("/")[2]) for event in self.world.events]
        undecided = [
            (verify_model(token, federation.identity.public, Terms, typ="terms", kid=HUB_ID), h)
            for attempt, (h, token) in disk.manifests.items()
            if attempt not in disk.decisions
        ]
        job = CampaignJob(
            replace(self.plan, attempts_before={"evaluation": max(numbers, default=0)}),
            self.world.events.append,
            federation.node_ids,
            store=disk,
            timeout=30.0,
            left=LeftOver(undecided=tuple(undecided), opened=frozenset({self.table.terms.attempt})),
            evaluate=self.task,
        )
        found = run_server_app(federation.grid, job).evaluated
        assert found is not None
        return found

    def charges(self, party: str) -> dict[str, bytes]:
        """What the party paid for in evaluations: attempt → hash of what it sent."""
        federation = self.world.federation
        ledger = federation.witness_context.ledger if party == WITNESS_ID else federation.contexts[party].ledger
        return {
            each.attempt: each.sha256
            for each in ledger.charges()
            if "/evaluation/" in each.attempt and not each.refunded
        }

    def check(self, found: ReleasedTable) -> None:
        """Everybody paid once, for the very bytes that were opened; nobody paid for an attempt that is void."""
        federation = self.world.federation
        attempt = found.terms.attempt
        for party in federation.contexts:
            if party in found.shares:
                paid = {attempt: hashlib.sha256(found.shares[party]).digest()}
                assert self.charges(party) == paid, party
            else:
                assert self.charges(party) == {}, party
            assert federation.contexts[party].ledger.spent().epsilon <= BUDGET.epsilon
        assert list(self.charges(WITNESS_ID)) == [attempt]
        assert federation.witness_context.ledger.spent().epsilon <= BUDGET.epsilon


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    base = tmp_path_factory.mktemp("trained")
    world = make_world(
        base / "state",
        merchants=800,  # with 400 a fit finds no association once in some million draws of noise
        absent=0.1,
        nodes={"bank": 2, "tax": 2, "utility": 2},
        noise_off=False,
        budget=BUDGET,
    )
    plan = world.noisy_plan(stages=("scorecard", "evaluation"), parity=("b2",), bands=len(EDGES) + 1)
    result = world.federation.train(plan, world.events.append)
    _, artefact = make_scorecard(result.table(), plan.clock())
    task = world.federation.evaluation_task(plan, result, artefact, EDGES)
    world.federation.grid.close()
    for store in world.federation.stores.values():
        store.close()
    shutil.copytree(base / "state", base / "disks")
    yield Trained(world, plan, task, result.table(), base / "disks")
    world.federation.close()


@pytest.fixture
def ready(trained: Trained) -> Iterator[Trained]:
    federation = trained.world.federation
    for party, store in federation.stores.items():
        store.close()
        for left in store.path.parent.glob(f"{store.path.name}*"):
            left.unlink()
        shutil.copy(trained.disks / store.path.name, store.path)
        restart(trained.world, party, BUDGET)
    trained.world.events.clear()
    yield trained
    federation.grid.close()


def use_grid(ready: Trained, *, patient: bool = False) -> MortalGrid:
    grid = MortalGrid(ready.world, BUDGET, patient=patient)
    ready.world.federation.grid = grid
    return grid


def owner_of(ready: Trained, party: str, name: str) -> Any:
    federation = ready.world.federation
    context: Any = federation.witness_context if party == WITNESS_ID else federation.contexts[party]
    return getattr(context, name)


# V1 keeps the attempt's key, the campaign's rules, then state and frozen points; V2 the acceptances and the sealed
# boxes; V3 bytes and charge, then the state; the outcome the state, after which the key is forgotten.
SOURCE = [
    ("tax-1", call, nth, after)
    for call, nth in (
        ("attempts.save_key", 1),
        ("campaigns.settle", 1),
        ("attempts.save", 1),
        ("attempts.save_blob", 1),
        ("attempts.save_blob", 2),
        ("ledger.record_send", 1),
        ("attempts.save", 2),
    )
    for after in (False, True)
]
BANK = [
    ("bank-1", call, nth, after)
    for call, nth in (
        ("attempts.save", 1),
        ("attempts.save_blob", 1),
        ("ledger.record_send", 1),
        ("attempts.save", 2),
    )
    for after in (False, True)
]
OUTCOME = [
    ("bank-1", call, nth, after)
    for call, nth in (("attempts.save", 3), ("attempts.forget_key", 1))
    for after in (False, True)
]
WITNESS = [
    (WITNESS_ID, call, 1, after)
    for call in ("campaigns.settle", "attempts.create", "ledger.record_send", "attempts.save")
    for after in (False, True)
]


@pytest.mark.parametrize(("party", "call", "nth", "after"), [*SOURCE, *BANK, *OUTCOME, *WITNESS])
def test_asked_again_a_party_goes_on_where_it_died(
    ready: Trained, party: str, call: str, nth: int, after: bool
) -> None:
    grid = use_grid(ready, patient=True)
    name, method = call.split(".")
    die(owner_of(ready, party, name), method, nth, after=after)
    disk = Disk()
    found = ready.run(disk)
    assert grid.deaths == [party]
    assert found.terms.attempt == "c1/evaluation/1"
    assert len(disk.passed) == 1
    ready.check(found)
    assert not any(disk.undelivered.values())


@pytest.mark.parametrize(("party", "call", "nth", "after"), [each for each in (*SOURCE, *BANK) if each[3]])
def test_a_node_that_died_leaves_and_takes_its_charge_back(
    ready: Trained, party: str, call: str, nth: int, after: bool
) -> None:
    """A hub that does not ask again: the attempt is void, the next one is made without the node."""
    grid = use_grid(ready)
    name, method = call.split(".")
    die(owner_of(ready, party, name), method, nth, after=after)
    found = ready.run(Disk())
    assert grid.deaths == [party]
    assert found.terms.attempt == "c1/evaluation/2"
    assert party not in found.shares
    ready.check(found)


@pytest.mark.parametrize(("party", "call", "nth", "after"), OUTCOME)
def test_a_node_that_died_at_the_outcome_is_told_again(
    ready: Trained, party: str, call: str, nth: int, after: bool
) -> None:
    use_grid(ready)
    name, method = call.split(".")
    die(owner_of(ready, party, name), method, nth, after=after)
    disk = Disk()
    found = ready.run(disk)
    attempt = found.terms.attempt
    assert disk.undelivered[attempt] == (party,)
    federation = ready.world.federation
    channel = Channel(federation.grid, federation.node_ids, 30.0)
    channel.ask_one("train.outcome", party, Parcel({"decision": disk.decisions[attempt]}), attempt)
    state = federation.contexts[party].attempts.load(attempt)
    assert state is not None
    assert state.phase == "released"
    ready.check(found)


HUB = [
    *(
        ("store", method, 1, after)
        for method in ("manifest", "points_passed", "opened", "decision")
        for after in (False, True)
    ),
    # Asked for the cosignature, acceptances, points, counts, the witness's term; then told the outcome.
    *(("channel", "ask_made", nth, after) for nth in range(1, 7) for after in (False, True)),
]
RELEASED = {
    *((method, 1, after) for method in ("opened", "decision") for after in (False, True)),
    ("ask_made", 5, True),
    *(("ask_made", 6, after) for after in (False, True)),
}


@pytest.mark.parametrize(("owner", "method", "nth", "after"), HUB)
def test_the_hub_dies_and_comes_back(
    ready: Trained, monkeypatch: pytest.MonkeyPatch, owner: str, method: str, nth: int, after: bool
) -> None:
    use_grid(ready)
    disk = Disk()
    with monkeypatch.context() as patch:
        if owner == "channel":
            patch.setattr(Channel, method, Channel.__dict__[method])  # taken back at the end
        die(Channel if owner == "channel" else disk, method, nth, after=after)
        with pytest.raises(Killed):
            ready.run(disk)
    reopened = Disk()
    for name in ("manifests", "decisions", "undelivered", "table"):
        setattr(reopened, name, getattr(disk, name))
    found = reopened.table or ready.run(reopened)
    # What the witness had released is opened, not made anew.
    released = (method, nth, after) in RELEASED
    assert found.terms.attempt == ("c1/evaluation/1" if released else "c1/evaluation/2")
    ready.check(found)
    federation = ready.world.federation
    assert reopened.table is not None
    if found.terms.attempt in reopened.decisions:
        decided = verify_model(
            reopened.decisions[found.terms.attempt], federation.witness.sign_key, Decision, typ="decision"
        )
        assert decided.decision == "released"


def test_a_hub_that_dies_and_a_node_that_dies_leave_one_histogram(ready: Trained) -> None:
    """The released attempt is opened again from what nodes repeat, one of them after its own death."""
    grid = use_grid(ready, patient=True)
    disk = Disk()
    die(disk, "opened", 1, after=False)
    with pytest.raises(Killed):
        ready.run(disk)
    die(owner_of(ready, "tax-2", "attempts"), "load", 1, after=False)
    reopened = Disk()
    reopened.manifests = disk.manifests
    found = ready.run(reopened)
    assert grid.deaths == ["tax-2"]
    assert found.terms.attempt == "c1/evaluation/1"
    assert np.array_equal(found.counts, np.asarray(reopened.table.counts if reopened.table else []))
    ready.check(found)


def test_a_table_that_was_kept_and_not_announced_is_announced_before_the_evaluation(ready: Trained) -> None:
    """The hub died between two stages: the table's nodes are told, and it is not taken for the histogram."""
    use_grid(ready)
    disk, terms = Disk(), ready.table.terms
    token = sign_model(terms, ready.world.federation.identity, typ="terms", kid=HUB_ID)
    disk.manifests[terms.attempt] = (ready.table.h, token)
    found = ready.run(disk)
    assert found.terms.stage == "evaluation"
    decided = verify_model(
        disk.decisions[terms.attempt], ready.world.federation.witness.sign_key, Decision, typ="decision"
    )
    assert (decided.attempt, decided.decision) == (terms.attempt, "released")
    ready.check(found)
