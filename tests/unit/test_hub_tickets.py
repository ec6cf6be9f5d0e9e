"""Tickets: one merchant's, one party's, one answer; the hub reads none of it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.jws import peek_payload, sign_model
from crypto.keys import BoxKey
from crypto.ticket_boxes import open_text, seal_text, ticket_context
from crypto.wire.base import SUITE
from crypto.wire.service import MerchantRequest
from crypto.wire.ticket import (
    Ticket,
    TicketAnswer,
    TicketClosing,
    TicketItems,
    TicketStandings,
    TicketSubject,
)
from hub.app import create_app
from hub.erasure import erase_merchant
from hub.tables.consent_requests import ConsentRequestRow
from hub.tables.invitations import InvitationRow
from hub.tables.tickets import TicketRow
from hub.working_days import working_days_after
from tests.hub_merchants import MarketWorld, Merchant
from tests.hub_world import Member
from tests.merchant_browser import invite
from tests.unit.test_hub_consent_requests import call, request
from tests.unit.test_hub_invitations import post, refused

TEXT = "评分与实际经营不符，请人工复核。"


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
    shop = world.merchant("shop", "ES256")
    world.hub.consents.submit([world.consent(shop)[1]])
    return shop


def ticket(world: MarketWorld, shop: Merchant, reply: BoxKey | None = None, **changes: object) -> tuple[str, str]:
    """A ticket's id and token."""
    ticket_id = str(changes.pop("ticket_id", secrets.token_hex(16)))
    party = str(changes.get("party_id", "bank-01"))
    text = str(changes.pop("text", TEXT))
    box = world.members[party].box.public if party in world.members else bytes(31) + b"\x09"
    fields: dict[str, object] = {
        "suite": SUITE,
        "ticket_id": ticket_id,
        "pii_principal_id": shop.pseudonym,
        "party_id": "bank-01",
        "kind": "review",
        "about": TicketSubject(sort="record"),
        "sealed": seal_text(text, box, context=ticket_context(ticket_id, shop.pseudonym, party, "question")),
        "reply_key": (reply or BoxKey.generate()).public,
        "issued_at": world.now,
    }
    body = Ticket.model_validate(fields | changes)
    return ticket_id, shop.sign(canonical_bytes(body), "merchant-ticket")


def answer(
    world: MarketWorld, signed: str, text: str = "已复核。", party: str | Member = "bank-01", **changes: object
) -> str:
    member = world.members[party] if isinstance(party, str) else party
    asked = Ticket.model_validate_json(peek_payload(signed))
    context = ticket_context(asked.ticket_id, asked.pii_principal_id, asked.party_id, "answer")
    fields: dict[str, object] = {
        "suite": SUITE,
        "ticket_id": asked.ticket_id,
        "party_id": member.party_id,
        "decision": "granted",
        "sealed": seal_text(text, asked.reply_key, context=context),
        "issued_at": world.now,
    }
    body = TicketAnswer.model_validate(fields | changes)
    return sign_model(body, member.identity, typ="ticket-answer", kid=member.party_id)


def closing(world: MarketWorld, shop: Merchant, ticket_id: str) -> str:
    body = TicketClosing(suite=SUITE, ticket_id=ticket_id, pii_principal_id=shop.pseudonym, issued_at=world.now)
    return shop.sign(canonical_bytes(body), "ticket-closing")


def own(client: TestClient, world: MarketWorld, shop: Merchant) -> TicketStandings:
    body = MerchantRequest(
        suite=SUITE, pii_principal_id=shop.pseudonym, nonce=secrets.token_bytes(16), issued_at=world.now
    )
    found = post(client, "merchants/tickets/list", shop.sign(canonical_bytes(body), "merchant-request"))
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store")
    return TicketStandings.model_validate_json(found.content)


def of_party(client: TestClient, world: MarketWorld, party: str) -> TicketItems:
    return TicketItems.model_validate_json(call(client, world, party, "GET", "/v1/tickets").content)


