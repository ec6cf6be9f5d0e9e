"""The hub against its own OpenAPI document: whatever is sent, nothing fails, and every answer has a stated shape."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis import GenerationMode
from starlette.types import ASGIApp, Receive, Scope, Send

from crypto.jws import sign_model
from crypto.wire.base import SUITE
from crypto.wire.service import SignedRequest
from hub.app import create_app
from tests.hub_merchants import MarketWorld, make_merchant
from tests.hub_world import Member
from tests.openapi_calls import call_all

ADMINISTRATOR, PARTY = "as-administrator", "as-party"
NO_BODY = {"POST /v1/campaigns/{campaign_id}/abort"}


class Credentials:
    """Puts real credentials where a test wrote for whom it calls: signatures are for one request each."""

    def __init__(self, app: ASGIApp, world: MarketWorld, *, token: str, party: Member) -> None:
        self._app = app
        self._world = world
        self._token = token
        self._party = party

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [self._real(scope, *each) for each in scope["headers"]]}
        await self._app(scope, receive, send)

    def _real(self, scope: Scope, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if (name, value) == (b"authorization", ADMINISTRATOR.encode()):
            return name, f"Bearer {self._token}".encode()
        if (name, value) != (b"authorization", PARTY.encode()):
            return name, value
        query: bytes = scope["query_string"]
        path = scope["raw_path"].split(b"?", 1)[0] + (b"?" + query if query else b"")
        request = SignedRequest(
            suite=SUITE,
            party_id=self._party.party_id,
            method=scope["method"],
            path=path.decode(),
            nonce=secrets.token_bytes(16),
            issued_at=self._world.now,
        )
        return name, b"Digua " + sign_model(
            request, self._party.identity, typ="request", kid=self._party.party_id
        ).encode()


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketWorld]:
    made = MarketWorld(tmp_path_factory.mktemp("hub"))
    made.enrol_keys(*(make_merchant(name) for name in ("m-1", "m-2")))
    try:
        yield made
    finally:
        made.hub.close()


@pytest.fixture(scope="module")
def schema(world: MarketWorld) -> Any:
    app = create_app(world.hub)
    made = schemathesis.openapi.from_dict(app.openapi())
    token = world.hub.config.admin_token_file.read_text().strip()
    made.app = Credentials(app, world, token=token, party=world.members["bank-01"])
    return made


def headers(case: schemathesis.Case) -> Any:
    """What was generated, with a new idempotency key where none was, and with credentials where they are needed."""
    made = case.headers
    needs_key = case.method.upper() == "POST"
    if needs_key and (case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE):
        made["Idempotency-Key"] = secrets.token_hex(16)
    if stated := case.operation.definition.raw.get("security", [{}])[0]:
        made["Authorization"] = ADMINISTRATOR if "administrator" in stated else PARTY
    return made


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_sent_nothing_fails_and_every_answer_has_a_stated_shape(
    world: MarketWorld, schema: Any, mode: GenerationMode
) -> None:
    merchant = world.merchant(f"m-{mode.value}")
    seed = 1 + list(GenerationMode).index(mode)  # a model that one mode withdraws is not there for the other
    record_id, token = world.consent(merchant)
    world.hub.consents.submit((token,))
    known = {"model_id": world.released_model(seed), "record_id": record_id, "path": "0/000.p/1"}
    statuses = call_all(schema, mode, headers, known)
    if mode is GenerationMode.POSITIVE:
        assert len(statuses) == len(list(schema.get_all_operations()))
        unsigned = {label for label, said in statuses.items() if said & {200, 201}}
        assert {"GET /v1/models/{model_id}", "GET /v1/models/{model_id}/card", "GET /v1/log/tile/{path}"} <= unsigned
        assert {"GET /v1/consents/{record_id}", "GET /v1/campaigns", "GET /v1/parties"} <= unsigned
    else:
        assert {"POST /v1/consents", "POST /v1/campaigns", "GET /v1/log/entries"} <= set(statuses)


def test_every_operation_states_what_it_takes_and_gives(schema: Any) -> None:
    for each in schema.get_all_operations():
        operation = each.ok()
        label, raw = operation.label, operation.definition.raw
        if operation.method.upper() == "POST" and label not in NO_BODY:
            assert "requestBody" in raw, f"{label}: state its body with hub.api.described.about(takes=…)"
        (content,) = (each.get("content", {}) for status, each in raw["responses"].items() if status.startswith("2"))
        if "application/json" in content and label != "GET /v1/models/{model_id}":
            assert content["application/json"]["schema"], f"{label}: state its answer with about(gives=…)"
