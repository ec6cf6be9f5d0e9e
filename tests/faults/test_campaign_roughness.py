"""Campaigns over links that are cut or late, or bring everything twice, while an attempt is under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.campaigns import (
    Ended,
    check_all,
    check_bytes,
    check_charges,
    check_log,
    released,
    run_campaign,
    undisturbed,
)
from tests.faults.matrix import CAMPAIGNS, Rough
from tests.faults.relay import Doubler, Order
from tests.faults.world import PARTIES, FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
STEPS = {
    "table": (("tax-1", b"train.accept"), ("bank-1", b"train.exchange"), ("utility-1", b"train.share")),
    "evaluation": (("tax-1", b"train.admit"), ("utility-1", b"train.points"), ("bank-1", b"train.count")),
}
"""Whose link is late at which step, one after another."""
NEEDED = "utility-1"
"""Nobody else has what it has: an attempt that its link's end cuts short is made anew."""
CUT = {
    "table": {
        "link-cut-request": b"train.accept",
        "link-cut-answer": b"train.exchange",
        "link-truncate-request": b"train.share",
        "link-truncate-answer": b"train.accept",
    },
    "evaluation": {
        "link-cut-request": b"train.points",
        "link-cut-answer": b"train.admit",
        "link-truncate-request": b"train.admit",
        "link-truncate-answer": b"train.points",
    },
}
ORDERS: dict[str, dict[str, Any]] = {
    "table": {},
    "evaluation": {"stages": ["scorecard", "evaluation"], "evaluation": {"bands": 5}, "holdout": 0.5},
}


@pytest.mark.parametrize("cell", CAMPAIGNS, ids=str)
def test_a_campaign_goes_on_over_bad_links(world: FaultWorld, cell: Rough, tmp_path: Path) -> None:
    world.until(world.connected, what="all links")
    cut = CUT[cell.operation].get(cell.fault)
    steps = STEPS[cell.operation] if cut is None else ((NEEDED, cut),)
    with doubled(world, steps) if cell.fault == "link-double" else spoiled(world, steps, cell):
        done = run_campaign(world, (), **ORDERS[cell.operation])
    if cell.follows == "same" and cell.operation == "table":
        check_all(world, done, (), tmp_path)
        return
    assert done.state["status"] == "succeeded", done.state["failure"]
    check_tables(world, done, cell, tmp_path)
    check_charges(world, done)
    check_bytes(world, done)
    check_log(world, done)


def check_tables(world: FaultWorld, done: Ended, cell: Rough, base: Path) -> None:
    """All nodes are in each stage's table, and the scorecard's is that of a campaign that nothing disturbs."""
    stages = {"scorecard", cell.operation} - {"table"}
    opened = {stage: released(world, done.campaign_id, stage) for stage in stages}
    for stage, table in opened.items():
        assert sorted(entry.party_id for entry in table.terms.roster) == sorted(PARTIES[1:]), stage
        if cell.follows == "same":
            assert table.terms.attempt == f"{done.campaign_id}/{stage}/1"
    if cell.operation == "table":
        parties = [entry.party_id for entry in opened["scorecard"].terms.roster]
        assert np.array_equal(opened["scorecard"].counts, undisturbed(world, done.campaign_id, parties, base))


@contextmanager
def doubled(world: FaultWorld, steps: tuple[tuple[str, bytes], ...]) -> Iterator[None]:
    doubler = Doubler(world.made.url)
    for party, _ in steps:
        world.relays[party].lead_to(doubler.port)
    time.sleep(0.2)
    world.until(world.connected, what="all links through the doubler")
    doubler.double(b"train.", "down")
    yield
    assert doubler.doubled >= len(steps)
    for party, _ in steps:
        world.relays[party].lead_to(None)
    world.until(world.connected, what="all links")
    doubler.close()


@contextmanager
def spoiled(world: FaultWorld, steps: tuple[tuple[str, bytes], ...], cell: Rough) -> Iterator[None]:
    orders: list[Order] = []

    def spoil() -> None:
        for party, step in steps:
            orders.append(world.relays[party].spoil(cell.order(step)))
            orders[-1].done.wait(240)

    spoiler = threading.Thread(target=spoil, daemon=True)
    spoiler.start()
    yield
    spoiler.join(30)
    assert len(orders) == len(steps)
    assert all(each.done.is_set() for each in orders)
