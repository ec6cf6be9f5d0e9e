"""The merchant's pages in Chromium: consents signed, paused, withdrawn; keys; the own record."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from crypto.record_receipts import check_receipt
from crypto.wire.receipt import ReceiptFile
from tests.hub_merchants import Merchant
from tests.web.harness import Reader, shots
from tests.web.merchant_world import LiveMarket, Shop, consent_fields, served_market

STATIC_PAGES = ("", "/join", "/requests", "/consents", "/queries", "/keys", "/help", "/record", "/counter")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[LiveMarket, str]]:
    with served_market(tmp_path_factory.mktemp("market")) as made:
        yield made


@pytest.fixture
def shop(market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader]) -> Shop:
    """A merchant with an enrolled key in its browser, and one consent."""
    world, origin = market
    page = reader_of(origin).open("/merchant")
    shop = Shop(hashlib.sha256(secrets.token_bytes(8)).digest(), page)
    world.enrol_public(shop.pseudonym, shop.make_key())
    return shop


def consent(market: tuple[LiveMarket, str], shop: Shop, **changes: object) -> str:
    record = consent_fields(market[0], Merchant(shop.pseudonym, {}), **changes)
    shop.sign(record)
    return str(record["record_id"])


@pytest.mark.parametrize("path", STATIC_PAGES)
def test_pages_without_a_key_say_what_to_do(
    market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader], path: str
) -> None:
    page = reader_of(market[1]).open(f"/merchant{path}", width=390)
    expect(page.locator("h1")).to_be_visible()
    shots(page, f"merchant/without-key{path.replace('/', '-') or '-home'}")


def test_a_consent_is_shown_paused_resumed_and_withdrawn(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    record = consent(market, shop)
    page = shop.page
    page.goto(f"{origin}/merchant/consents")
    card = page.locator(f'[data-record="{record}"]')
    expect(card).to_contain_text("生效中")
    expect(card).to_contain_text("Title of bank-01")
    shots(page, "merchant/consents")
    card.get_by_role("button", name="暂停").click()
    expect(card).to_contain_text("已暂停")
    assert world.hub.consents.read(record).state == "paused"
    card.get_by_role("button", name="恢复").click()
    expect(card).to_contain_text("生效中")
    assert world.hub.consents.read(record).state == "given"
    card.get_by_role("button", name="立即撤回").click()
    expect(card).to_contain_text("已撤回")
    expect(card.get_by_role("button")).to_have_count(0)
    assert world.hub.consents.read(record).state == "revoked"
    expect(page.locator("[data-delivery]")).to_contain_text("已撤回")
    card.locator("summary").click()
    expect(card.locator(".timeline li")).to_have_count(4)
    shots(page, "merchant/consents-withdrawn")


def test_a_consents_entry_is_found_in_the_log_by_the_browser_itself(market: tuple[LiveMarket, str], shop: Shop) -> None:
    record = consent(market, shop)
    shop.page.wait_for_timeout(1500)  # a checkpoint comes every second
    shop.page.goto(f"{market[1]}/merchant/consents")
    card = shop.page.locator(f'[data-record="{record}"]')
    card.locator("summary").click()
    expect(card.locator("[data-proof]")).to_have_class(re.compile("good"))
    expect(card.locator("[data-proof]")).to_contain_text("核验无误")


def test_a_merchant_sees_nothing_of_another(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    other = world.merchant("another shop")
    record, token = world.consent(other)
    world.hub.consents.submit([token])
    shop.page.goto(f"{origin}/merchant/consents")
    expect(shop.page.locator("main")).to_contain_text("您没有作出过任何授权")
    refused = shop.evaluate(
        "try { await hub.ask(`/merchant/delivery?record=${given}`, own); } catch (error) { return error.code; }", record
    )
    assert refused == "not-found"
    forged = shop.evaluate(
        "const event = await artefacts.eventToken({...own, kid: given.kid}, given.record, 'revoked');"
        "try { await hub.postJson('/v1/consent-events', {tokens: [event]}); } catch (error) { return error.code; }",
        {"record": record, "kid": other.kid},
    )
    assert forged == "signature-invalid"
    assert world.hub.consents.read(record).state == "given"


def test_the_own_record_is_a_file_and_a_page(market: tuple[LiveMarket, str], shop: Shop, tmp_path: Path) -> None:
    record = consent(market, shop)
    shop.page.goto(f"{market[1]}/merchant/record")
    expect(shop.page.locator("[data-view]")).to_contain_text(record)
    with shop.page.expect_download() as started:
        shop.page.get_by_role("button", name="保存为文件").click()
    started.value.save_as(tmp_path / "own.json")
    text = (tmp_path / "own.json").read_text(encoding="utf-8")
    assert f'"record_id": "{record}"' in text
    assert shop.kid in shop.page.content()
    shots(shop.page, "merchant/record")


def test_the_keys_enrolled_are_shown_with_the_number_of_this_one(market: tuple[LiveMarket, str], shop: Shop) -> None:
    shop.page.goto(f"{market[1]}/merchant/keys")
    own = shop.page.locator("[data-key=some] [data-compare]")
    expect(own).to_have_text(re.compile(r"^([0-9a-f]{4} ){5}[0-9a-f]{4}$"))
    expect(shop.page.locator(".key[data-current]")).to_contain_text(own.text_content() or "missing")
    expect(shop.page.locator(".key[data-current]")).to_contain_text("Title of platform")
    shots(shop.page, "merchant/keys")


def test_a_receipt_is_a_page_and_a_file_that_verifies_offline(
    market: tuple[LiveMarket, str], shop: Shop, tmp_path: Path
) -> None:
    world, origin = market
    record = consent(market, shop)
    shop.page.wait_for_timeout(1500)  # a checkpoint comes every second
    shop.page.goto(f"{origin}/merchant/receipt?record={record}")
    expect(shop.page.locator("[data-view]")).to_contain_text("PIPL 13, 23, 29")
    expect(shop.page.locator("[data-view]")).to_contain_text("Title of tax-01")
    with shop.page.expect_download() as started:
        shop.page.get_by_role("button", name="保存为文件").click()
    started.value.save_as(tmp_path / "receipt.json")
    file = ReceiptFile.model_validate_json((tmp_path / "receipt.json").read_bytes())
    keys = {"hub_key": world.hub.keys.identity.public, "witness_key": world.witness.identity.public}
    assert check_receipt(file, **keys).record_id == record
    shots(shop.page, "merchant/receipt")
