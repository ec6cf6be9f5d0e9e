"""The platform's hooks: identifiers stay at the agent, requests count once, links lead to the merchant's own pages."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto.jws import peek_payload
from crypto.wire.consent_request import ConsentRequest
from hub.demo.notices import shown
from nodes.config import load_node_config
from nodes.consent_templates import ConsentTemplate
from nodes.errors import GatewayError
from nodes.gateway_hooks import load_templates
from tests.hub_merchants import Merchant, make_merchant
from tests.merchant_browser import offer
from tests.platform_world import PlatformWorld
from tests.unit.test_hub_consent_requests import received
from tests.unit.test_hub_invitations import post

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path, "platform", "bank-01", "tax-01")
    yield world
    world.close()


@pytest.fixture
def gateway(world: PlatformWorld) -> Any:
    return world.gateway("platform")


@pytest.fixture
def shop(world: PlatformWorld) -> Merchant:
    shop = Merchant(world.know("SHOP"), make_merchant("x", "ES256").jwk)
    world.enrol_keys(shop)
    return shop


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    document: dict[str, Any] = response.json()
    return document


def collect(gateway: Any, *, key: str | None = None, **body: object) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return gateway.post("/v1/consents/collect", json={"id": "SHOP", "template": "loan", **body}, headers=headers)


def test_a_consent_is_collected_seen_and_led_to_its_end(world: PlatformWorld, gateway: Any, shop: Merchant) -> None:
    asked = collect(gateway).json()
    assert (asked["state"], asked["invitation_link"]) == ("open", None)
    assert asked["link"].endswith(f"/merchant/requests#{asked['request_id']}")
    (mine,) = received(world.http, world, shop).requests
    request = ConsentRequest.model_validate_json(peek_payload(mine.request))
    assert (request.party_id, request.terms.recipients) == ("platform", ("bank-01", "platform"))
    assert len(request.terms.separate_consent) == 6
    assert gateway.post("/v1/consents/status", json={"id": "SHOP"}).json() == {"consents": [], "hub_answered": True}
    fields = {name: getattr(request.terms, name) for name in type(request.terms).model_fields}
    _, token = world.consent(shop, record_id=request.request_id, **fields)
    world.hub.consents.submit([token])
    path = f"/v1/consents/requests/{request.request_id}"
    answered = gateway.get(path).json()
    assert (answered["state"], answered["consent"]) == ("signed", "given")
    (line,) = gateway.post("/v1/consents/status", json={"id": "SHOP"}).json()["consents"]
    assert (line["state"], line["hub_state"]) == (None, "given")  # before the feed brought it
    world.follow("platform")
    world.hub.consents.submit_events([world.event(shop, request.request_id, "paused")])
    (line,) = gateway.post("/v1/consents/status", json={"id": "SHOP"}).json()["consents"]
    assert (line["state"], line["hub_state"]) == ("active", "paused")
    world.reachable = False
    found = gateway.post("/v1/consents/status", json={"id": "SHOP"}).json()
    assert (found["consents"][0]["state"], found["consents"][0]["hub_state"]) == ("active", None)
    assert found["hub_answered"] is False
    problem(gateway.post("/v1/consents/revoke-link", json={"id": "SHOP"}), 503, "hub-unreachable")
    world.reachable = True
    link = gateway.post("/v1/consents/revoke-link", json={"id": "SHOP", "consent_id": request.request_id}).json()
    assert link["link"].endswith(f"/merchant/consents#{request.request_id}")
    problem(
        gateway.post("/v1/consents/revoke-link", json={"id": "SHOP", "consent_id": "0" * 32}), 404, "consent-unknown"
    )
    world.know("NOBODY")
    problem(gateway.post("/v1/consents/revoke-link", json={"id": "NOBODY"}), 404, "consent-unknown")


def test_a_request_under_a_key_counts_once(world: PlatformWorld, gateway: Any, shop: Merchant) -> None:
    first = collect(gateway, key="the-first-request").json()
    world.now = world.now.replace(minute=30)  # beyond the life of a signature
    assert collect(gateway, key="the-first-request").json() == first
    assert len(received(world.http, world, shop).requests) == 1
    other = collect(gateway, key="the-first-request", answer_days=3)
    assert problem(other, 400, "gateway-refused")["field"] == "Idempotency-Key"
    assert collect(gateway).json()["request_id"] != first["request_id"]


def test_a_merchant_without_a_key_is_invited_first(world: PlatformWorld, gateway: Any) -> None:
    world.know("SHOP")
    asked = collect(gateway).json()
    assert "/merchant/join#" in asked["invitation_link"]
    assert collect(gateway).json()["invitation_link"] == asked["invitation_link"]  # the link that was sent still works
    token, jwk = offer(asked["invitation_link"].partition("#")[2], world.now)
    assert post(world.http, "invitations/key", token).status_code == 201
    (leaf,) = world.agents["platform"].invitations.collect().leaves
    world.enrol_keys(Merchant(leaf.pseudonym, jwk))
    assert collect(gateway).json()["invitation_link"] is None


def test_refused_and_withdrawn_requests(world: PlatformWorld, gateway: Any, shop: Merchant) -> None:
    refused, withdrawn = collect(gateway).json()["request_id"], collect(gateway).json()["request_id"]
    world.hub.consent_requests.refuse(world.event(shop, refused, "refused"))
    assert gateway.get(f"/v1/consents/requests/{refused}").json()["state"] == "refused"
    problem(gateway.delete(f"/v1/consents/requests/{refused}"), 409, "consent-request-state")
    assert gateway.delete(f"/v1/consents/requests/{withdrawn}").json()["state"] == "withdrawn"
    problem(gateway.get(f"/v1/consents/requests/{secrets.token_hex(16)}"), 404, "not-found")
    bank = world.gateway("bank-01")
    problem(bank.get(f"/v1/consents/requests/{refused}"), 404, "not-found")  # another party's


def test_what_is_malformed_is_refused_with_its_field(world: PlatformWorld, gateway: Any, shop: Merchant) -> None:
    assert problem(collect(gateway, template="unknown"), 400, "gateway-refused")["field"] == "template"
    wrong = collect(gateway, fields={"frequency": {"count": 0, "per": "month"}})
    assert problem(wrong, 400, "gateway-refused")["field"] == "fields.frequency.count"
    assert problem(collect(gateway, template=None), 400, "gateway-refused")["field"].startswith("fields.")
    unnamed = collect(gateway, fields={"sources": {"bank": "bank-01", "court": "court-01"}})
    problem(unnamed, 400, "gateway-refused")
    elsewhere = collect(gateway, fields={"sources": {"bank": "bank-99"}})
    assert problem(elsewhere, 422, "consent-refused")["field"] == "sources"
    unregistered = {"version": "1", "language": "zh", "sha256": "0" * 64}
    notice = collect(gateway, fields={"privacy_notice": unregistered})
    assert problem(notice, 422, "consent-refused")["field"] == "privacy_notice"
    assert problem(collect(gateway, id="NEW"), 400, "gateway-refused")["field"] == "id_type"
    problem(collect(gateway, id="x" * 300), 400, "gateway-refused")
    tax = world.gateway("tax-01")
    problem(collect(tax), 422, "consent-request-refused")
    closed = world.gateway("platform", Authorization="Bearer wrong")
    problem(collect(closed), 401, "gateway-refused")
    chinese = collect(world.gateway("platform", **{"Accept-Language": "zh"}), fields={"sources": {"bank": "bank-99"}})
    assert chinese.json()["title"] == "授权被拒绝"


def test_identifiers_stay_at_the_agent(world: PlatformWorld, gateway: Any, shop: Merchant) -> None:
    collect(gateway)
    gateway.post("/v1/consents/status", json={"id": "SHOP"})
    assert world.forwarded
    assert all("SHOP" not in path and shop.kid not in path for _, path in world.forwarded)
    world.settle()
    assert "SHOP" not in world.export().read_text()


def test_the_sample_template_is_complete(world: PlatformWorld) -> None:
    (template,) = load_templates({"loan": world.base / "loan.yaml"}).values()
    terms = template.terms(world.now)
    assert (terms.valid_until - terms.valid_from).days == 365
    shipped = load_node_config(CONFIGS / "client.yaml").gateway
    assert shipped is not None
    sample = load_templates(shipped.consent_templates)["loan"]
    assert len(sample.terms(world.now).separate_consent) == 4
    assert sample.privacy_notice == shown(("credit-scoring",))
    twice = ConsentTemplate.model_validate({**dict(template), "recipients": ("bank-01", "bank-01")})
    with pytest.raises(GatewayError):
        twice.terms(world.now)
