"""The fault matrix on PostgreSQL: the server goes and comes back; and two of five nodes that do not come back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.databases import Server, on_postgresql
from tests.faults import cells
from tests.faults.campaigns import check_all, check_bytes, check_charges, check_log, released, run_campaign
from tests.faults.cells import Cell
from tests.faults.market import Market, check_logs
from tests.faults.matrix import ELSEWHERE, Rough
from tests.faults.operations import OPERATIONS
from tests.faults.relay import Order
from tests.faults.test_matrix import answered, attempt, check_refusal
from tests.faults.upgrade import EARLIER, score, upgrade
from tests.faults.world import PARTIES, FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
CALLS = [each for each in ELSEWHERE if each.fault == "postgresql" and each.operation in OPERATIONS]
GONE = ("bank-2", "tax-2")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[FaultWorld]:
    with on_postgresql(postgresql):
        made = FaultWorld(tmp_path_factory.mktemp("postgresql"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def market(elsewhere: FaultWorld) -> Iterator[Market]:
    made = Market(elsewhere)
    yield made
    check_logs(elsewhere, made.requests)


@contextmanager
def halted(server: Server) -> Iterator[None]:
    server.halt()
    try:
        yield
    finally:
        server.go_on()


@pytest.mark.parametrize("cell", CALLS, ids=str)
def test_a_database_that_goes_costs_nothing(market: Market, postgresql: Server, cell: Rough) -> None:
    market.world.until(market.world.connected, what="all links")
    operation = OPERATIONS[cell.operation](market)
    with halted(postgresql):
        tries = [attempt(operation)]
    answer = answered(operation, tries)
    first = tries[0]
    if cell.follows == "refused":
        assert isinstance(first, httpx.Response), first
        assert first.is_error
        check_refusal(first)
    operation.check(answer)


@pytest.mark.parametrize("step", [b"train.accept", b"train.exchange", b"train.share"])
def test_a_database_that_goes_in_the_midst_of_a_campaign(market: Market, postgresql: Server, step: bytes) -> None:
    """The answer to a step comes while the server is away, and cannot be written down."""
    world = market.world
    world.until(world.connected, what="all links")
    order = world.relays["tax-1"].spoil(Order("delay", step, direction="down", of="answer", seconds=1.0))

    def interrupt() -> None:
        assert order.done.wait(240)
        with halted(postgresql):
            time.sleep(3)

    with ThreadPoolExecutor(1) as pool:
        interrupted = pool.submit(interrupt)
        done = run_campaign(world, ())
        interrupted.result(60)
    assert done.state["status"] == "succeeded", done.state["failure"]
    roster = {entry.party_id for entry in released(world, done.campaign_id).terms.roster}
    assert roster == set(PARTIES[1:])
    check_charges(world, done)
    check_bytes(world, done)
    check_log(world, done)


def test_an_earlier_versions_database_is_migrated_and_scoring_goes_on(market: Market) -> None:
    score(market)
    upgrade(market, EARLIER[-1])
    score(market)


def stages(point: str, within: str, stage: str) -> list[Cell]:
    """Both are killed at one step, and nobody starts them again."""
    return [
        Cell(party, "gone", "for good", point, "before", within=within, follows="without", stage=stage, counts=first)
        for party, first in zip(GONE, (True, False), strict=True)
    ]


def bring_back(world: FaultWorld) -> None:
    for party in GONE:
        world.bring_back(party)


@pytest.mark.parametrize("stage", ["scorecard", "evaluation"])
def test_a_campaign_goes_on_without_nodes_that_are_gone(market: Market, stage: str, tmp_path: Path) -> None:
    world = market.world
    world.until(world.connected, what="all links")
    world.gone.update(GONE)
    if stage == "scorecard":
        killed = stages(cells.SEND, f"{cells.NODE}:share", stage)
        done = run_campaign(world, killed, at_end=lambda: bring_back(world))
        check_all(world, done, killed, tmp_path)
    else:
        killed = stages(cells.SAVE, "nodes.evaluation_stage:accept", stage)
        order = {"stages": ["scorecard", "evaluation"], "evaluation": {"bands": 5}, "holdout": 0.5}
        done = run_campaign(world, killed, at_end=lambda: bring_back(world), **order)
        assert done.state["status"] == "succeeded", done.state["failure"]
        roster = {entry.party_id for entry in released(world, done.campaign_id, "evaluation").terms.roster}
        assert roster.isdisjoint(GONE)
        check_charges(world, done)
        check_bytes(world, done)
        check_log(world, done)
