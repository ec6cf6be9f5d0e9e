"""The merchant's pages on the server: only its own signature opens its parts; words for all that has a code."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import get_args

import httpx
import pytest
from fastapi.testclient import TestClient

from crypto.canonical import canonical_bytes
from crypto.wire.base import SUITE
from crypto.wire.consent import EventType, Purpose, Unit
from crypto.wire.consent_request import RequestState
from crypto.wire.receipt import PartyRole
from crypto.wire.scoring import RefusalCode
from crypto.wire.service import MerchantRequest, MissingDeletion, RecordedDeletion
from crypto.wire.ticket import TicketDecision, TicketKind, TicketState
from hub.app import create_app
from hub.web import merchant, merchant_proposals, merchant_receipt, merchant_tickets, merchant_views
from hub.web import merchant_words as words
from hub.web.merchant_delivery import Deliveries
from models.i18n import catalogue
from tests.hub_merchants import MarketWorld, Merchant

VIEWS = ("consents", "requests", "queries", "keys", "help", "record")
TECHNICAL = {
    "signature-invalid",
    "requester-unknown",
    "request-expired",
    "nonce-reused",
    "request-too-large",
    "source-set-changed",
    "mixed-sources",
    "model-not-released",
    "model-rolled-back",
    "model-unknown",
    "model-versions-exceeded",
    "answer-expired",
}
"""Refusals that say nothing about the merchant's own wishes; shown as a technical reason with their code."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def client(world: MarketWorld) -> TestClient:
    origin = world.hub.config.public_url
    return TestClient(create_app(world.hub), base_url=origin, raise_server_exceptions=False)


@pytest.fixture
def shop(world: MarketWorld) -> Merchant:
    return world.merchant("shop", "ES256")


def question(world: MarketWorld, shop: Merchant) -> str:
    request = MerchantRequest(
        suite=SUITE, pii_principal_id=shop.pseudonym, nonce=secrets.token_bytes(16), issued_at=world.now
    )
    return shop.sign(canonical_bytes(request), "merchant-request")


def post(client: TestClient, path: str, token: str) -> httpx.Response:
    headers = {"Idempotency-Key": secrets.token_hex(8), "Content-Type": "application/jose"}
    return client.post(f"/merchant/{path}", content=token, headers=headers)


@pytest.mark.parametrize("view", VIEWS)
def test_a_part_is_for_its_merchants_signature_once(
    world: MarketWorld, client: TestClient, shop: Merchant, view: str
) -> None:
    token = question(world, shop)
    first = post(client, f"views/{view}", token)
    assert first.status_code == 200, first.text
    assert first.headers["cache-control"] == "no-store"
    assert post(client, f"views/{view}", token).json()["code"] == "request-replayed"
    for nonsense in ("", "a.b.c", "nonsense"):
        assert post(client, f"views/{view}", nonsense).status_code == 401
    world.now += timedelta(minutes=10)
    late = question(world, shop)
    world.now += timedelta(minutes=10)
    assert post(client, f"views/{view}", late).status_code == 401


