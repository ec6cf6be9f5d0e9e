"""A risk officer answers a merchant's request in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from crypto.jws import generate_merchant_key
from models.web.rights import Role
from tests.hub_merchants import Merchant
from tests.platform_world import PlatformWorld
from tests.served_world import free_port
from tests.unit.test_hub_invitations import post
from tests.unit.test_hub_tickets import TEXT, own, ticket
from tests.unit.test_nodes_web_tickets import Site
from tests.web.harness import SHOTS, WIDTHS, Reader, axe, fits, served, shots

pytestmark = pytest.mark.web


def in_both_languages(page: Page, name: str, load: Callable[[], None]) -> None:
    """A page that comes from a form, at both widths, with axe and a picture of each."""
    (SHOTS / "tickets").mkdir(parents=True, exist_ok=True)
    origin = "/".join(page.url.split("/")[:3])
    for language in ("en", "zh"):
        page.context.add_cookies([{"name": "digua_lang", "value": language, "url": origin}])
        load()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            fits(page)
            axe(page)
            page.screenshot(path=SHOTS / "tickets" / f"{name}-{language}-{width}.png", full_page=True)


def test_a_risk_officer_answers_a_merchant(tmp_path: Path, reader_of: Callable[[str], Reader]) -> None:
    world = PlatformWorld(tmp_path, "bank-01")
    shop = Merchant(world.know("91331100MA2E0QXX0A"), generate_merchant_key("ES256"))
    world.enrol_keys(shop)
    world.hub.consents.submit([world.consent(shop)[1]])
    port = free_port()
    site = Site(world, f"http://localhost:{port}")
    try:
        with served(site.app, port) as origin:
            reader = reader_of(origin)
            page = reader.open("/signin")
            name, session = site.session(Role.RISK_OFFICER)
            page.context.add_cookies([{"name": name, "value": session, "url": origin}])
            page.goto(origin + "/bank/tickets")
            shots(page, "tickets/empty")
            ticket_id, signed = ticket(world, shop)
            assert post(world.http, "merchants/tickets", signed).status_code == 201
            page.goto(origin + "/bank/tickets")
            shots(page, "tickets/list")
            page.locator("table a", has_text=ticket_id[:6]).click()
            expect(page.locator("h1")).to_have_text("人工复核")
            shots(page, "tickets/sealed")
            assert TEXT not in page.content()

            def open_it() -> None:
                page.goto(f"{origin}/bank/tickets/{ticket_id}")
                page.locator("form[action$='/open'] button").click()
                page.wait_for_selector("blockquote")

            in_both_languages(page, "opened", open_it)
            assert TEXT in page.content()
            page.select_option("#field-decision", "declined")
            page.fill("#field-words", "已由人工复核，维持原决定。")
            page.locator("form[action$='/answer'] button").click()
            page.wait_for_url(f"{origin}/bank/tickets/{ticket_id}")
            expect(page.locator(".badge", has_text="已答复")).to_be_visible()
            shots(page, "tickets/answered")
            assert own(world.http, world, shop).tickets[0].state == "answered"
    finally:
        world.close()
