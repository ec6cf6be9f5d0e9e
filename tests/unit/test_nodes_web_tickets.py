"""Pages of tickets: no merchant is named before its text is opened, each opening is recorded, an answer goes once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyotp
import pytest
from fastapi.testclient import TestClient

from crypto.jws import generate_merchant_key, peek_payload
from crypto.keys import BoxKey
from crypto.ticket_boxes import open_text, ticket_context
from crypto.wire.ticket import TicketAnswer
from models.web.access import SESSION
from models.web.rights import Role
from models.web.signin import Browser
from nodes.config import PagesConfig
from nodes.web.app import create_pages
from tests.hub_merchants import Merchant
from tests.platform_world import PlatformWorld
from tests.unit.test_hub_invitations import post
from tests.unit.test_hub_tickets import TEXT, own, ticket

ORIGIN = "http://localhost:8443"
FORM = {"origin": ORIGIN, "sec-fetch-site": "same-origin", "accept": "text/html"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path, "bank-01")
    yield world
    world.close()


@pytest.fixture
def shop(world: PlatformWorld) -> Merchant:
    shop = Merchant(world.know("SHOP"), generate_merchant_key("ES256"))
    world.enrol_keys(shop)
    world.hub.consents.submit([world.consent(shop)[1]])
    return shop


class Site:
    """The bank's pages, with whoever signs in."""

    def __init__(self, world: PlatformWorld, origin: str = ORIGIN) -> None:
        agent = world.agents["bank-01"]
        config = agent.runtime.config.model_copy(update={"pages": PagesConfig(origin=origin)})
        self.services = replace(agent, runtime=replace(agent.runtime, config=config))
        self.app = create_pages(self.services, connected=lambda: True)

    def session(self, role: Role) -> tuple[str, str]:
        """Name and value of the cookie of somebody new who is signed in."""
        access = self.app.state.access
        token = access.people.add(str(role), (role,))
        code = pyotp.TOTP(access.people.sign_up(token).totp_secret).at(self.services.runtime.now())
        password = "four words in a row"
        entry, _ = access.desk.join_by_password(token, password, password, code, Browser("127.0.0.1"))
        return access.site.cookie(SESSION), entry.session_id

    def client(self, role: Role) -> Any:
        headers = {"accept": "text/html"}
        client = TestClient(self.app, base_url=ORIGIN, headers=headers, raise_server_exceptions=False)
        client.cookies.set(*self.session(role))
        return client


@pytest.fixture
def site(world: PlatformWorld) -> Site:
    return Site(world)


def submit(client: Any, page: str, path: str, **fields: str) -> Any:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found is not None
    data = {"csrf_token": found[1], **fields}
    return client.post(path, data=data, headers=FORM, follow_redirects=False)


def test_a_ticket_is_opened_and_answered_by_a_person(world: PlatformWorld, site: Site, shop: Merchant) -> None:
    reply = BoxKey.generate()
    ticket_id, signed = ticket(world, shop, reply)
    assert post(world.http, "merchants/tickets", signed).status_code == 201
    client = site.client(Role.RISK_OFFICER)
    path = f"/bank/tickets/{ticket_id}"
    for page in ("/bank/tickets", path):
        answer = client.get(page)
        assert (answer.status_code, "人工复核" in answer.text) == (200, True), answer.text
        for secret in ("SHOP", TEXT, shop.kid):
            assert secret not in answer.text
    looks = site.app.state.access.looks
    assert list(looks.newest()) == []
    opened = submit(client, path, f"{path}/open")
    assert (opened.status_code, TEXT in opened.text, "SHOP" in opened.text) == (200, True, True)
    (look,) = looks.newest()
    assert (look.what, look.name) == ("ticket", "risk-officer")
    unchosen = submit(client, path, f"{path}/answer", decision="", words="已复核。")
    assert (unchosen.status_code, "请选择处理结果" in unchosen.text, "已复核。" in unchosen.text) == (422, True, True)
    long = submit(client, path, f"{path}/answer", decision="granted", words="x" * 2001)
    assert long.status_code == 422
    sent = submit(client, path, f"{path}/answer", decision="declined", words="已由人工复核，维持原决定。")
    assert (sent.status_code, sent.headers["location"]) == (303, path)
    assert "不同意" in client.get(path).text
    (standing,) = own(world.http, world, shop).tickets
    assert standing.answer is not None
    said = TicketAnswer.model_validate_json(peek_payload(standing.answer))
    context = ticket_context(ticket_id, shop.pseudonym, "bank-01", "answer")
    assert open_text(said.sealed, reply, context=context) == "已由人工复核，维持原决定。"
    notes = [json.loads(line.entry) for line in world.agents["bank-01"].journal.lines()]
    person = next(note["facts"]["author"] for note in notes if note["type"] == "ticket-answered")
    assert person == look.person_id
    again = submit(client, "/bank/tickets/" + ticket_id, f"{path}/answer", decision="granted", words="x")
    assert again.status_code in (403, 422)


def test_only_a_risk_officer_answers_and_only_from_a_form(world: PlatformWorld, site: Site, shop: Merchant) -> None:
    ticket_id, signed = ticket(world, shop)
    post(world.http, "merchants/tickets", signed)
    for role in (Role.DATA_STEWARD, Role.COUNTER_CLERK, Role.OWNER):
        client = site.client(role)
        assert client.get("/bank/tickets").status_code == 403
        assert client.get(f"/bank/tickets/{ticket_id}").status_code == 403
    officer = site.client(Role.RISK_OFFICER)
    forged = officer.post(f"/bank/tickets/{ticket_id}/open", data={"csrf_token": "x"}, headers=FORM)
    assert forged.status_code == 403
    stranger = TestClient(site.app, base_url=ORIGIN, headers={"accept": "text/html"}, follow_redirects=False)
    assert stranger.get("/bank/tickets").status_code in (303, 401)
    assert officer.get("/bank/tickets/" + "0" * 32).status_code == 404


def test_what_a_merchant_writes_is_no_markup(world: PlatformWorld, site: Site, shop: Merchant) -> None:
    ticket_id, signed = ticket(world, shop, text="<script>alert(1)</script>\n<b>bold</b>")
    assert post(world.http, "merchants/tickets", signed).status_code == 201
    path = f"/bank/tickets/{ticket_id}"
    page = submit(site.client(Role.RISK_OFFICER), path, f"{path}/open")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;<br>" in page.text
    assert "<script>alert" not in page.text
