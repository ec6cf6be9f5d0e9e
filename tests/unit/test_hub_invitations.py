"""Invitations: a token works once, for the key that signs the offer, and enrols nothing by itself."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, peek_payload, sign_merchant, sign_model
from crypto.wire.base import SUITE
from crypto.wire.invitation import InvitationStanding, KeyOffer, OfferedKeys
from crypto.wire.service import MerchantRecords, MerchantRequest, SignedRequest
from hub.app import create_app
from tests.hub_merchants import MarketWorld, Merchant
from tests.hub_world import Member
from tests.merchant_browser import Invited, invite, offer

SHOP = hashlib.sha256(b"shop").digest()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def client(world: MarketWorld) -> TestClient:
    return TestClient(create_app(world.hub), raise_server_exceptions=False)


def post(client: TestClient, path: str, body: str, **headers: str) -> httpx.Response:
    return client.post(f"/v1/{path}", content=body, headers={"Idempotency-Key": secrets.token_hex(8), **headers})


def get(client: TestClient, world: MarketWorld, party: str, path: str) -> httpx.Response:
    member = world.members[party]
    body = SignedRequest(
        suite=SUITE, party_id=party, method="GET", path=path, nonce=secrets.token_bytes(16), issued_at=world.now
    )
    token = sign_model(body, member.identity, typ="request", kid=party)
    return client.get(path, headers={"Authorization": f"Digua {token}"})


def refused(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    problem: dict[str, object] = response.json()
    return problem


def invited(world: MarketWorld, client: TestClient, party: str = "bank-01", **changes: object) -> Invited:
    made = invite(world.members[party], SHOP, world.now, **changes)  # type: ignore[arg-type]
    answer = post(client, "invitations", made.signed)
    assert answer.status_code == 201, answer.text
    assert answer.json()["join_url"].endswith("/merchant/join")
    assert made.token not in answer.text
    return made


def pending(client: TestClient, world: MarketWorld, party: str) -> OfferedKeys:
    return OfferedKeys.model_validate_json(get(client, world, party, "/v1/invitations/pending").content)


def state(client: TestClient, made: Invited) -> httpx.Response:
    name = base64.urlsafe_b64encode(made.token_sha256).decode()
    return post(client, "invitations/state", f'{{"token_sha256": "{name}"}}')


def enrol(world: MarketWorld, jwk: dict[str, str]) -> Merchant:
    merchant = Merchant(SHOP, jwk)
    world.enrol_keys(merchant)
    return merchant


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_a_key_is_offered_collected_and_enrolled(world: MarketWorld, client: TestClient, alg: str) -> None:
    made = invited(world, client)
    assert InvitationStanding.model_validate_json(state(client, made).content).state == "open"
    token, jwk = offer(made.token, world.now, alg=alg)
    answer = post(client, "invitations/key", token)
    assert answer.status_code == 201, answer.text
    assert base64.urlsafe_b64decode(answer.json()["pii_principal_id"]) == SHOP
    assert (answer.json()["inviter"], answer.json()["inviter_title"]) == ("bank-01", "Title of bank-01")
    (waiting,) = pending(client, world, "bank-01").keys
    assert (waiting.offer, waiting.pii_principal_id) == (token, SHOP)
    assert pending(client, world, "platform").keys == ()
    request = MerchantRequest(suite=SUITE, pii_principal_id=SHOP, nonce=secrets.token_bytes(16), issued_at=world.now)
    signed = Merchant(SHOP, jwk).sign(canonical_bytes(request), "merchant-request")
    refused(post(client, "merchants/records", signed), 422, "merchant-key-unknown")  # an offer alone enrols nothing
    enrol(world, jwk)
    assert InvitationStanding.model_validate_json(state(client, made).content).state == "enrolled"
    assert pending(client, world, "bank-01").keys == ()
    records = MerchantRecords.model_validate_json(post(client, "merchants/records", signed).content)
    (key,) = records.keys
    assert (key.jwk, key.enrolled_by, key.countersigned_by) == (merchant_public(jwk), "platform", "bank-01")
    assert key.current


def test_a_token_is_used_once(world: MarketWorld, client: TestClient) -> None:
    made = invited(world, client)
    token, _ = offer(made.token, world.now)
    assert post(client, "invitations/key", token).status_code == 201
    assert post(client, "invitations/key", token).status_code == 201  # the same offer again, e.g. after a lost answer
    other, _ = offer(made.token, world.now)
    refused(post(client, "invitations/key", other), 404, "invitation-invalid")
    assert [each.offer for each in pending(client, world, "bank-01").keys] == [token]


def test_wrong_used_and_expired_tokens_are_answered_alike(world: MarketWorld, client: TestClient) -> None:
    used, expired = invited(world, client), invite(world.members["bank-02"], SHOP, world.now)
    post(client, "invitations", expired.signed)
    post(client, "invitations/key", offer(used.token, world.now)[0])
    world.now += timedelta(days=8)
    tokens = (used.token, expired.token, secrets.token_urlsafe(32))
    answers = [post(client, "invitations/key", offer(token, world.now)[0]) for token in tokens]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1
    refused(answers[0], 404, "invitation-invalid")
    refused(state(client, expired), 404, "invitation-invalid")


def test_an_offer_is_signed_by_the_key_it_brings(world: MarketWorld, client: TestClient) -> None:
    made = invited(world, client)
    mine, other = generate_merchant_key("ES256"), generate_merchant_key("ES256")
    good, _ = offer(made.token, world.now, key=mine)
    payload = peek_payload(good)
    kid = made.token_sha256.hex()
    foreign = sign_merchant(payload, other, typ="merchant-key-offer", kid=kid)
    refused(post(client, "invitations/key", foreign), 401, "signature-invalid")
    renamed = sign_merchant(payload, mine, typ="merchant-key-offer", kid="0" * 64)
    refused(post(client, "invitations/key", renamed), 401, "signature-invalid")
    typed = sign_merchant(payload, mine, typ="merchant-request", kid=kid)
    refused(post(client, "invitations/key", typed), 401, "signature-invalid")
    private = KeyOffer.model_validate_json(payload).model_copy(update={"jwk": {**mine}})
    disclosed = sign_merchant(canonical_bytes(private), mine, typ="merchant-key-offer", kid=kid)
    assert post(client, "invitations/key", disclosed).status_code in (401, 422)
    late, _ = offer(made.token, world.now - timedelta(minutes=6))
    refused(post(client, "invitations/key", late), 422, "invitation-refused")
    refused(post(client, "invitations/key", "a" * 5000), 413, "request-too-large")
    assert post(client, "invitations/key", good).status_code == 201


def test_who_may_invite(world: MarketWorld, client: TestClient) -> None:
    tax = invite(world.members["tax-01"], SHOP, world.now)
    refused(post(client, "invitations", tax.signed), 403, "forbidden")
    forged = invite(Member("bank-01", "bank"), SHOP, world.now)
    refused(post(client, "invitations", forged.signed), 401, "signature-invalid")
    stranger = invite(Member("bank-99", "bank"), SHOP, world.now)
    refused(post(client, "invitations", stranger.signed), 403, "party-unknown")
    as_other = invite(world.members["bank-02"], SHOP, world.now, party_id="bank-01")
    refused(post(client, "invitations", as_other.signed), 403, "forbidden")
    old = invite(world.members["bank-01"], SHOP, world.now - timedelta(minutes=6))
    refused(post(client, "invitations", old.signed), 401, "unauthorised")
    long = invite(world.members["bank-01"], SHOP, world.now, expires_at=world.now + timedelta(days=40))
    assert refused(post(client, "invitations", long.signed), 422, "invitation-refused")["field"] == "expires_at"
    unsigned = client.get("/v1/invitations/pending")
    assert unsigned.status_code == 401


def test_a_second_invitation_ends_the_first(world: MarketWorld, client: TestClient) -> None:
    first = invited(world, client)
    assert post(client, "invitations", first.signed).status_code == 201  # the same again
    taken = invite(world.members["platform"], SHOP, world.now, token=first.token)
    refused(post(client, "invitations", taken.signed), 422, "invitation-refused")
    world.now += timedelta(seconds=1)
    second = invited(world, client)
    refused(post(client, "invitations/key", offer(first.token, world.now)[0]), 404, "invitation-invalid")
    assert post(client, "invitations/key", offer(second.token, world.now)[0]).status_code == 201


def test_a_lost_key_is_replaced_and_signs_nothing_any_more(world: MarketWorld, client: TestClient) -> None:
    old = enrol(world, generate_merchant_key("ES256"))
    kept_id, kept = world.consent(old)
    world.hub.consents.submit([kept])
    plain = invite(world.members["bank-01"], SHOP, world.now)
    assert refused(post(client, "invitations", plain.signed), 422, "invitation-refused")["field"] == "replaces"
    made = invited(world, client, replaces=True)
    token, jwk = offer(made.token, world.now)
    assert post(client, "invitations/key", token).json()["replaces"] is True
    world.hub.consents.submit_events([world.event(old, kept_id, "paused")])  # until it is enrolled, the old one counts
    new = enrol(world, jwk)
    for signed in (world.event(old, kept_id, "resumed"), world.event(old, kept_id, "revoked")):
        refused(post(client, "consent-events", f'{{"tokens": ["{signed}"]}}'), 401, "signature-invalid")
    assert world.hub.consents.read(kept_id).state == "paused"  # what it signed before stays
    world.hub.consents.submit_events([world.event(new, kept_id, "resumed")])
    assert [key.current for key in world.hub.merchant_keys.history(SHOP)] == [True, False]
    without = invite(world.members["bank-01"], hashlib.sha256(b"new").digest(), world.now, replaces=True)
    assert refused(post(client, "invitations", without.signed), 422, "invitation-refused")["field"] == "replaces"


def test_questions_and_offers_are_rate_limited(world: MarketWorld, client: TestClient) -> None:
    made = invite(world.members["bank-01"], SHOP, world.now)
    codes = [state(client, made).status_code for _ in range(31)]
    assert codes == [404] * 30 + [429]


def test_the_log_has_no_pseudonym(world: MarketWorld, client: TestClient) -> None:
    made = invited(world, client)
    post(client, "invitations/key", offer(made.token, world.now)[0])
    world.settle()
    text = world.export().read_text()
    assert '\\"type\\":\\"invitation\\"' in text
    assert '\\"type\\":\\"key-offer\\"' in text
    for secret in (SHOP.hex(), base64.urlsafe_b64encode(SHOP).decode(), made.token, made.token_sha256.hex()):
        assert secret not in text
