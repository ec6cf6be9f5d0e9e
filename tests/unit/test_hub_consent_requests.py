"""Consent requests: only the party's own, only the merchant's answer, never more than was asked for."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from crypto.canonical import canonical_bytes
from crypto.jws import peek_payload, sign_model
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentTerms, Frequency
from crypto.wire.consent_request import ConsentRequest, ConsentsQuestion, ReceivedRequests
from crypto.wire.service import MerchantRequest, SignedRequest
from hub.app import create_app
from tests.hub_merchants import MarketWorld, Merchant
from tests.hub_world import Member
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


def terms(world: MarketWorld, shop: Merchant, **changes: object) -> ConsentTerms:
    record = world.record(shop, **changes)
    return ConsentTerms.model_validate({name: getattr(record, name) for name in ConsentTerms.model_fields})


def request(world: MarketWorld, shop: Merchant, party: str | Member = "bank-01", **changes: object) -> tuple[str, str]:
    """A request's id and token."""
    member = world.members[party] if isinstance(party, str) else party
    fields: dict[str, object] = {
        "suite": SUITE,
        "request_id": secrets.token_hex(16),
        "party_id": member.party_id,
        "pii_principal_id": shop.pseudonym,
        "terms": terms(world, shop),
        "issued_at": world.now,
        "answer_by": world.now + timedelta(days=14),
    }
    body = ConsentRequest.model_validate(fields | changes)
    return body.request_id, sign_model(body, member.identity, typ="consent-request", kid=member.party_id)


def proposed(world: MarketWorld, client: TestClient, shop: Merchant, party: str = "bank-01", **changes: object) -> str:
    request_id, token = request(world, shop, party, **changes)
    answer = post(client, "consent-requests", token)
    assert answer.status_code == 201, answer.text
    assert answer.json()["link"].endswith(f"/merchant/requests#{request_id}")
    return request_id


def call(client: TestClient, world: MarketWorld, party: str, method: str, path: str) -> httpx.Response:
    body = SignedRequest.model_validate(
        {
            "suite": SUITE,
            "party_id": party,
            "method": method,
            "path": path,
            "nonce": secrets.token_bytes(16),
            "issued_at": world.now,
        }
    )
    token = sign_model(body, world.members[party].identity, typ="request", kid=party)
    return client.request(method, path, headers={"Authorization": f"Digua {token}"})


def standing(client: TestClient, world: MarketWorld, request_id: str, party: str = "bank-01") -> httpx.Response:
    return call(client, world, party, "GET", f"/v1/consent-requests/{request_id}")


def received(client: TestClient, world: MarketWorld, shop: Merchant) -> ReceivedRequests:
    body = MerchantRequest(
        suite=SUITE, pii_principal_id=shop.pseudonym, nonce=secrets.token_bytes(16), issued_at=world.now
    )
    answer = post(client, "merchants/requests", shop.sign(canonical_bytes(body), "merchant-request"))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
    return ReceivedRequests.model_validate_json(answer.content)


def give(client: TestClient, token: str) -> httpx.Response:
    return post(client, "consents", f'{{"tokens": ["{token}"]}}')


