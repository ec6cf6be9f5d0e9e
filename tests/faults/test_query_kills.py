"""Queries, batches and consents: nothing acknowledged is lost or counts twice, wherever a process is killed."""

from __future__ import annotations

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from crypto.jws import peek_payload
from hub.audit import verify_export
from hub.demo.merchants import Merchant, consent_of, event_of
from hub.reconciliation import reconcile
from hub.tables.log import CheckpointRow, LogEntryRow, LogPendingRow, SubjectSaltRow
from models.artefact import ModelArtefact
from models.scorecard import Scorecard
from nodes.tables.consents import ConsentRow
from nodes.tables.scoring import UseRow
from tests.faults.campaigns import run_campaign
from tests.faults.cells import QUERY, Cell
from tests.faults.world import REQUESTER, FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
SOURCES = ("bank-1", "tax-1", "utility-1")
SINGLE = [each for each in QUERY if each.step in ("Q1", "Q2", "Q3", "Q4", "Q5", "S5", "A1", "A3")]
BATCH = [each for each in QUERY if each.step in ("B1", "B2", "B3")]
CONSENT = [each for each in QUERY if each.step in ("C4", "feed") and "consent" in each.where]
REVOCATION = [each for each in QUERY if each.step in ("C4", "feed") and "revocation" in each.where]


class Market:
    """A released model, and merchants of the requester's that nobody has asked about.

    Attributes:
        requests: how many requests were answered.
    """

    def __init__(self, world: FaultWorld) -> None:
        self.world = world
        self.requests = 0
        done = run_campaign(world, (), release=True)
        assert done.state["status"] == "succeeded", done.state["failure"]
        self.model_id = str(done.state["model_id"])
        artefact = ModelArtefact.from_bytes(world.hub.models.artefact(self.model_id, unreleased=True))
        self.card: Scorecard = artefact.card()
        made = world.made
        self._rows = iter(
            row
            for row in range(len(made.ids))
            if made.lets_score(row) and {made.sources[kind][row] for kind in made.sources} == set(SOURCES)
        )

    def merchant(self) -> tuple[int, Merchant]:
        """The next one."""
        row = next(self._rows)
        return row, self.world.made.merchants[row]

    def score(self, row: int) -> int:
        """What its joined row scores."""
        codes = {kind: codes[row : row + 1] for kind, codes in self.world.made.codes.items()}
        return int(self.card.score(codes)[0])

    def uses(self, source: str, record_id: str) -> int:
        """How often a source counted a consent's use by a query."""
        store = self.world.store(source)
        try:
            with store.reading() as session:
                mine = UseRow.record_id == record_id, UseRow.model_id == self.model_id
                return len(session.scalars(select(UseRow).where(*mine)).all())
        finally:
            store.engine.dispose()


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


def consent(merchant: Merchant) -> tuple[str, str]:
    """Another consent of a merchant, to its bank."""
    return consent_of(
        merchant,
        purposes=("credit-scoring", "model-training"),
        recipients=(REQUESTER,),
        reasons=False,
        count=5,
        now=datetime.now(UTC),
    )


def held(world: FaultWorld, party: str, record_id: str) -> str | None:
    """The last event of a consent at a node."""
    store = world.store(party)
    try:
        with store.reading() as session:
            row = session.get(ConsentRow, record_id)
            return None if row is None else row.state
    finally:
        store.engine.dispose()


def ended_batch(world: FaultWorld, batch_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = world.get_gateway(f"/batches/{batch_id}")
    return found if found["state"] == "finished" else None


def log_of(world: FaultWorld) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := world.hub.log.reader.entries(len(found), 1000):
        found += [json.loads(leaf) for leaf in page]
    return found


def quiet(world: FaultWorld) -> bool:
    """Whether nothing waits for its place in the log, or for the witness."""
    with world.hub.db.reading() as session:
        waiting = session.scalar(select(func.count()).select_from(LogPendingRow))
        newest = session.scalars(select(CheckpointRow).order_by(CheckpointRow.size.desc()).limit(1)).one()
        return waiting == 0 and newest.cosigned


def queries_logged(world: FaultWorld) -> set[tuple[str, int]]:
    """Every query in the log, once; a second entry of the same is a failure."""
    found = [
        (each["facts"]["request_hash"], each["facts"]["item"]) for each in log_of(world) if each["type"] == "query"
    ]
    assert len(found) == len(set(found))
    return set(found)


def entries_about(world: FaultWorld, merchant: Merchant) -> Counter[str]:
    """Types of the log's entries about a merchant, once all are in order."""
    query = (
        select(LogEntryRow.leaf)
        .join(SubjectSaltRow, SubjectSaltRow.pending_id == LogEntryRow.pending_id)
        .where(SubjectSaltRow.pseudonym == merchant.pseudonym)
    )
    with world.hub.db.reading() as session:
        return Counter(json.loads(leaf)["type"] for leaf in session.scalars(query))


def check_logs(world: FaultWorld, requests: int) -> None:
    """The log is whole, every query is at hub and source alike, and no source answered one request in two ways."""
    world.until(world.connected, what="all links")
    export = world.base / "log.ndjson"
    export.write_bytes(b"".join(world.hub.log.reader.export()))
    witness = world.hub.parties.witness()
    assert witness is not None
    verdict = verify_export(
        export, {world.hub.config.log_origin: world.hub.keys.identity.public, witness.party_id: witness.sign_key}
    )
    assert verdict.ok, verdict.findings
    for source in SOURCES:
        journal = world.journal(source, world.base / f"{source}.ndjson")
        assert reconcile(Path(export), journal, node=source) == []
    answered: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    for source in SOURCES:
        for line in world.answers(source):
            if "answer" in line:
                token = base64.b64decode(line["answer"])
                said = json.loads(peek_payload(token.decode()))
                if said["answered"]:
                    answered[source, said["request_hash"]].add(token)
    assert len(answered) >= requests * len(SOURCES)
    assert all(len(tokens) == 1 for tokens in answered.values())
