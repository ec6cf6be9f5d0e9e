"""From an invitation to an enrolled key in Chromium; and at a counter, where the key leaves on a sheet."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from crypto.jws import peek_payload, verify_merchant
from crypto.wire.invitation import KeyOffer
from hub.web.merchant_views import key_number
from tests.merchant_browser import invite
from tests.web.harness import Reader, shots
from tests.web.merchant_world import LiveMarket, Shop, served_market

PASSWORD = "白菜 八角 花椒 十三香"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[LiveMarket, str]]:
    with served_market(tmp_path_factory.mktemp("market")) as made:
        yield made


@pytest.fixture
def invited(market: tuple[LiveMarket, str]) -> tuple[bytes, str]:
    """A merchant that the bank invited: pseudonym and one-time token."""
    world = market[0]
    pseudonym = hashlib.sha256(secrets.token_bytes(8)).digest()
    made = invite(world.members["bank-01"], pseudonym, world.now)
    world.hub.invitations.invite(made.signed)
    return pseudonym, made.token


def offered(world: LiveMarket, pseudonym: bytes) -> KeyOffer:
    """What the bank collects for this merchant; the offer's own key verifies it."""
    (found,) = [each for each in world.hub.invitations.pending("bank-01").keys if each.pii_principal_id == pseudonym]
    offer = KeyOffer.model_validate_json(peek_payload(found.offer))
    verify_merchant(found.offer, offer.jwk, typ="merchant-key-offer", kid=offer.token_sha256.hex())
    return offer


def make_key(page: Page) -> None:
    expect(page.locator("[data-inviter]")).to_have_text("Title of bank-01")
    page.get_by_role("button", name="生成我的密钥").click()
    expect(page.locator("[data-said]")).to_contain_text("Title of bank-01")


def test_a_key_is_made_compared_and_enrolled(
    market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader], invited: tuple[bytes, str]
) -> None:
    world, origin = market
    pseudonym, token = invited
    page = reader_of(origin).open(f"/merchant/join#{token}", width=390)
    make_key(page)
    offer = offered(world, pseudonym)
    expect(page.locator("[data-join=done] [data-compare]")).to_have_text(key_number(offer.jwk))
    expect(page.locator("[data-standing]")).to_contain_text("正在等待平台和银行登记")
    page.screenshot(path=Path("out/screenshots/merchant/join-done-zh-390.png"), full_page=True)
    world.enrol_public(pseudonym, offer.jwk)
    expect(page.locator("[data-standing]")).to_contain_text("密钥已登记", timeout=60_000)
    page.goto(f"{origin}/merchant/keys")
    expect(page.locator(".key[data-current]")).to_contain_text(key_number(offer.jwk))
    page.goto("about:blank")
    page.goto(f"{origin}/merchant/join#{token}")  # the same link again: no second key
    expect(page.locator("[data-join=done] [data-compare]")).to_have_text(key_number(offer.jwk))


def test_a_used_link_makes_no_key_in_another_browser(
    market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader], invited: tuple[bytes, str]
) -> None:
    reader = reader_of(market[1])
    make_key(reader.open(f"/merchant/join#{invited[1]}", width=390))
    other = reader.open(f"/merchant/join#{invited[1]}", width=390)
    other.get_by_role("button", name="生成我的密钥").click()
    expect(other.locator("[data-problem]")).to_contain_text("invitation-invalid")
    other.goto(f"{market[1]}/merchant")
    expect(other.locator("[data-home=none]")).to_be_visible()


def test_a_wrong_link_says_what_to_do(market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader]) -> None:
    reader = reader_of(market[1])
    for fragment in ("", "#short", "#" + "x" * 43, "#<script>alert(1)</script>xxxxxxxx"):
        page = reader.open(f"/merchant/join{fragment}", width=390)
        expect(page.locator("[data-problem]")).to_be_visible()
        expect(page.locator("[data-make]")).to_be_disabled()


def test_at_a_counter_the_key_leaves_on_a_sheet_and_the_browser_is_wiped(
    market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader], invited: tuple[bytes, str], tmp_path: Path
) -> None:
    world, origin = market
    pseudonym, token = invited
    reader = reader_of(origin)
    page = reader.open("/merchant/counter")
    page.fill("#link", f"{origin}/merchant/join#{token}")
    page.get_by_role("button", name="在本柜台打开").click()
    expect(page.locator("[data-counter]")).to_be_visible()
    make_key(page)
    world.enrol_public(pseudonym, offered(world, pseudonym).jwk)
    asked = world.propose(pseudonym)
    page.get_by_role("link", name="待办申请").last.click()
    page.get_by_role("link", name="阅读并答复").click()
    for box in ("p-credit-scoring", "r-bank-01", "s-bank-01-tax", "adverse"):
        page.check(f"#{box}")
    page.get_by_role("button", name="同意并签名").click()
    expect(page.locator("[data-delivery]")).to_contain_text("已签名")
    assert world.hub.consents.read(asked).record.collection_method == "商户在柜台逐项勾选并签名，由 bank-01 协助"

    page.goto(f"{origin}/merchant/counter")
    shots(page, "merchant/counter-finish")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD + "!")
    page.get_by_role("button", name="保存密钥单").click()
    expect(page.locator("[data-problem]")).to_contain_text("两次输入的密码不一致")
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    downloads: dict[str, Path] = {}
    page.on("download", lambda each: downloads.update({each.suggested_filename: each.path()}))
    page.get_by_role("button", name="保存密钥单").click()
    expect(page.locator("[data-sealed]")).to_contain_text("密钥单已保存")
    page.wait_for_timeout(1000)
    sheet = downloads[f"digua-key-{pseudonym.hex()[:8]}.json"]
    content = json.loads(sheet.read_text(encoding="utf-8"))
    assert content["kid"] == pseudonym.hex()
    assert "d" not in content["jwk"]
    assert len(downloads["digua-receipts.ndjson"].read_text(encoding="utf-8").splitlines()) == 1
    page.get_by_role("button", name="清除本浏览器").click()
    expect(page.locator("[data-wiped]")).to_contain_text("已没有任何密钥")
    assert page.evaluate("async () => (await indexedDB.databases()).map((each) => each.name)") == []

    phone = reader.open("/merchant/keys", width=390)
    phone.set_input_files("#sheet-file", sheet)
    phone.fill("#sheet-password", PASSWORD)
    phone.get_by_role("button", name="导入密钥").click()
    expect(phone.locator("[data-sheet-said]")).to_contain_text("密钥已导入")
    phone.goto(f"{origin}/merchant/consents")
    phone.get_by_role("button", name="立即撤回").click()
    expect(phone.locator("[data-delivery]")).to_contain_text("已撤回")
    assert world.hub.consents.read(asked).state == "revoked"
    own = Shop(pseudonym, phone).evaluate("return own.privateKey.extractable;")
    assert own is False
