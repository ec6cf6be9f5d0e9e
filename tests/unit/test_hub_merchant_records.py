"""What a merchant learns of its own records, and what is left of them after an erasure."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.checkpoint import parse_note
from crypto.jws import generate_merchant_key
from crypto.log_index import commit
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.wire.base import SUITE
from crypto.wire.scoring import ItemRefusal
from crypto.wire.service import MerchantRecords, MerchantRequest
from hub import cli
from hub.app import create_app
from hub.audit import verify_export
from hub.erasure import erase_merchant
from hub.tables.base import load_tables
from tests.hub_merchants import Merchant, json_of
from tests.unit.test_hub_queries import SOURCES, QueryWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueryWorld]:
    world = QueryWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def client(world: QueryWorld) -> TestClient:
    return TestClient(create_app(world.hub), raise_server_exceptions=False)  # the background does not run


def request_of(world: QueryWorld, merchant: Merchant, **changes: object) -> str:
    fields: dict[str, object] = {
        "suite": SUITE,
        "pii_principal_id": merchant.pseudonym,
        "nonce": secrets.token_bytes(16),
        "issued_at": world.now,
    }
    body = MerchantRequest.model_validate(fields | changes)
    return merchant.sign(canonical_bytes(body), "merchant-request")


def post(client: TestClient, token: str, key: str | None = None) -> tuple[int, dict[str, object]]:
    headers = {"Idempotency-Key": key or secrets.token_hex(8)}
    response = client.post("/v1/merchants/records", content=token, headers=headers)
    return response.status_code, response.json()


def use(world: QueryWorld) -> None:
    """One query that a source refuses, then a pause and a revocation; another merchant does the same."""
    refused = (ItemRefusal(item=0, code="feed-stale"),)
    world.peers.handlers["tax-01", "query"] = world.source("tax-01", answered=(), refusals=refused)
    del world.peers.handlers["utility-01", "query"]
    world.ask(world.request())
    other = world.merchant("other")
    other_id, token = world.consent(other)
    world.hub.consents.submit([token])
    world.ask(world.request(world.item(pseudonym=other.pseudonym, consent_id=other_id)))
    for event in ("paused", "revoked"):
        world.now += timedelta(seconds=7)
        world.hub.consents.submit_events([world.event(world.shop, world.consent_id, event)])


def test_a_merchant_learns_all_that_is_recorded_about_it(world: QueryWorld, client: TestClient) -> None:
    use(world)
    world.settle()
    status, body = post(client, request_of(world, world.shop))
    assert status == 200
    records = parsed(body)
    (consent,) = records.consents
    assert (consent.record_id, consent.state) == (world.consent_id, "revoked")
    assert [event.event for event in consent.events] == ["paused", "revoked"]
    (query,) = records.queries
    assert (query.requester, query.purpose, query.model_id) == ("platform", "credit-scoring", world.model_id)
    assert (query.consent_id, query.sources) == (world.consent_id, tuple(sorted(SOURCES.values())))
    assert query.outcomes == {"bank-01": "answered", "tax-01": "feed-stale", "utility-01": "source-unreachable"}
    assert "score" not in set(body)
    leaves = world.hub.log.reader.entries(0, 1000)
    indexes = [consent.log_index, query.log_index, *(event.log_index for event in consent.events)]
    assert [each.log_index for each in records.entries] == indexes
    size = len(leaves)
    tree = world.hub.log.reader
    for each in records.entries:
        assert each.log_index is not None
        assert leaves[each.log_index] == each.entry
        assert json_of(each.entry)["subject"] == _text(commit(each.salt, world.shop.pseudonym))
        proof = tree.inclusion(each.log_index, size)
        root = _root(world)
        verify_inclusion(leaf_hash(each.entry.encode()), each.log_index, size, proof, root)


def test_what_waits_for_its_place_is_told_without_an_index(world: QueryWorld, client: TestClient) -> None:
    _, token = world.consent(world.shop)
    world.hub.consents.submit([token])
    records = parsed(post(client, request_of(world, world.shop))[1])
    assert len(records.consents) == 2
    assert {each.log_index for each in records.consents if each.consent == token} == {None}


def test_only_the_merchants_own_key_opens_its_records(world: QueryWorld, client: TestClient) -> None:
    other = world.merchant("other")
    about = {"pii_principal_id": world.shop.pseudonym}
    posing = Merchant(world.shop.pseudonym, other.jwk)
    stranger = Merchant(hashlib.sha256(b"stranger").digest(), generate_merchant_key())
    cases = [
        (request_of(world, other, **about), 403, "forbidden"),
        (request_of(world, posing), 401, "signature-invalid"),
        (request_of(world, stranger), 422, "merchant-key-unknown"),
        (world.shop.sign(b"{}", "merchant-request"), 401, "signature-invalid"),
        (world.consent(world.shop)[1], 401, "signature-invalid"),
        (request_of(world, world.shop, issued_at=world.now - timedelta(seconds=301)), 401, "unauthorised"),
        (request_of(world, world.shop, issued_at=world.now + timedelta(seconds=301)), 401, "unauthorised"),
        ("no token", 401, "signature-invalid"),
    ]
    for token, status, code in cases:
        found, problem = post(client, token)
        assert (found, problem["code"]) == (status, code)
    token = request_of(world, world.shop)
    assert post(client, token, "same")[0] == 200
    assert post(client, token, "same")[1]["code"] == "request-replayed"
    assert post(client, token)[1]["code"] == "request-replayed"


def test_after_an_erasure_nothing_stored_opens_an_entry(world: QueryWorld, client: TestClient) -> None:
    use(world)
    world.settle()
    before = world.hub.log.reader.of_merchant(world.shop.pseudonym)
    assert post(client, request_of(world, world.shop))[0] == 200
    assert len(before) == 4
    assert openers(world, world.shop)  # the check itself can fail
    assert erase_merchant(world.hub, world.shop.pseudonym) == 4
    world.settle()
    assert openers(world, world.shop) == []
    marks = {mark for each in before for mark in marks_of(each.leaf)}
    salts = {each.salt for each in before}
    for table, row in stored(world):
        if table == "log_entries":
            continue  # the leaves themselves
        assert not any(mark in text for mark in marks for text in texts(row)), table
        assert salts.isdisjoint(row), table
    (times,) = {row[-1] for table, row in stored(world) if table == "consents" and world.shop.pseudonym in row}
    assert isinstance(times, int)
    assert times % 86_400 == 0
    records = parsed(post(client, request_of(world, world.shop))[1])
    assert (records.queries, records.entries) == ((), ())
    assert [each.log_index for each in records.consents] == [None]
    assert len(world.hub.log.reader.of_merchant(hashlib.sha256(b"other").digest())) == 2
    (entry,) = [json_of(leaf) for leaf in world.hub.log.reader.entries(0, 1000) if json_of(leaf)["type"] == "erasure"]
    assert (entry["subject"], entry["facts"]) == (None, {"entries": 4})
    world.hub.log.check()
    assert verify_export(world.export(), world.verifiers()).ok
    raw = b"".join(path.read_bytes() for path in world.base.glob("hub.sqlite*"))
    assert all(salt not in raw for salt in salts)


def test_no_entry_names_a_consent(world: QueryWorld) -> None:
    use(world)
    world.settle()
    leaves = world.hub.log.reader.entries(0, 1000)
    assert not [leaf for leaf in leaves if world.consent_id in leaf or world.shop.kid in leaf]
    seen: list[str] = [mark for each in leaves for mark in marks_of(each)]
    assert len(seen) == len(set(seen))


def test_erasing_by_command(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", str(world.base / "hub.yaml"), "--json"]

    def run(pseudonym: str) -> int:
        monkeypatch.setattr(sys, "argv", ["digua-hub", "audit", "erase", pseudonym, *config])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    assert run(world.shop.kid) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": 1}
    assert run(world.shop.kid) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": 0}
    assert run("xyz") == 1
    assert json.loads(capsys.readouterr().err)["code"] == "request-invalid"


def stored(world: QueryWorld) -> list[tuple[str, tuple[object, ...]]]:
    """Every row of the hub's database with its table's name."""
    with world.hub.db.reading() as session:
        return [
            (table.name, tuple(row))
            for table in load_tables().sorted_tables
            for row in session.execute(select(table)).all()
        ]


def texts(row: tuple[object, ...]) -> list[str]:
    return [each.hex() + each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in row]


def marks_of(leaf: str) -> list[str]:
    """What only one entry has: its commitments, in hexadecimal."""
    entry = json_of(leaf)
    facts = entry["facts"]
    assert isinstance(facts, dict)
    subject = str(entry["subject"] or "")
    raw = base64.urlsafe_b64decode(subject + "=" * (-len(subject) % 4)).hex()
    return [mark for mark in (raw, facts.get("consent"), facts.get("artefact")) if mark]


def openers(world: QueryWorld, merchant: Merchant) -> list[tuple[str, str]]:
    """Stored values that, taken as a salt, open an entry's commitment to the merchant or to its consent."""
    marks = {mark for leaf in world.hub.log.reader.entries(0, 1000) for mark in marks_of(leaf)}
    known = (merchant.pseudonym, world.consent_id.encode())
    return [
        (table, value.hex())
        for table, row in stored(world)
        for value in row
        if isinstance(value, bytes) and any(commit(value, each).hex() in marks for each in known)
    ]


def parsed(body: dict[str, object]) -> MerchantRecords:
    return MerchantRecords.model_validate_json(json.dumps(body))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()


def _root(world: QueryWorld) -> bytes:
    return parse_note(world.hub.log.reader.checkpoint())[0].root