def test_what_one_merchant_has_is_nothing_to_another(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    record, token = world.consent(shop)
    world.hub.consents.submit([token])
    other = world.merchant("other")
    assert record in post(client, "views/consents", question(world, shop)).text
    for view in VIEWS:
        assert record not in post(client, f"views/{view}", question(world, other)).text
    for path in ("delivery", "views/receipt", "files/receipt"):
        assert post(client, f"{path}?record={record}", question(world, other)).status_code == 404
        assert post(client, f"{path}?record={'0' * 32}", question(world, shop)).status_code == 404
    assert post(client, f"delivery?record={record}", question(world, shop)).status_code == 200


def test_pages_themselves_say_nothing_of_anybody(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    record, token = world.consent(shop)
    world.hub.consents.submit([token])
    for name in ("", *(f"/{page}" for page in merchant.PAGES)):
        page = client.get(f"/merchant{name}")
        assert page.status_code == 200
        assert record not in page.text
        assert shop.kid not in page.text


def test_the_file_is_what_the_hub_answers_with_what_was_signed_beside_it(
    world: MarketWorld, client: TestClient, shop: Merchant
) -> None:
    record, token = world.consent(shop)
    world.hub.consents.submit([token])
    world.hub.consents.submit_events([world.event(shop, record, "revoked")])
    file = post(client, "files/record", question(world, shop)).json()
    assert file["records"] == json.loads(world.hub.merchant_records.of(shop.pseudonym).model_dump_json())
    (signed,) = file["signed_content"]
    assert signed["consent"]["record_id"] == record
    assert [event["event"] for event in signed["events"]] == ["revoked"]


def test_a_change_is_confirmed_by_those_who_acknowledged_it(world: MarketWorld, shop: Merchant) -> None:
    record, token = world.consent(shop)
    world.hub.consents.submit([token])
    held: dict[str, int | None] = dict.fromkeys(("bank-01", "platform", "tax-01", "utility-01"))
    deliveries = Deliveries(world.hub.db, world.hub.consents, held.get)
    assert deliveries.of(shop.pseudonym, record).away == ("bank-01", "platform", "tax-01", "utility-01")
    held.update({party: world.hub.feed.end(party) for party in held})
    assert deliveries.of(shop.pseudonym, record).confirmed == 4
    world.hub.consents.submit_events([world.event(shop, record, "revoked")])
    after = deliveries.of(shop.pseudonym, record)
    assert (after.event, after.confirmed, len(after.waiting)) == ("revoked", 0, 4)
    held["tax-01"] = world.hub.feed.end("tax-01")
    assert deliveries.of(shop.pseudonym, record).waiting == ("bank-01", "platform", "utility-01")


def test_states_take_the_dates_in(world: MarketWorld, shop: Merchant) -> None:
    record = world.record(shop, valid_from=world.now, valid_until=world.now + timedelta(days=1))
    for state, after, expected in (
        ("given", timedelta(seconds=-1), "waiting"),
        ("given", timedelta(0), "active"),
        ("paused", timedelta(0), "paused"),
        ("given", timedelta(days=1), "expired"),
        ("paused", timedelta(days=1), "expired"),
        ("revoked", timedelta(days=1), "revoked"),
        ("refused", timedelta(0), "refused"),
    ):
        assert merchant_views.state_now(state, record, world.now + after) == expected
        assert expected in words.STATES


def test_who_deleted_and_who_should_have_is_beside_the_consent(world: MarketWorld, shop: Merchant) -> None:
    record, token = world.consent(shop)
    world.hub.consents.submit([token])
    records = world.hub.merchant_records.of(shop.pseudonym)
    stated = RecordedDeletion(record_id=record, party_id="bank-01", statement="a.b.c", salt=b"s", log_index=None)
    missing = MissingDeletion(record_id=record, party_id="platform", since=world.now)
    elsewhere = missing.model_copy(update={"record_id": "0" * 32})
    told = records.model_copy(update={"deletions": (stated, stated), "missing_deletions": (missing, elsewhere)})
    (view,) = merchant_views.consents_of(told, merchant_views.Parties(world.hub.parties.all()))
    assert [each.party_id for each in view.deleted] == ["bank-01"]
    assert [(each.party_id, since) for each, since in view.not_deleted] == [("platform", world.now)]


def test_all_that_the_wire_names_has_words_in_both_languages() -> None:
    assert set(words.PURPOSES) == set(get_args(Purpose))
    assert set(words.SPANS) == set(words.FREQUENCIES) == set(get_args(Unit))
    assert set(words.EVENTS) == set(get_args(EventType))
    assert set(words.OUTCOMES) - {words.ANSWERED} | TECHNICAL == set(get_args(RefusalCode))
    assert set(merchant_proposals.STATES) == set(get_args(RequestState))
    assert set(merchant_receipt.ROLES) == set(get_args(PartyRole))
    assert set(merchant_tickets.KINDS) == set(get_args(TicketKind))
    assert set(merchant_tickets.STATES) == set(get_args(TicketState))
    assert set(merchant_tickets.DECISIONS) == set(get_args(TicketDecision))
    texts = [
        *words.PURPOSES.values(),
        *words.CATEGORIES.values(),
        *words.KINDS.values(),
        *(text for pair in (*words.SPANS.values(), *words.FREQUENCIES.values()) for text in pair),
        *words.EVENTS.values(),
        *words.OUTCOMES.values(),
        words.REFUSED_OTHERWISE,
        *(text for text, _ in (*words.STATES.values(), *merchant_proposals.STATES.values())),
        *merchant_receipt.ROLES.values(),
        *merchant_tickets.KINDS.values(),
        *merchant_tickets.DECISIONS.values(),
        *(text for text, _ in merchant_tickets.STATES.values()),
        *(item.text for item in merchant.NAV),
    ]
    known = (catalogue("hub"), catalogue("models"))
    assert [text for text in texts if not any(each.has("zh", text) for each in known)] == []


def test_what_scripts_say_is_translated_and_every_name_they_use_is_there() -> None:
    folder = Path(merchant.__file__).parent
    said = dict(
        pair
        for line in (folder / "templates" / "merchant" / "texts.html.j2").read_text(encoding="utf-8").splitlines()
        if line.startswith('{{ say("')
        for pair in [tuple(json.loads("[" + line[len("{{ say(") : -len(") }}")] + "]"))]
    )
    known = (catalogue("hub"), catalogue("models"))
    assert len(said) > 50
    assert [text for text in said.values() if not any(each.has("zh", text) for each in known)] == []
    sources = "".join(path.read_text(encoding="utf-8") for path in (folder / "static" / "merchant").glob("*.js"))
    used = set()
    for opening in ('text("', 'new Trouble("'):
        used |= {part.partition('"')[0] for part in sources.split(opening)[1:]}
    assert used - set(said) == set()
    troubles = {part.partition('"')[0] for part in sources.split('new Trouble("')[1:]}
    assert {f"{name}.remedy" for name in troubles} - set(said) == set()
