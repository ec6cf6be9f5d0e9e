"""Two replicas and a worker on PostgreSQL under load, one killed: requests in flight fail, and may be sent again."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from hub.tables.consents import ConsentRow
from tests.databases import Server, on_postgresql
from tests.faults.campaigns import ENDED
from tests.faults.replicas import LEASE_S, REPLICAS, Load, ReplicaWorld
from tests.faults.test_query_kills import Market, check_logs, consent, entries_about, held, queries_logged, quiet
from tests.faults.world import PARTIES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
THREADS = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[ReplicaWorld]:
    with on_postgresql(postgresql):
        made = ReplicaWorld(tmp_path_factory.mktemp("replicas"))
    try:
        yield made
    finally:
        made.close()


def test_one_of_two_replicas_is_killed_under_load(world: ReplicaWorld) -> None:
    market = Market(world)
    rows = list(range(0, len(world.made.ids), 7))
    before = {row: entries_about(world, world.made.merchants[row])["consent"] for row in rows}
    given: Counter[int] = Counter()

    def bodies() -> Iterator[tuple[str, Any]]:
        for row in itertools.cycle(rows):
            record, token = consent(world.made.merchants[row])
            given[row] += 1
            yield record, {"tokens": [token]}

    load = Load(world.made.url, bodies(), THREADS)
    load.start()
    campaign = {"name": "under-load", "schema": "small", "stages": ["scorecard"], "epsilon": 3.0, "holdout": 0.3}
    order = {"campaign": campaign | {"noise": "off"}, "schema": json.loads(world.made.schema.canonical_json())}
    campaign_id = str(world.post("/v1/campaigns", order)["campaign_id"])
    world.until(lambda: state(world, campaign_id)["status"] != "queued", what="the campaign's beginning")
    world.until(lambda: len(load.done) >= 20, what="acknowledged consents before the kill")
    victim = most_links(world)
    killed = world.kill(victim)

    # The survivor answers, at once.
    answer = world.ask_gateway("/score", asked(market))
    market.requests += 1
    assert answer["model_id"] == market.model_id
    world.until(world.connected, what="all links at the survivor")
    survivor = next(each for each in REPLICAS if each != victim)
    world.until(lambda: world.places() == {world.address(survivor): set(PARTIES)}, what="all links at the survivor")
    count = len(load.done)
    world.until(lambda: len(load.done) >= count + 20, what="acknowledged consents after the kill")
    ended = world.until(lambda: finished(world, campaign_id), what="the campaign's end")
    assert ended["status"] == "succeeded", ended["failure"]
    sent = load.stop()

    # Only requests in flight failed, and each was told to come again.
    failed = [each for each in sent if each.refusals]
    assert len(failed) <= THREADS
    for each in failed:
        assert each.began <= killed
        assert {code for _, code, _ in each.refusals} <= {"replica-gone", "idempotency-in-progress"}, each.refusals
        assert each.ended - killed < 10 * LEASE_S

    # Nothing acknowledged is lost or doubled.
    world.until(lambda: quiet(world), what="a log that is whole and cosigned")
    records = [each.record for each in sent]
    assert len(set(records)) == len(records) == sum(given.values())
    with world.hub.db.reading() as session:
        stored = session.scalar(select(func.count()).where(ConsentRow.record_id.in_(records)))
    assert stored == len(records)
    for row in rows:
        counted = entries_about(world, world.made.merchants[row])["consent"] - before[row]
        assert counted == given[row]
    for row in rows:
        world.until(partial(given_at_sources, world, row), what="the consents at their sources")
    queries_logged(world)

    # The killed one comes back, and both go on.
    world.down.clear()
    world.until(lambda: len(world.places()) == len(REPLICAS), what="the replica's return")
    world.ask_gateway("/score", asked(market))
    market.requests += 1
    check_logs(world, market.requests)
    assert world.hub.log_alarms.refusals() == ()


def asked(market: Market) -> dict[str, str]:
    row, merchant = market.merchant()
    record = market.world.made.records[row]
    return {"id": merchant.merchant_id, "consent_id": record, "model_id": market.model_id}


def state(world: ReplicaWorld, campaign_id: str) -> dict[str, Any]:
    found: dict[str, Any] = world.get(f"/v1/campaigns/{campaign_id}")
    return found


def finished(world: ReplicaWorld, campaign_id: str) -> dict[str, Any] | None:
    found = state(world, campaign_id)
    return found if found["status"] in ENDED else None


def most_links(world: ReplicaWorld) -> str:
    places = world.places()
    assert len(places) == len(REPLICAS)
    return max(REPLICAS, key=lambda each: len(places[world.address(each)]))


def given_at_sources(world: ReplicaWorld, row: int) -> bool:
    """Whether each source holds every consent that the hub has of a merchant and that names it."""
    found = world.hub.consents.of_merchant(world.made.merchants[row].pseudonym)
    wanted = [(party, each.record.record_id) for each in found for party in each.record.sources.values()]
    return all(held(world, party, record) == "given" for party, record in wanted)