def test_a_ticket_is_asked_read_answered_and_closed(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    reply = BoxKey.generate()
    ticket_id, signed = ticket(world, shop, reply)
    for _ in range(2):  # sent again, it changes nothing
        taken = post(client, "merchants/tickets", signed)
        assert (taken.status_code, taken.json()["state"]) == (201, "open"), taken.text
    (item,) = of_party(client, world, "bank-01").tickets
    asked = Ticket.model_validate_json(peek_payload(item.ticket))
    context = ticket_context(ticket_id, shop.pseudonym, "bank-01", "question")
    assert open_text(asked.sealed, world.members["bank-01"].box, context=context) == TEXT
    assert item.merchant_key.leaf == shop.leaf()
    said = answer(world, signed)
    for _ in range(2):
        assert post(client, "tickets/answers", said).status_code == 204
    refused(post(client, "tickets/answers", answer(world, signed, "anders")), 409, "ticket-state")
    (mine,) = own(client, world, shop).tickets
    assert (mine.state, mine.answer, mine.answered_at) == ("answered", said, world.now)
    body = TicketAnswer.model_validate_json(peek_payload(said))
    back = ticket_context(ticket_id, shop.pseudonym, "bank-01", "answer")
    assert open_text(body.sealed, reply, context=back) == "已复核。"
    for _ in range(2):
        assert post(client, "merchants/tickets/close", closing(world, shop, ticket_id)).json()["state"] == "closed"
    assert of_party(client, world, "bank-01").tickets == ()
    world.settle()
    (mine,) = own(client, world, shop).tickets
    assert mine.log_index is not None
    text = world.export().read_text()
    for what in ("ticket", "ticket-answer", "ticket-closed"):
        assert f'\\"type\\":\\"{what}\\"' in text
    for secret in (ticket_id, shop.kid, base64.urlsafe_b64encode(shop.pseudonym).decode(), TEXT):
        assert secret not in text


def test_nobody_sees_or_answers_another_ones_ticket(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    ticket_id, signed = ticket(world, shop)
    post(client, "merchants/tickets", signed)
    other = world.merchant("other")
    assert own(client, world, other).tickets == ()
    refused(post(client, "merchants/tickets/close", closing(world, other, ticket_id)), 404, "not-found")
    for party in ("bank-02", "platform", "tax-01"):
        assert of_party(client, world, party).tickets == ()
        refused(post(client, "tickets/answers", answer(world, signed, party=party)), 404, "not-found")
    refused(
        post(client, "tickets/answers", answer(world, signed, party="bank-02", party_id="bank-01")), 403, "forbidden"
    )
    refused(
        post(client, "tickets/answers", answer(world, signed, party=Member("bank-01", "bank"))),
        401,
        "signature-invalid",
    )
    assert client.get("/v1/tickets").status_code == 401
    forged = Merchant(shop.pseudonym, other.jwk)
    refused(post(client, "merchants/tickets", ticket(world, forged)[1]), 401, "signature-invalid")
    about_other = ticket(world, other, pii_principal_id=shop.pseudonym)[1]
    refused(post(client, "merchants/tickets", about_other), 422, "consent-refused")
    taken = ticket(world, shop, ticket_id=ticket_id)[1]
    assert refused(post(client, "merchants/tickets", taken), 422, "ticket-refused")["field"] == "ticket_id"


def test_what_a_ticket_may_be_about(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    def asked(**changes: object) -> httpx.Response:
        return post(client, "merchants/tickets", ticket(world, shop, **changes)[1])  # type: ignore[arg-type]

    assert refused(asked(party_id="bank-02"), 422, "ticket-refused")["field"] == "party_id"
    refused(asked(party_id="bank-99"), 403, "party-unknown")
    foreign_id, foreign = world.consent(world.merchant("other"))
    world.hub.consents.submit([foreign])
    own_id, consent = world.consent(shop)
    world.hub.consents.submit([consent])
    for subject in (
        TicketSubject(sort="consent", reference=foreign_id),
        TicketSubject(sort="consent"),
        TicketSubject(sort="query", reference="1"),
        TicketSubject(sort="query"),
        TicketSubject(sort="record", reference="x"),
    ):
        assert refused(asked(about=subject), 422, "ticket-refused")["field"] == "about.reference"
    assert asked(about=TicketSubject(sort="consent", reference=own_id)).status_code == 201
    refused(asked(issued_at=world.now - timedelta(minutes=6)), 401, "unauthorised")
    refused(post(client, "merchants/tickets", "a" * 40_000), 413, "request-too-large")


def test_a_merchant_has_twenty_open_tickets_at_most(world: MarketWorld, client: TestClient, shop: Merchant) -> None:
    first = ""
    for _ in range(20):
        first, signed = ticket(world, shop)
        assert post(client, "merchants/tickets", signed).status_code == 201
    refused(post(client, "merchants/tickets", ticket(world, shop)[1]), 422, "ticket-refused")
    post(client, "merchants/tickets/close", closing(world, shop, first))
    assert post(client, "merchants/tickets", ticket(world, shop)[1]).status_code == 201


@pytest.mark.parametrize(
    ("start", "due"),
    [
        ("2026-03-02T01:00:00+00:00", "2026-03-23T15:59:59+00:00"),  # a Monday → the end of Monday in three weeks
        ("2026-03-01T17:00:00+00:00", "2026-03-23T15:59:59+00:00"),  # Sunday in London, Monday in Lishui already
        ("2026-03-06T08:00:00+00:00", "2026-03-27T15:59:59+00:00"),  # a Friday
        ("2026-03-07T08:00:00+00:00", "2026-03-27T15:59:59+00:00"),  # a Saturday
    ],
)
def test_fifteen_working_days_are_three_weeks(start: str, due: str) -> None:
    assert working_days_after(datetime.fromisoformat(start), 15) == datetime.fromisoformat(due).astimezone(UTC)


def test_an_erasure_takes_what_was_asked_of_the_merchant_and_by_it(
    world: MarketWorld, client: TestClient, shop: Merchant
) -> None:
    other = world.merchant("other")
    world.hub.consents.submit([world.consent(other)[1]])
    for each in (shop, other):
        assert post(client, "merchants/tickets", ticket(world, each)[1]).status_code == 201
        assert post(client, "consent-requests", request(world, each)[1]).status_code == 201
        again = invite(world.members["bank-01"], each.pseudonym, world.now, replaces=True)
        assert post(client, "invitations", again.signed).status_code == 201
    erase_merchant(world.hub, shop.pseudonym)
    with world.hub.db.reading() as session:
        for table in (TicketRow, ConsentRequestRow, InvitationRow):
            assert set(session.scalars(select(table.pseudonym))) == {other.pseudonym}
