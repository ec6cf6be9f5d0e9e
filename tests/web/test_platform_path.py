"""A merchant's whole path on the platform's pages, in Chromium, against a real federation: registering to revoking."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pyotp
import pytest
from playwright.sync_api import Page, expect

from hub.platform.callers import Caller
from hub.platform.products import ProductTerms
from hub.platform.services import Platform
from hub.platform.web.site import Front
from models.web.rights import Role
from tests.lending_world import SHOP as PRODUCT
from tests.unit.test_hub_platform_pages import RULE
from tests.web.harness import Reader, axe, fits, shots
from tests.web.people import PASSWORD
from tests.web.platform_federation import TwoSmallFederation, served_platform

NAME = "莲都惠民超市"
ALL_BANDS = {**PRODUCT["rule"], "bands": ["A", "B", "C", "D", "E"]}


@dataclass
class Town:
    """The federation, the platform in it, and where its pages are."""

    world: TwoSmallFederation
    platform: Platform
    front: Front
    origin: str

    def call(self, kind: Any, party: str, path: str, body: Any) -> dict[str, Any]:
        """What a core system or an office sends to the platform's API."""
        key = self.platform.callers.make(Caller(kind, party), actor="operator:li")
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": uuid.uuid4().hex}
        answer = httpx.post(f"{self.origin}/v1{path}", json=body, headers=headers, trust_env=False, timeout=30)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """A whole federation shares this machine's cores with the browser: what it waits for may take its time."""
    expect.set_options(timeout=60_000)
    yield
    expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Town]:
    world = TwoSmallFederation(tmp_path_factory.mktemp("town"), scores=20)
    try:
        world.release()
        with served_platform(world) as (platform, front, origin):
            terms = {**PRODUCT, "bank": world.bank, "rule": ALL_BANDS}
            platform.products.publish(f"bank:{world.bank}", [ProductTerms.model_validate(terms)])
            yield Town(world, platform, front, origin)
    finally:
        world.close()


def sign_up(page: Page) -> None:
    """Choose password and authenticator app behind a one-time link."""
    secret = re.sub(r"\s", "", page.locator("form details code").text_content() or "")
    page.locator("input[name=code]").fill(pyotp.TOTP(secret).at(datetime.now(UTC)))
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=repeated]").fill(PASSWORD)
    page.locator("form:has(input[name=repeated]) button[type=submit]").click()
    expect(page.locator("input[name=repeated]")).to_have_count(0)


def link_in(page: Page, mark: str) -> str:
    href = page.locator(f"a[{mark}]").get_attribute("href")
    assert href is not None
    return href


def until(page: Page, path: str, ready: Callable[[], bool], *, what: str) -> None:
    """Open a page again and again, as the merchant would; its opening is what looks for the answer."""
    deadline = time.monotonic() + 300
    page.goto(path)
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not come"
        page.wait_for_timeout(200)
        page.goto(path)


def sound(page: Page) -> None:
    """A page that a form brought, which cannot be opened anew."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        fits(page)
        axe(page)


@pytest.fixture
def hub(town: Town, reader_of: Callable[[str], Reader]) -> Page:
    """The merchant's browser at the hub, which holds its enrolled key."""
    page = reader_of(town.world.url).open("/merchant", width=390)
    page.context.set_default_timeout(60_000)
    merchant = town.world.merchants[town.world.row]
    page.evaluate(
        """async ({jwk, kid}) => {
          const store = await import("/static/hub/merchant/store.js");
          const privateKey = await crypto.subtle.importKey("jwk", jwk, {name: "Ed25519"}, false, ["sign"]);
          const {kty, crv, x} = jwk;
          await store.keep({alg: "Ed25519", jwk: {kty, crv, x}, privateKey, kid, made: "2026-03-01T08:00:00Z"});
        }""",
        {"jwk": merchant.jwk, "kid": merchant.kid},
    )
    return page


def sign(hub: Page, link: str, purpose: str, bank: str) -> None:
    """Read a request on the hub's page, tick all that it asks for, and sign."""
    hub.goto("about:blank")
    hub.goto(link)
    expect(hub.locator("[data-consent]")).to_be_visible()
    for box in (f"p-{purpose}", *(f"r-{each}" for each in ("platform", bank))):
        hub.check(f"#{box}")
    for each in ("platform", bank):
        for category in ("bank", "tax", "utility", "reasons"):
            hub.check(f"#s-{each}-{category}")
    hub.check("#adverse")
    hub.get_by_role("button", name="同意并签名").click()
    expect(hub.locator("[data-delivery]")).to_contain_text("已签名")


