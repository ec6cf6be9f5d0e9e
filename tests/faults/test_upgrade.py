"""A hub with an earlier version's database: refused until it is migrated, then verified; scoring and training go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub.demo.merchants import event_of
from tests.faults.campaigns import check_log, run_campaign
from tests.faults.market import Market, check_logs, held
from tests.faults.upgrade import EARLIER, score, upgrade
from tests.faults.world import FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def market(world: FaultWorld) -> Iterator[Market]:
    made = Market(world)
    yield made
    check_logs(world, made.requests)


@pytest.mark.parametrize("revision", EARLIER)
def test_an_earlier_versions_database_is_migrated_and_scoring_goes_on(market: Market, revision: str) -> None:
    score(market)
    upgrade(market, revision)
    score(market)


def test_what_was_revoked_before_stays_so_and_campaigns_go_on(market: Market) -> None:
    world = market.world
    row, merchant = market.merchant()
    record = world.made.records[row]
    world.withdrawn.add(row)
    world.post("/v1/consent-events", {"tokens": [event_of(merchant, record, "revoked")]})
    upgrade(market, EARLIER[-1])
    world.until(lambda: held(world, "tax-1", record) == "revoked", what="the revocation at the source")
    refused = world.refused_by_gateway("/score", {"id": merchant.merchant_id, "consent_id": record})
    assert refused["refusals"]["tax-1"] == "consent-revoked", refused
    done = run_campaign(world, ())
    assert done.state["status"] == "succeeded", done.state["failure"]
    check_log(world, done)
