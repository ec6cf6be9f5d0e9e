"""Receipts after ISO/IEC TS 27560: they verify offline, and nothing in them can be changed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import JsonValue, TypeAdapter
from typer.testing import CliRunner

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError, ProofError, SignatureError
from crypto.keys import IdentityKey
from crypto.record_receipts import check_receipt, seal_receipt
from crypto.wire.base import SUITE
from crypto.wire.receipt import ReceiptFile, ReceiptFiles
from crypto.wire.service import MerchantRequest
from hub.app import create_app
from hub.erasure import erase_merchant
from nodes.cli import app as cli
from nodes.config import key_to_text
from tests.hub_merchants import MarketWorld, Merchant
from tests.unit.test_hub_consent_requests import call
from tests.unit.test_hub_invitations import post, refused


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def client(world: MarketWorld) -> TestClient:
    return TestClient(create_app(world.hub), raise_server_exceptions=False)


@pytest.fixture
def shop(world: MarketWorld) -> Merchant:
    return world.merchant("shop", "ES256")


def given(world: MarketWorld, shop: Merchant) -> str:
    record_id, token = world.consent(shop)
    world.hub.consents.submit([token])
    return record_id


def receipts(client: TestClient, world: MarketWorld, shop: Merchant) -> ReceiptFiles:
    body = MerchantRequest(
        suite=SUITE, pii_principal_id=shop.pseudonym, nonce=secrets.token_bytes(16), issued_at=world.now
    )
    found = post(client, "merchants/receipts", shop.sign(canonical_bytes(body), "merchant-request"))
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store"), found.text
    return ReceiptFiles.model_validate_json(found.content)


def keys(world: MarketWorld) -> dict[str, bytes]:
    return {"hub_key": world.hub.keys.identity.public, "witness_key": world.witness.identity.public}


def test_a_receipt_verifies_offline_and_says_what_was_signed(
    world: MarketWorld, client: TestClient, shop: Merchant
) -> None:
    record_id = given(world, shop)
    world.settle()
    world.hub.consents.submit_events([world.event(shop, record_id, "paused")])
    ((file,), waiting) = (receipts(client, world, shop).receipts, receipts(client, world, shop).waiting)
    assert waiting == ()
    receipt = check_receipt(ReceiptFile.model_validate_json(file.model_dump_json()), **keys(world))
    assert (receipt.record_id, receipt.pii_principal_id) == (record_id, shop.pseudonym)
    assert [(each.event_type, each.event_state) for each in receipt.events] == [
        ("given", "given"),
        ("paused", "paused"),
    ]
    bank = next(each for each in receipt.party_identification if each.party_id == "bank-01")
    assert (bank.party_name, bank.party_role) == ("Title of bank-01", ("pii-source", "pii-recipient"))
    assert receipt.pii_processing.privacy_notice.sha256


def test_events_under_a_newer_key_verify_too(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    record_id = given(world, shop)
    newer = Merchant(shop.pseudonym, world.merchant("other", "Ed25519").jwk)
    world.enrol_keys(newer)
    world.hub.consents.submit_events([world.event(newer, record_id, "revoked")])
    world.settle()
    (file,) = receipts(client, world, newer).receipts
    assert check_receipt(file, **keys(world)).events[-1].event_state == "revoked"


def test_who_gets_which_receipts(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    record_id = given(world, shop)
    path = f"/v1/consents/{record_id}/receipt"
    refused(call(client, world, "bank-01", "GET", path), 503, "checkpoint-not-cosigned")
    assert receipts(client, world, shop).waiting == (record_id,)
    world.settle()
    file = ReceiptFile.model_validate_json(call(client, world, "bank-01", "GET", path).content)
    assert check_receipt(file, **keys(world)).record_id == record_id
    refused(call(client, world, "bank-02", "GET", path), 404, "not-found")
    assert client.get(path).status_code == 401
    assert receipts(client, world, world.merchant("other")).receipts == ()
    erase_merchant(world.hub, shop.pseudonym)
    refused(call(client, world, "bank-01", "GET", path), 404, "not-found")
    assert receipts(client, world, shop).receipts == ()


def changed(value: JsonValue) -> Iterator[JsonValue]:
    """Every copy of a JSON value with one of its leaves changed."""
    if isinstance(value, dict):
        for name, each in value.items():
            for other in changed(each):
                yield {**value, name: other}
    elif isinstance(value, list):
        for place, each in enumerate(value):
            for other in changed(each):
                yield [*value[:place], other, *value[place + 1 :]]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, str) and value:
        middle = len(value) // 2
        yield value[:middle] + ("a" if value[middle] != "a" else "b") + value[middle + 1 :]


def test_nothing_in_a_receipt_can_be_changed_even_by_the_hub(
    world: MarketWorld, client: TestClient, shop: Merchant
) -> None:
    """Each change is sealed again with the hub's own key, so that the seal is not what catches it."""
    record_id = given(world, shop)
    world.hub.consents.submit_events([world.event(shop, record_id, "paused")])
    world.settle()
    (file,) = receipts(client, world, shop).receipts
    document = TypeAdapter(dict[str, JsonValue]).validate_json(file.model_dump_json())
    tried = 0
    for part in ("receipt", "proof"):
        for other in changed(document[part]):
            try:
                altered = ReceiptFile.model_validate({**document, part: other} | {"seal": file.seal}, strict=False)
            except ValueError:
                continue  # not even the shape of a receipt
            if (altered.receipt, altered.proof) == (file.receipt, file.proof):
                continue
            if altered.model_copy(update={"receipt": file.receipt}) == file and (
                altered.receipt.model_copy(update={"issued_at": file.receipt.issued_at}) == file.receipt
            ):
                continue  # the hub says when it made the receipt, and nobody else can
            sealed = seal_receipt(altered.receipt, altered.proof, world.hub.keys.identity, hub_id="hub-lishui")
            tried += 1
            with pytest.raises(CryptoError):
                check_receipt(sealed, **keys(world))
    assert tried > 40


def test_a_receipt_of_another_hub_or_witness_is_refused(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    given(world, shop)
    world.settle()
    (file,) = receipts(client, world, shop).receipts
    stranger = IdentityKey.generate()
    for other in ("hub_key", "witness_key"):
        with pytest.raises(SignatureError):
            check_receipt(file, **{**keys(world), other: stranger.public})
    with pytest.raises(ProofError):
        check_receipt(
            seal_receipt(file.receipt, file.proof, stranger, hub_id="hub-lishui"),
            hub_key=stranger.public,
            witness_key=keys(world)["witness_key"],
        )


def test_the_command_line_verifies_a_receipt(
    world: MarketWorld, client: TestClient, shop: Merchant, tmp_path: Path
) -> None:
    given(world, shop)
    world.settle()
    (file,) = receipts(client, world, shop).receipts
    path = tmp_path / "receipt.json"
    path.write_text(file.model_dump_json(), encoding="utf-8")
    texts = {name: key_to_text(key) for name, key in keys(world).items()}
    arguments = ["consent", "verify-receipt", str(path), "--hub-key", texts["hub_key"], "--witness-key"]
    done = CliRunner().invoke(cli, [*arguments, texts["witness_key"], "--json"])
    assert done.exit_code == 0, done.output
    assert '"state": "given"' in done.output
    assert CliRunner().invoke(cli, [*arguments, texts["hub_key"]]).exit_code == 1
    assert CliRunner().invoke(cli, [*arguments, "short"]).exit_code == 1