def test_a_request_is_read_and_agreed_to(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    request_id = proposed(world, client, shop)
    (mine,) = received(client, world, shop).requests
    assert (mine.state, mine.party_id, mine.party_title) == ("open", "bank-01", "Title of bank-01")
    assert ConsentRequest.model_validate_json(peek_payload(mine.request)).request_id == request_id
    assert received(client, world, world.merchant("other")).requests == ()
    assert standing(client, world, request_id).json()["state"] == "open"
    narrower = {"record_id": request_id, "recipients": ("bank-01",), "separate_consent": ()}
    _, token = world.consent(shop, **narrower)
    assert give(client, token).status_code == 201
    assert give(client, token).json()["known"] == 1
    answer = standing(client, world, request_id).json()
    assert (answer["state"], answer["consent"]) == ("signed", "given")
    world.hub.consents.submit_events([world.event(shop, request_id, "revoked")])
    assert standing(client, world, request_id).json()["consent"] == "revoked"
    refused(
        post(client, "consent-requests/refusals", world.event(shop, request_id, "refused")),
        409,
        "consent-request-state",
    )


def test_a_request_is_refused_as_easily(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    request_id = proposed(world, client, shop)
    refusal = world.event(shop, request_id, "refused")
    assert post(client, "consent-requests/refusals", refusal).json()["state"] == "refused"
    assert post(client, "consent-requests/refusals", refusal).json()["state"] == "refused"
    assert standing(client, world, request_id).json()["state"] == "refused"
    _, late = world.consent(shop, record_id=request_id)
    refused(give(client, late), 409, "consent-request-state")
    refused(
        call(client, world, "bank-01", "DELETE", f"/v1/consent-requests/{request_id}"), 409, "consent-request-state"
    )
    world.settle()
    text = world.export().read_text()
    assert '\\"state\\":\\"refused\\"' in text
    for secret in (request_id, shop.kid, base64.urlsafe_b64encode(shop.pseudonym).decode()):
        assert secret not in text


def test_nobody_answers_for_another(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    request_id = proposed(world, client, shop)
    other = world.merchant("other")
    refused(post(client, "consent-requests/refusals", world.event(other, request_id, "refused")), 404, "not-found")
    _, squatting = world.consent(other, record_id=request_id)
    assert refused(give(client, squatting), 422, "consent-refused")["field"] == "tokens.0.record_id"
    stolen = world.event(other, request_id, "refused", pii_principal_id=shop.pseudonym)
    refused(post(client, "consent-requests/refusals", stolen), 422, "consent-refused")
    refused(post(client, "consent-requests/refusals", world.event(shop, request_id, "paused")), 422, "consent-refused")
    for party in ("bank-02", "platform"):
        refused(standing(client, world, request_id, party), 404, "not-found")
        refused(call(client, world, party, "DELETE", f"/v1/consent-requests/{request_id}"), 404, "not-found")
    assert standing(client, world, request_id).json()["state"] == "open"


@pytest.mark.parametrize(
    "beyond",
    [
        {"recipients": ("bank-01", "bank-02", "platform")},
        {"purposes": ("credit-scoring", "model-training", "programme-statistics")},
        {"sources": {"bank": "bank-02", "tax": "tax-01", "utility": "utility-01"}},
        {"frequency": Frequency(count=11, per="month")},
        {"valid_until": "2028-01-01T00:00:00Z"},
    ],
)
def test_a_consent_beyond_the_request_is_refused(
    world: MarketWorld, client: TestClient, shop: Merchant, beyond: dict[str, object]
) -> None:
    request_id = proposed(world, client, shop)
    _, token = world.consent(shop, record_id=request_id, **beyond)
    assert refused(give(client, token), 422, "consent-refused")["field"] == f"tokens.0.{next(iter(beyond))}"
    assert standing(client, world, request_id).json()["state"] == "open"


def test_who_may_ask_for_what(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    def asked(party: str | Member = "bank-01", **changes: object) -> httpx.Response:
        return post(client, "consent-requests", request(world, shop, party, **changes)[1])

    assert refused(asked("bank-02"), 422, "consent-request-refused")["field"] == "terms.recipients"
    alone = terms(world, shop, recipients=("bank-01",))
    assert asked("platform", terms=alone).status_code == 201  # a client asks for its banks
    refused(asked(Member("bank-01", "bank")), 401, "signature-invalid")
    refused(asked("bank-02", party_id="bank-01"), 403, "forbidden")
    refused(asked(issued_at=world.now - timedelta(minutes=6)), 401, "unauthorised")
    assert refused(asked(answer_by=world.now), 422, "consent-request-refused")["field"] == "answer_by"
    refused(asked(answer_by=world.now + timedelta(days=91)), 422, "consent-request-refused")
    unknown = terms(world, shop, sources={"bank": "bank-99"})
    assert refused(asked(terms=unknown), 422, "consent-refused")["field"] == "sources"
    over = terms(world, shop, valid_from=world.now - timedelta(days=9), valid_until=world.now - timedelta(days=1))
    assert refused(asked(terms=over), 422, "consent-refused")["field"] == "valid_until"
    refused(post(client, "consent-requests", "a" * 70_000), 422, "consent-request-refused")


def test_ids_and_numbers_of_requests(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    request_id, token = request(world, shop)
    for _ in range(2):
        assert post(client, "consent-requests", token).status_code == 201
    taken = request(world, shop, "platform", request_id=request_id)[1]
    assert refused(post(client, "consent-requests", taken), 422, "consent-request-refused")["field"] == "request_id"
    for _ in range(4):
        proposed(world, client, shop)
    refused(post(client, "consent-requests", request(world, shop)[1]), 422, "consent-request-refused")
    call(client, world, "bank-01", "DELETE", f"/v1/consent-requests/{request_id}")
    proposed(world, client, shop)


def test_withdrawn_and_expired_requests_are_not_signed(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    gone = proposed(world, client, shop)
    for _ in range(2):
        path = f"/v1/consent-requests/{gone}"
        assert call(client, world, "bank-01", "DELETE", path).json()["state"] == "withdrawn"
    late = proposed(world, client, shop, answer_by=world.now + timedelta(hours=1))
    world.now += timedelta(hours=2)
    assert {each.state for each in received(client, world, shop).requests} == {"expired", "withdrawn"}
    for request_id in (gone, late):
        refused(give(client, world.consent(shop, record_id=request_id)[1]), 409, "consent-request-state")


def question(world: MarketWorld, party: str, shop: Merchant) -> str:
    body = ConsentsQuestion(
        suite=SUITE,
        party_id=party,
        pii_principal_id=shop.pseudonym,
        nonce=secrets.token_bytes(16),
        issued_at=world.now,
    )
    return sign_model(body, world.members[party].identity, typ="consents-question", kid=party)


def test_a_party_sees_consents_that_name_it_and_no_others(
    world: MarketWorld, client: TestClient, shop: Merchant
) -> None:
    record_id, token = world.consent(shop)
    world.hub.consents.submit([token])
    asked = question(world, "bank-01", shop)
    (view,) = post(client, "consents/of-merchant", asked).json()["consents"]
    assert (view["state"], view["item"]["consent"]) == ("given", token)
    refused(post(client, "consents/of-merchant", asked), 409, "request-replayed")
    assert post(client, "consents/of-merchant", question(world, "bank-02", shop)).json()["consents"] == []
    world.hub.consents.submit_events([world.event(shop, record_id, "paused")])
    (view,) = post(client, "consents/of-merchant", question(world, "platform", shop)).json()["consents"]
    assert view["state"] == "paused"
