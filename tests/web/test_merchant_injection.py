"""Hostile words in all that others write for a merchant to read: they are shown as words, on every page."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from crypto.wire.consent import PrivacyNotice
from crypto.wire.notice import NoticeSubmission
from crypto.wire.party import Party
from hub.parties import PartyBook
from tests.hub_merchants import Merchant
from tests.web.harness import Reader
from tests.web.merchant_world import LiveMarket, Shop, consent_fields, served_market

HOSTILE = """</p><img src=x onerror=alert(1)><script>alert(2)</script>'"><svg onload=alert(3)>{{ 7919 * 7907 }}"""
NOTICE = f"# 告知书\n\n{HOSTILE}\n\n[link](javascript:alert(4))\n"
RECIPIENTS = ("bank-01", "platform")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[LiveMarket, str]]:
    """A hub at which every party has a hostile title, and a notice hostile words."""
    honest = PartyBook.all
    with pytest.MonkeyPatch.context() as patch, served_market(tmp_path_factory.mktemp("market")) as made:
        world = made[0]

        def titled(book: PartyBook) -> tuple[Party, ...]:
            return tuple(party.model_copy(update={"title": HOSTILE}) for party in honest(book))

        patch.setattr(PartyBook, "all", titled)
        world.hub.notices.register(
            NoticeSubmission(
                notice="hostile", version="9", purposes=("credit-scoring", "model-training"), zh=NOTICE, en=NOTICE + "e"
            )
        )
        yield made


@pytest.fixture
def shop(market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader]) -> Shop:
    """A merchant in whose browser a dialogue would be noticed."""
    world, origin = market
    page = reader_of(origin).open("/merchant", width=390)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    shop = Shop(hashlib.sha256(secrets.token_bytes(8)).digest(), page)
    world.enrol_public(shop.pseudonym, shop.make_key())
    return shop


def hostile_terms() -> dict[str, Any]:
    notice = PrivacyNotice(version="9", language="zh", sha256=hashlib.sha256(NOTICE.encode()).hexdigest())
    words = dict.fromkeys(("legal_article", "withdrawal_method", "collection_method"), HOSTILE)
    return {"privacy_notice": notice, "jurisdiction": "<b>CN</b>", **words}


def tame(page: Page) -> None:
    """Nothing of the words became an element, an attribute, or a template's result."""
    assert page.locator("main img, main svg, main script, main b, main a[href^='javascript']").count() == 0
    names = page.evaluate("() => [...document.querySelectorAll('main *')].flatMap((each) => each.getAttributeNames())")
    assert not [name for name in names if name.startswith("on")]
    assert "62615533" not in page.locator("main").inner_text()


def test_a_request_full_of_hostile_words_is_read_as_words(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    asked = world.propose(shop.pseudonym, **hostile_terms())
    shop.page.goto(f"{origin}/merchant/requests")
    expect(shop.page.locator(".request h2")).to_have_text(HOSTILE)
    tame(shop.page)
    shop.page.goto(f"{origin}/merchant/consent?request={asked}")
    shop.page.locator("summary").click()
    expect(shop.page.locator(".notice-text")).to_contain_text(HOSTILE)
    shop.page.check("#s-bank-01-tax")
    shop.page.get_by_role("button", name="同意并签名").click()
    expect(shop.page.locator("[data-needed]")).to_contain_text(HOSTILE)
    tame(shop.page)


@pytest.mark.parametrize("page", ["consents", "record", "help", "queries", "keys"])
def test_stored_words_are_shown_as_words(market: tuple[LiveMarket, str], shop: Shop, page: str) -> None:
    world, origin = market
    shop.sign(consent_fields(world, Merchant(shop.pseudonym, {}), **hostile_terms()))
    shop.page.goto(f"{origin}/merchant/{page}")
    expect(shop.page.locator("[data-view]")).not_to_have_attribute("aria-busy", "true")
    expect(shop.page.locator("[data-problem]")).to_be_hidden()
    if page not in ("queries",):
        expect(shop.page.locator("[data-view]")).to_contain_text("onerror=alert(1)")
    tame(shop.page)


def test_a_receipt_of_hostile_terms_is_shown_as_words(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    record = consent_fields(world, Merchant(shop.pseudonym, {}), **hostile_terms())
    shop.sign(record)
    shop.page.wait_for_timeout(1500)  # a checkpoint comes every second
    shop.page.goto(f"{origin}/merchant/receipt?record={record['record_id']}")
    expect(shop.page.locator("[data-view]")).to_contain_text(HOSTILE)
    tame(shop.page)


@pytest.mark.parametrize(
    "query",
    [
        "consent?request=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "receipt?record=%3Cimg%20src=x%20onerror=alert(1)%3E",
        "help?kind=%22%3E%3Csvg%20onload=alert(1)%3E&party=%3Cscript%3E&query=%27",
        "requests#%3Cimg%20src=x%20onerror=alert(1)%3E",
        "consents?counter=%3Cscript%3Ealert(1)%3C/script%3E",
    ],
)
def test_hostile_addresses_run_nothing(market: tuple[LiveMarket, str], shop: Shop, query: str) -> None:
    shop.page.goto(f"{market[1]}/merchant/{query}")
    expect(shop.page.locator("h1")).to_be_visible()
    shop.page.wait_for_timeout(500)
    tame(shop.page)


def test_a_refusal_with_hostile_words_is_shown_as_words(market: tuple[LiveMarket, str], shop: Shop) -> None:
    body = {"title": HOSTILE, "detail": HOSTILE, "remedy": HOSTILE, "code": HOSTILE, "status": 422}
    shop.page.context.route(
        "**/merchant/views/**",
        lambda route: route.fulfill(status=422, json=body, content_type="application/problem+json"),
    )
    shop.page.goto(f"{market[1]}/merchant/consents")
    expect(shop.page.locator("[data-problem]")).to_contain_text(HOSTILE)
    tame(shop.page)
