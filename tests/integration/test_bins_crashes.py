"""A bins stage outlives the death of hub, node or witness at every durable step, and each attempt is paid for once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.jws import verify_model
from crypto.wire.campaign import Decision, Terms
from hub.bins_stage import run_bins_stage, settle_bins
from hub.campaign_plan import NoStore, ReleasedTable
from hub.grids.channel import Channel
from hub.server_app import CampaignJob, LeftOver, run_server_app
from hub.simulation import HUB_ID, WITNESS_ID, Budget
from tests.bins_world import bins_of, open_world
from tests.federation import World
from tests.mortals import Killed, MortalGrid, die

pytestmark = pytest.mark.faults

BUDGET = Budget(3.0, 1e-5)


class Disk(NoStore):
    """What the hub has kept."""

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.decisions: dict[str, str] = {}
        self.opened_bins: ReleasedTable | None = None

    def manifest(self, attempt: str, h: bytes, terms: str) -> None:
        self.manifests[attempt] = (h, terms)

    def decision(self, attempt: str, h: bytes, token: str, undelivered: tuple[str, ...]) -> None:
        self.decisions[attempt] = token

    def opened(self, result: ReleasedTable) -> None:
        if result.terms.stage == "bins":
            assert self.opened_bins is None
            self.opened_bins = result


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = open_world(
        tmp_path, merchants=150, nodes={"bank": 2, "tax": 2, "utility": 2}, budget=BUDGET, noise_off=False
    )
    made.federation.grid.close()
    yield made
    made.federation.close()


def use_grid(world: World, *, patient: bool = False) -> MortalGrid:
    grid = MortalGrid(world, BUDGET, patient=patient)
    world.federation.grid = grid
    return grid


def run_stage(world: World, disk: Disk) -> ReleasedTable:
    """The stage alone, and the witness's word on it."""
    federation, plan = world.federation, world.noisy_plan(3.0)
    channel = Channel(federation.grid, federation.node_ids, 30.0)
    found = run_bins_stage(channel, plan, world.events.append, disk)
    assert settle_bins(channel, plan, found).attempt == found.terms.attempt
    return found


def owner_of(world: World, party: str, name: str) -> Any:
    federation = world.federation
    context: Any = federation.witness_context if party == WITNESS_ID else federation.contexts[party]
    return getattr(context, name)


def charges(world: World, party: str) -> dict[str, bytes]:
    """What stands: attempt → hash of what was sent."""
    ledger = owner_of(world, party, "ledger")
    return {each.attempt: each.sha256 for each in ledger.charges() if "/bins/" in each.attempt and not each.refunded}


def check(world: World, found: ReleasedTable) -> None:
    """Everybody paid once, for the very bytes that were opened; nobody paid for an attempt that is void."""
    attempt = found.terms.attempt
    for party, context in world.federation.contexts.items():
        share = found.shares.get(party)
        paid = {} if share is None else {attempt: hashlib.sha256(share).digest()}
        assert charges(world, party) == paid, party
        assert context.ledger.spent().epsilon <= BUDGET.epsilon
    assert list(charges(world, WITNESS_ID)) == [attempt]


# Q1 keeps the attempt's key, the campaign's rules, then state and frozen counts; Q2 the acceptances, bytes and charge,
# then the state; the outcome the state, after which the key is forgotten.
NODE = [
    ("tax-1", call, nth, after)
    for call, nth in (
        ("attempts.save_key", 1),
        ("campaigns.settle", 1),
        ("attempts.save", 1),
        ("attempts.save_blob", 1),
        ("ledger.record_send", 1),
        ("attempts.save", 2),
    )
    for after in (False, True)
]
OUTCOME = [("bank-1", call, nth, True) for call, nth in (("attempts.save", 3), ("attempts.forget_key", 1))]
WITNESS = [
    (WITNESS_ID, call, 1, after)
    for call in ("campaigns.settle", "attempts.create", "ledger.record_send", "attempts.save")
    for after in (False, True)
]


@pytest.mark.parametrize(("party", "call", "nth", "after"), [*NODE, *OUTCOME, *WITNESS])
def test_asked_again_a_party_goes_on_where_it_died(world: World, party: str, call: str, nth: int, after: bool) -> None:
    grid = use_grid(world, patient=True)
    name, method = call.split(".")
    die(owner_of(world, party, name), method, nth, after=after)
    found = run_stage(world, Disk())
    assert grid.deaths == [party]
    assert found.terms.attempt == "c1/bins/1"
    check(world, found)


@pytest.mark.parametrize(("party", "call", "nth", "after"), [each for each in NODE if each[3]])
def test_a_node_that_died_leaves_and_takes_its_charge_back(
    world: World, party: str, call: str, nth: int, after: bool
) -> None:
    """A hub that does not ask again: the attempt is void, the next one is made without the node."""
    grid = use_grid(world)
    name, method = call.split(".")
    die(owner_of(world, party, name), method, nth, after=after)
    found = run_stage(world, Disk())
    assert grid.deaths == [party]
    assert found.terms.attempt == "c1/bins/2"
    assert party not in found.shares
    check(world, found)


HUB = [
    *(("store", method, 1, after) for method in ("manifest", "opened", "decision") for after in (False, True)),
    # Asked for the cosignature, acceptances, counts, the witness's term; then told the outcome, and asked for the bins.
    *(("channel", "ask_made", nth, True) for nth in range(1, 7)),
]
RELEASED = {
    *((method, 1, after) for method in ("opened", "decision") for after in (False, True)),
    *(("ask_made", nth, True) for nth in range(4, 7)),
}


@pytest.mark.parametrize(("owner", "method", "nth", "after"), HUB)
def test_the_hub_dies_and_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: str, method: str, nth: int, after: bool
) -> None:
    use_grid(world)
    federation, disk, plan = world.federation, Disk(), world.noisy_plan(3.0)
    job = CampaignJob(plan, world.events.append, federation.node_ids, store=disk, timeout=30.0)
    with monkeypatch.context() as patch:
        if owner == "channel":
            patch.setattr(Channel, method, Channel.__dict__[method])  # taken back at the end
        die(Channel if owner == "channel" else disk, method, nth, after=after)
        with pytest.raises(Killed):
            run_server_app(federation.grid, job)
    reopened = Disk()
    for name in ("manifests", "decisions", "opened_bins"):
        setattr(reopened, name, getattr(disk, name))
    undecided = [
        (verify_model(token, federation.identity.public, Terms, typ="terms", kid=HUB_ID), h)
        for attempt, (h, token) in disk.manifests.items()
        if attempt not in disk.decisions
    ]
    kept = disk.opened_bins
    left = LeftOver(tuple(undecided), frozenset() if kept is None else frozenset({kept.terms.attempt}), kept)
    numbers = [int(event.attempt.rpartition("/")[2]) for event in world.events]
    again = replace(plan, attempts_before={"bins": max(numbers, default=0)})
    result = run_server_app(federation.grid, replace(job, plan=again, store=reopened, left=left))
    # What the witness had released is opened, not made anew.
    released = (method, nth, after) in RELEASED
    found = bins_of(result)
    assert found.terms.attempt == ("c1/bins/1" if released else "c1/bins/2")
    assert result.table().terms.bins_attempt == found.terms.attempt
    check(world, found)
    decided = verify_model(
        reopened.decisions[found.terms.attempt], federation.witness.sign_key, Decision, typ="decision"
    )
    assert decided.decision == "released"
