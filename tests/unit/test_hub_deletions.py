"""Proofs of deletion at the hub: whose they are, what they are about, and who learns of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crypto.deletions import DELETION_TYPE, check_deletion, commit_record
from crypto.errors import ProofError, SignatureError
from crypto.jws import sign_model
from crypto.wire.base import SUITE
from crypto.wire.deletion import DeletionReport, DeletionStatement, DeletionSubmission
from hub.app import create_app
from hub.errors import PartyUnknownError
from hub.merchant_errors import DeletionRefusedError
from hub.merchant_records import DELETION_DUE
from tests.hub_merchants import json_of
from tests.hub_world import Member
from tests.unit.test_hub_queries import QueryWorld

ASKER = "platform"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueryWorld]:
    world = QueryWorld(tmp_path)
    yield world
    world.hub.close()


def report(world: QueryWorld, signer: Member | None = None, **changes: object) -> DeletionReport:
    """A statement of deletion about the shop's consent; `changes` replaces fields of statement and report."""
    member = signer or world.members[ASKER]
    salt = secrets.token_bytes(16)
    record_id = str(changes.pop("record_id", world.consent_id))
    fields: dict[str, object] = {
        "suite": SUITE,
        "deletion_id": secrets.token_hex(16),
        "party_id": member.party_id,
        "record": commit_record(salt, record_id),
        "reason": "consent-revoked",
        "counts": {"batch-answers": 2},
        "deleted_at": world.now,
    }
    statement = DeletionStatement.model_validate(fields | changes)
    kid = str(changes.get("party_id", member.party_id))
    token = sign_model(statement, member.identity, typ=DELETION_TYPE, kid=kid)
    return DeletionReport(statement=token, record_id=record_id, salt=salt)


def entries(world: QueryWorld) -> list[dict[str, object]]:
    world.settle()
    leaves = [json_of(leaf) for leaf in world.hub.log.reader.entries(0, 1000)]
    return [leaf for leaf in leaves if leaf["type"] == "deletion"]


def test_a_statement_is_logged_without_identifiers_and_told_to_the_merchant(world: QueryWorld) -> None:
    made = report(world)
    assert world.hub.deletions.submit([made]).stored == 1
    (entry,) = entries(world)
    assert (entry["actor"], entry["facts"]["reason"], entry["facts"]["batch-answers"]) == (  # type: ignore[index]
        ASKER,
        "consent-revoked",
        2,
    )
    text = json.dumps(entry)
    assert world.consent_id not in text
    assert world.shop.pseudonym.hex() not in text
    (told,) = world.hub.merchant_records.of(world.shop.pseudonym).deletions
    assert (told.record_id, told.party_id, told.statement) == (world.consent_id, ASKER, made.statement)
    assert told.log_index is not None
    opened = DeletionReport(statement=told.statement, record_id=told.record_id, salt=told.salt)
    key = world.members[ASKER].identity.public
    assert check_deletion(opened, key, party_id=ASKER).counts == {"batch-answers": 2}
    other = world.merchant("other")
    assert world.hub.merchant_records.of(other.pseudonym).deletions == ()


def test_replays_change_nothing_and_an_id_is_used_once(world: QueryWorld) -> None:
    made = report(world)
    world.hub.deletions.submit([made, made])
    assert world.hub.deletions.submit([made]).known == 1
    assert len(entries(world)) == 1
    deletion_id = check_deletion(made, world.members[ASKER].identity.public, party_id=ASKER).deletion_id
    with pytest.raises(DeletionRefusedError) as refused:
        world.hub.deletions.submit([report(world), report(world, deletion_id=deletion_id)])
    assert refused.value.field == "reports.1.deletion_id"
    assert len(entries(world)) == 1


def test_forged_statements_are_refused(world: QueryWorld) -> None:
    posing = Member(ASKER, "client")
    honest = report(world)
    elsewhere, token = world.consent(world.shop)
    world.hub.consents.submit([token])
    cases: list[tuple[type[Exception], DeletionReport]] = [
        (SignatureError, report(world, posing)),  # in another's name
        (SignatureError, report(world, world.members["bank-02"], party_id=ASKER)),
        (ProofError, honest.model_copy(update={"record_id": elsewhere})),  # about another consent
        (ProofError, honest.model_copy(update={"salt": bytes(16)})),
        (PartyUnknownError, report(world, Member("stranger", "bank"))),
        (DeletionRefusedError, report(world, world.members["bank-02"])),  # the consent does not name it
        (DeletionRefusedError, report(world, record_id=secrets.token_hex(16))),  # there is no such consent
        (DeletionRefusedError, report(world, deleted_at=world.now + timedelta(hours=1))),
        (DeletionRefusedError, report(world, deleted_at=world.now - timedelta(days=9))),  # before the consent
    ]
    for error, made in cases:
        with pytest.raises(error):
            world.hub.deletions.submit([report(world), made])
    assert entries(world) == []


def test_a_recipient_that_keeps_what_it_must_delete_is_named(world: QueryWorld) -> None:
    world.ask(world.request())
    records = world.hub.merchant_records
    world.now += timedelta(minutes=1)
    world.hub.consents.submit_events([world.event(world.shop, world.consent_id, "revoked")])
    ended = world.now
    world.now += DELETION_DUE - timedelta(seconds=1)
    assert records.of(world.shop.pseudonym).missing_deletions == ()
    world.now += timedelta(seconds=1)
    (missing,) = records.of(world.shop.pseudonym).missing_deletions
    assert (missing.record_id, missing.party_id, missing.since) == (world.consent_id, ASKER, ended)
    world.hub.deletions.submit([report(world, reason="data-life-over")])  # of an earlier answer: not of all of them
    assert len(records.of(world.shop.pseudonym).missing_deletions) == 1
    world.hub.deletions.submit([report(world)])
    assert records.of(world.shop.pseudonym).missing_deletions == ()


def test_nodes_send_statements_over_http(world: QueryWorld) -> None:
    client = TestClient(create_app(world.hub), raise_server_exceptions=False)
    body = DeletionSubmission(reports=(report(world),)).model_dump_json()
    for known in (0, 1):
        answer = client.post("/v1/deletions", content=body, headers={"Idempotency-Key": secrets.token_hex(8)})
        assert (answer.status_code, answer.json()) == (201, {"stored": 1 - known, "known": known})
    forged = DeletionSubmission(reports=(report(world, Member(ASKER, "client")),)).model_dump_json()
    answer = client.post("/v1/deletions", content=forged, headers={"Idempotency-Key": secrets.token_hex(8)})
    assert (answer.status_code, answer.json()["code"]) == (401, "signature-invalid")
    assert answer.json()["field"] == "reports.0.signature"
