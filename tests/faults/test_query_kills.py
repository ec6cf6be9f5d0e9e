"""Queries, batches and consents: nothing acknowledged is lost or counts twice, wherever a process is killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from hub.demo.merchants import event_of
from tests.faults.cells import QUERY, Cell
from tests.faults.market import (
    SOURCES,
    Market,
    check_logs,
    consent,
    ended_batch,
    entries_about,
    held,
    queries_logged,
    quiet,
)
from tests.faults.world import FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
SINGLE = [each for each in QUERY if each.step in ("Q1", "Q2", "Q3", "Q4", "Q5", "S5", "A1", "A3")]
BATCH = [each for each in QUERY if each.step in ("B1", "B2", "B3")]
CONSENT = [each for each in QUERY if each.step in ("C4", "feed") and "consent" in each.where]
REVOCATION = [each for each in QUERY if each.step in ("C4", "feed") and "revocation" in each.where]


@pytest.fixture(scope="module")
def market(world: FaultWorld) -> Iterator[Market]:
    made = Market(world)
    yield made
    check_logs(world, made.requests)


@pytest.mark.parametrize("cell", SINGLE, ids=[each.name for each in SINGLE])
def test_a_score_is_answered_once_whoever_is_killed(market: Market, cell: Cell) -> None:
    world = market.world
    row, merchant = market.merchant()
    record = world.made.records[row]
    world.until(lambda: quiet(world), what="a log that is whole and cosigned")
    before, known = len(world.killed()), queries_logged(world)
    world.order_kills([cell])
    body = {"id": merchant.merchant_id, "consent_id": record, "model_id": market.model_id}
    answer = world.ask_gateway("/score", body)
    assert world.killed()[before:] == [cell.name]
    market.requests += 1
    assert answer["score"] == market.score(row)
    assert {source: market.uses(source, record) for source in SOURCES} == dict.fromkeys(SOURCES, 1)
    assert len(queries_logged(world) - known) == 1


@pytest.mark.parametrize("cell", BATCH, ids=[each.name for each in BATCH])
def test_a_batch_goes_on_and_asks_nobody_twice(market: Market, cell: Cell) -> None:
    world = market.world
    chosen = [market.merchant() for _ in range(3)]
    before, known = len(world.killed()), queries_logged(world)
    world.order_kills([cell])
    items = [{"id": each.merchant_id, "consent_id": world.made.records[row]} for row, each in chosen]
    made = world.ask_gateway("/batches", {"items": items, "model_id": market.model_id})
    finished = world.until(lambda: ended_batch(world, made["batch_id"]), what="the batch's end")
    assert world.killed()[before:] == [cell.name]
    market.requests += 1
    assert (finished["total"], finished["scored"], finished["refused"]) == (3, 3, {})
    for row, _ in chosen:
        record = world.made.records[row]
        assert {source: market.uses(source, record) for source in SOURCES} == dict.fromkeys(SOURCES, 1)
    assert len(queries_logged(world) - known) == 3


@pytest.mark.parametrize("cell", CONSENT, ids=[each.name for each in CONSENT])
def test_a_consent_that_was_accepted_is_there_once(market: Market, cell: Cell) -> None:
    world = market.world
    _, merchant = market.merchant()
    before, told = len(world.killed()), entries_about(world, merchant)
    world.order_kills([cell])
    record, token = consent(merchant)
    world.post("/v1/consents", {"tokens": [token]})
    world.until(lambda: held(world, "tax-1", record) == "given", what="the consent at the source")
    world.until(world.connected, what="all links")
    assert world.killed()[before:] == [cell.name]
    assert [each.record.record_id for each in world.hub.consents.of_merchant(merchant.pseudonym)].count(record) == 1
    world.until(lambda: entries_about(world, merchant) - told, what="its entry in the log")
    assert entries_about(world, merchant) - told == Counter(consent=1)


@pytest.mark.parametrize("cell", REVOCATION, ids=[each.name for each in REVOCATION])
def test_a_revocation_that_was_accepted_ends_all_answers(market: Market, cell: Cell) -> None:
    world = market.world
    row, merchant = market.merchant()
    record = world.made.records[row]
    before, told = len(world.killed()), entries_about(world, merchant)
    world.order_kills([cell])
    world.withdrawn.add(row)
    world.post("/v1/consent-events", {"tokens": [event_of(merchant, record, "revoked")]})
    world.until(lambda: held(world, "tax-1", record) == "revoked", what="the revocation at the source")
    world.until(world.connected, what="all links")
    assert world.killed()[before:] == [cell.name]
    stored = world.hub.consents.read(record)
    assert (stored.state, len(stored.events)) == ("revoked", 1)
    world.until(lambda: entries_about(world, merchant) - told, what="its entry in the log")
    assert entries_about(world, merchant) - told == Counter({"consent-event": 1})
    world.until(world.connected, what="all links")
    refused = world.refused_by_gateway("/score", {"id": merchant.merchant_id, "consent_id": record})
    assert refused["refusals"]["tax-1"] == "consent-revoked", refused
    assert market.uses("tax-1", record) == 0
