"""A consent before it is signed, in Chromium: nothing ticked beforehand, only what was ticked is signed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from crypto.wire.consent import DataCategory, SeparateConsent
from tests.web.harness import Reader, shots
from tests.web.merchant_world import LiveMarket, Shop, served_market

CATEGORIES = tuple(DataCategory(category=name, data_class="C2") for name in ("bank", "tax", "utility", "reasons"))
RECIPIENTS = ("bank-01", "platform")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[LiveMarket, str]]:
    with served_market(tmp_path_factory.mktemp("market")) as made:
        yield made


@pytest.fixture
def shop(market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader]) -> Shop:
    """A merchant on a telephone, its key enrolled."""
    world, origin = market
    page = reader_of(origin).open("/merchant", width=390)
    shop = Shop(hashlib.sha256(secrets.token_bytes(8)).digest(), page)
    world.enrol_public(shop.pseudonym, shop.make_key())
    return shop


@pytest.fixture
def asked(market: tuple[LiveMarket, str], shop: Shop) -> str:
    """A request that waits for the merchant."""
    pairs = tuple(SeparateConsent(recipient=name, category=each.category) for name in RECIPIENTS for each in CATEGORIES)
    return market[0].propose(shop.pseudonym, pii_information=CATEGORIES, recipients=RECIPIENTS, separate_consent=pairs)


def open_request(market: tuple[LiveMarket, str], shop: Shop, asked: str) -> Page:
    """By the link that the institution sent."""
    shop.page.goto("about:blank")
    shop.page.goto(f"{market[1]}/merchant/requests#{asked}")
    expect(shop.page.locator("[data-consent]")).to_be_visible()
    return shop.page


def agree(page: Page) -> None:
    page.get_by_role("button", name="同意并签名").click()


def test_open_requests_are_listed(market: tuple[LiveMarket, str], shop: Shop, asked: str) -> None:
    shop.page.goto(f"{market[1]}/merchant/requests")
    expect(shop.page.locator(".request")).to_contain_text("Title of bank-01")
    expect(shop.page.locator(".request")).to_contain_text("待您答复")
    shots(shop.page, "merchant/requests")
    shop.page.get_by_role("link", name="阅读并答复").click()
    expect(shop.page.locator("[data-consent]")).to_be_visible()
    assert asked in shop.page.url


def test_nothing_is_ticked_beforehand_and_nothing_is_signed_before_the_needed_ticks(
    market: tuple[LiveMarket, str], shop: Shop, asked: str
) -> None:
    page = open_request(market, shop, asked)
    assert page.locator("input[type=checkbox]").count() == 2 + 2 * (1 + 4) + 1
    assert page.locator("input:checked").count() == 0
    shots(page, "merchant/consent")
    agree(page)
    needed = page.locator("[data-needed] li")
    expect(needed).to_have_count(3)
    page.check("#p-credit-scoring")
    page.check("#r-bank-01")
    agree(page)
    expect(needed).to_have_count(2)
    expect(page.locator("[data-needed]")).to_contain_text("请为Title of bank-01至少勾选一类数据")
    page.check("#s-platform-tax")
    page.check("#s-bank-01-tax")
    page.check("#adverse")
    agree(page)
    expect(needed).to_have_count(1)
    expect(page.locator("[data-needed]")).to_contain_text("没有勾选Title of platform本身")
    assert market[0].hub.consents.of_merchant(shop.pseudonym) == ()


def test_what_is_signed_is_what_was_ticked(market: tuple[LiveMarket, str], shop: Shop, asked: str) -> None:
    world, _ = market
    page = open_request(market, shop, asked)
    for box in ("p-credit-scoring", "r-bank-01", "s-bank-01-bank", "s-bank-01-tax", "s-bank-01-utility", "adverse"):
        page.check(f"#{box}")
    agree(page)
    expect(page.locator("[data-delivery]")).to_contain_text("已签名")
    (stored,) = world.hub.consents.of_merchant(shop.pseudonym)
    record = stored.record
    assert record.record_id == asked
    assert record.purposes == ("credit-scoring",)
    assert record.recipients == ("bank-01",)
    assert {each.category for each in record.pii_information} == {"bank", "tax", "utility"}
    assert {(each.recipient, each.category) for each in record.separate_consent} == {
        ("bank-01", name) for name in ("bank", "tax", "utility")
    }
    assert record.sources == {"bank": "bank-01", "tax": "tax-01", "utility": "utility-01"}
    assert record.adverse_consequences_notice is True
    assert record.collection_method == "商户在本人浏览器中逐项勾选并签名"
    (request,) = world.hub.consent_requests.of_merchant(shop.pseudonym).requests
    assert request.state == "signed"


def test_refusing_is_as_large_and_as_near_and_needs_no_tick(
    market: tuple[LiveMarket, str], shop: Shop, asked: str
) -> None:
    world, origin = market
    page = open_request(market, shop, asked)
    refuse, consent = (page.locator(f"[data-answer={name}]") for name in ("refuse", "agree"))
    one, other = refuse.bounding_box(), consent.bounding_box()
    assert one is not None
    assert other is not None
    for side in ("width", "height", "y"):
        assert round(one[side]) == round(other[side])  # type: ignore[literal-required]
    names = "['color', 'backgroundColor', 'fontWeight', 'fontSize', 'borderColor']"
    style = f"element => {names}.map((name) => getComputedStyle(element)[name])"
    assert refuse.evaluate(style) == consent.evaluate(style)
    refuse.click()
    expect(page.locator("[data-delivery]")).to_contain_text("已拒绝")
    (request,) = world.hub.consent_requests.of_merchant(shop.pseudonym).requests
    assert request.state == "refused"
    assert world.hub.consents.of_merchant(shop.pseudonym) == ()
    page.goto(f"{origin}/merchant/consent?request={asked}")
    expect(page.locator("main")).to_contain_text("本申请已办结")


def test_another_merchants_request_is_not_shown(market: tuple[LiveMarket, str], shop: Shop) -> None:
    other = market[0].propose(hashlib.sha256(secrets.token_bytes(8)).digest())
    shop.page.goto(f"{market[1]}/merchant/consent?request={other}")
    expect(shop.page.locator("[data-problem]")).to_contain_text("not-found")
