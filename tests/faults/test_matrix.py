"""The fault matrix: nothing acknowledged is lost or doubled, and every refusal says who is at fault and what to do."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.faults.market import Market, check_logs
from tests.faults.matrix import CELLS, HOUR, Rough
from tests.faults.operations import OPERATIONS, SOURCE, Operation, Query, Table
from tests.faults.relay import Doubler
from tests.faults.world import REQUESTER, FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
WHO = {"hub": "hub", "requester": REQUESTER, "source": SOURCE, "witness": "witness"}
TRIES_S = 90.0


@pytest.fixture(scope="module")
def market(world: FaultWorld) -> Iterator[Market]:
    made = Market(world)
    yield made
    check_logs(world, made.requests)


@pytest.fixture(scope="module")
def doubler(world: FaultWorld) -> Iterator[Doubler]:
    made = Doubler(world.made.url)
    yield made
    for relay in world.relays.values():  # nobody's way may still lead through it
        relay.lead_to(None)
    world.until(world.connected, what="all links without the doubler")
    made.close()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_fault_costs_nothing_that_was_acknowledged(market: Market, doubler: Doubler, cell: Rough) -> None:
    world = market.world
    world.until(world.connected, what="all links")
    operation = OPERATIONS[cell.operation](market)
    with spoiled(world, operation, cell, doubler):
        tries = [attempt(operation)]
        if isinstance(tries[0], httpx.Response) and tries[0].is_success and not cell.fault.startswith("disk"):
            operation.settle(tries[0])
        if cell.follows == "refused" and isinstance(tries[0], httpx.Response):
            check_refusal(tries[0])
    answer = answered(operation, tries)
    failed = [each for each in tries if not isinstance(each, httpx.Response) or each.is_error]
    assert cell.follows == "soon" or bool(failed) == (cell.follows in ("again", "refused")), failed
    if cell.follows == "refused":
        assert isinstance(failed[0], httpx.Response), failed
    operation.check(answer)
    if isinstance(operation, Table):
        culprit = {WHO[cell.fault.split("-")[1]]} if cell.follows == "without" else set()
        assert operation.left_out == culprit


def attempt(operation: Operation) -> httpx.Response | httpx.TransportError:
    try:
        return operation.attempt()
    except httpx.TransportError as error:
        return error


def answered(operation: Operation, tries: list[httpx.Response | httpx.TransportError]) -> httpx.Response:
    """Try again as callers do: the same under the same key; a query that was refused for good under a fresh one."""
    deadline = time.monotonic() + TRIES_S
    while True:
        last = tries[-1]
        if isinstance(last, httpx.Response):
            if last.is_success:
                return last
            check_refusal(last)
            if isinstance(operation, Query) and last.status_code != 503:
                operation.key = secrets.token_hex(16)
                operation.asked += 1
        assert time.monotonic() < deadline, last if isinstance(last, httpx.TransportError) else last.text
        time.sleep(0.3)
        operation.world.revive()
        tries.append(attempt(operation))


def check_refusal(refused: httpx.Response) -> None:
    """Who is at fault, what is wrong, what to do: in words, by a code."""
    problem = refused.json()
    assert problem["code"] not in ("internal-error", "node-failed"), problem
    assert problem["title"], problem
    assert problem["detail"], problem
    assert problem.get("remedy"), problem
    assert problem.get("party") or refused.status_code < 500, problem


@contextmanager
def spoiled(world: FaultWorld, operation: Operation, cell: Rough, doubler: Doubler) -> Iterator[None]:
    """The fault of a cell; it has happened at the end."""
    where, _, how = cell.fault.partition("-")
    if how != "double":
        for relay in world.relays.values():
            relay.lead_to(None)
        world.until(world.connected, what="all links")
    if where in ("caller", "link"):
        party = operation.caller if where == "caller" else operation.link_party
        request = operation.request if where == "caller" else operation.link_request
        if how == "double":
            with doubled(world, party, request, "up" if where == "caller" else "down", doubler):
                yield
            return
        order = world.relays[party].spoil(cell.order(request))
        yield
        assert order.done.wait(60), "nothing was spoiled"
    elif where == "disk":
        world.fill_disk(WHO[how])
        try:
            yield
        finally:
            world.free_disk(WHO[how])
    elif where == "clock":
        party, _, direction = how.partition("-")
        names = ("hub", "worker") if party == "hub" else (WHO[party],)
        for name in names:
            world.set_clock(name, HOUR if direction == "ahead" else -HOUR)
        try:
            yield
        finally:
            for name in names:
                world.set_clock(name, 0)
    else:
        raise AssertionError(f"no such fault: {cell.fault}")


@contextmanager
def doubled(world: FaultWorld, party: str, request: bytes, direction: str, doubler: Doubler) -> Iterator[None]:
    """Everything of one party passes the doubler, which stays until another fault comes."""
    if world.relays[party].lead_to(doubler.port):
        time.sleep(0.2)
        world.until(world.connected, what="all links through the doubler")
    doubler.double(request, "up" if direction == "up" else "down")
    yield
    world.until(lambda: doubler.doubled > 0, what="the second request")
    doubler.once()