def test_from_registering_to_revoking(town: Town, hub: Page, reader_of: Callable[[str], Reader]) -> None:
    world, bank = town.world, town.world.bank
    reader = reader_of(town.origin)

    # 1 Register: anybody may; nothing is told
    me = reader.open("/register", width=390)
    me.context.set_default_timeout(60_000)
    shots(me, "platform/register")
    me.fill("#field-name", NAME)
    me.fill("#field-identifier", world.identifier[:-1] + ("0" if world.identifier[-1] != "0" else "1"))
    me.fill("#field-contact", "13800000000")
    me.get_by_role("button", name="提交申请").click()
    expect(me.locator("#error-identifier")).to_contain_text("未通过校验")
    sound(me)
    me.fill("#field-identifier", world.identifier)
    me.get_by_role("button", name="提交申请").click()
    expect(me.locator("main")).to_contain_text("申请已收到")
    sound(me)

    # 2 An operator confirms, after a look at the licence
    town_link = town.front.people.make("li.na", Role.OPERATOR, "operator", actor="operator:root")
    operator = reader.open(town_link.removeprefix(town.origin))
    operator.context.set_default_timeout(60_000)
    sign_up(operator)
    operator.goto(f"{town.origin}/operator/registrations")
    shots(operator, "platform/registrations")
    operator.locator("tbody a").first.click()
    expect(operator.locator("main")).to_contain_text(world.identifier)
    shots(operator, "platform/registration")
    operator.fill("#field-name", "huimin")
    operator.check("#tick-checked-yes")
    operator.get_by_role("button", name="确认并生成链接").click()
    link = operator.locator("[data-link]").text_content() or ""
    sound(operator)

    # 3 The merchant signs in by the one-time link
    me.goto(link)
    sign_up(me)
    me.goto(f"{town.origin}/merchant")
    expect(me.locator("h1")).to_have_text(NAME)
    shots(me, "platform/account")

    # 4 It lets its bank look for offers, and signs on the hub's page
    offers = f"{town.origin}/merchant/offers"
    me.goto(offers)
    me.get_by_role("button", name="允许查找").first.click()
    sound(me)
    sign(hub, link_in(me, "data-consent"), "pre-qualification", bank)
    until(me, offers, lambda: me.locator("[data-offer]").count() == 1, what="the offer")
    shots(me, "platform/offers")

    # 5 It accepts with amount and term
    me.fill("[name=amount]", "5000")
    me.fill("[name=term]", "12")
    me.get_by_role("button", name="申请", exact=True).click()
    expect(me.locator(".field.wrong")).to_contain_text("¥10,000.00")
    me.fill("[name=amount]", "20000")
    me.get_by_role("button", name="申请", exact=True).click()
    expect(me.locator("main")).to_contain_text("已申请")
    financing = me.url
    shots(me, "platform/applied")

    # 6 It signs for the score, and reads it with reasons
    me.get_by_role("button", name="前往授权").click()
    sign(hub, link_in(me, "data-consent"), "credit-scoring", bank)
    until(me, financing, lambda: me.get_by_role("button", name="查看我的评分").count() == 1, what="the score")
    me.get_by_role("button", name="查看我的评分").click()
    expect(me.locator(".score .figures")).to_contain_text(re.compile(r"\d{3}"))
    expect(me.locator(".score li").first).to_contain_text(re.compile(r"[\u4e00-\u9fff]"))
    sound(me)

    # 7 The bank's core system offers, contracts and pays out; the office subsidises
    financing_id = financing.rpartition("/")[2]
    reference = town.platform.financings.get(financing_id).reference
    day = town.platform.lending.today().isoformat()
    orders = [
        {"step": "offer", "reference": reference, "amount_fen": 2_000_000, "annual_rate": "0.0435", "term_months": 12},
        {"step": "contract", "reference": reference, "on": day},
        {"step": "disburse", "reference": reference, "on": day},
    ]
    town.call("bank", bank, "/financings/orders", {"orders": orders})
    town.call("government", "office", "/programmes", {"programmes": [RULE]})
    town.call("government", "office", "/programmes/two-small-2026/grants", {"financing_id": financing_id})
    me.goto(financing)
    for text in ("已放款", "还款计划", "两小创业贴息", "¥20,000.00", "4.35 %"):
        expect(me.locator("main")).to_contain_text(text)
    shots(me, "platform/financing")
    me.goto(f"{town.origin}/merchant/financings")
    shots(me, "platform/financings")

    # 8 What its bank, the programme office and the regulator see of it
    for role, name, party, path in (
        (Role.BANK, "zhao.min", bank, f"/bank/financings/{financing_id}"),
        (Role.GOVERNMENT, "chen.lin", "office", "/office/grants"),
        (Role.REGULATOR, "wu.di", "pboc", f"/regulator?subject={financing_id}"),
    ):
        desk = reader.open(town.front.people.make(name, role, party, actor="operator:root").removeprefix(town.origin))
        desk.context.set_default_timeout(60_000)
        sign_up(desk)
        desk.goto(f"{town.origin}{path}")
        expect(desk.locator("main")).to_contain_text(reference if role is Role.BANK else financing_id[:10])
        assert NAME not in (desk.locator("main").text_content() or "")
        shots(desk, f"platform/path-{role.value}")

    # 9 It stops the bank here, and revokes the consent itself on the hub's page
    me.goto(offers)
    me.get_by_role("button", name="停止").click()
    revoke = link_in(me, "data-revoke")
    sound(me)
    assert town.platform.offers.offers_of(bank).offers == ()
    hub.goto("about:blank")
    hub.goto(revoke)
    consent_id = revoke.rpartition("#")[2]
    card = hub.locator(f"[data-record='{consent_id}']")
    expect(card).to_be_visible()
    card.get_by_role("button", name="立即撤回").click()
    expect(card).to_contain_text("已撤回")
    assert town.platform.audit.verify()[0] > 10


def test_the_form_is_read_without_scripts_and_in_english(town: Town, reader_of: Callable[[str], Reader]) -> None:
    page = reader_of(town.origin).open("/register", language="en", scripts=False)
    expect(page.locator("h1")).to_have_text("Register your business")
    page.fill("#field-name", NAME)
    page.fill("#field-identifier", "91330000000000000X")
    page.fill("#field-contact", "13800000000")
    page.get_by_role("button", name="Send the application").click()
    expect(page.locator("#error-identifier")).to_contain_text("check digit")
