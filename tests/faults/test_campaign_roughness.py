"""Campaigns over links that are late, or bring everything twice, while an attempt is under way."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.faults.campaigns import check_all, run_campaign
from tests.faults.matrix import CAMPAIGNS, Rough
from tests.faults.relay import Doubler, Order
from tests.faults.world import FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
STEPS = (("tax-1", b"train.accept"), ("bank-1", b"train.exchange"), ("utility-1", b"train.share"))


@pytest.mark.parametrize("cell", CAMPAIGNS, ids=str)
def test_a_campaign_goes_on_over_bad_links(world: FaultWorld, cell: Rough, tmp_path: Path) -> None:
    world.until(world.connected, what="all links")
    if cell.fault == "link-double":
        doubler = Doubler(world.made.url)
        for party, _ in STEPS:
            world.relays[party].lead_to(doubler.port)
        time.sleep(0.2)
        world.until(world.connected, what="all links through the doubler")
        doubler.double(b"train.", "down")
        done = run_campaign(world, ())
        assert doubler.doubled >= len(STEPS)
        for party, _ in STEPS:
            world.relays[party].lead_to(None)
        world.until(world.connected, what="all links")
        doubler.close()
    else:
        orders: list[Order] = []

        def spoil() -> None:
            for party, step in STEPS:
                orders.append(world.relays[party].spoil(cell.order(step)))
                orders[-1].done.wait(240)

        spoiler = threading.Thread(target=spoil, daemon=True)
        spoiler.start()
        done = run_campaign(world, ())
        spoiler.join(30)
        assert len(orders) == len(STEPS)
        assert all(each.done.is_set() for each in orders)
    check_all(world, done, (), tmp_path)
