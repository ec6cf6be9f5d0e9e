"""Queries about a merchant in Chromium: who asked, what each source made of it, and the place in the log."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from crypto.wire.scoring import ItemRefusal
from tests.unit.test_hub_queries import QueryWorld
from tests.web.harness import Reader, shots
from tests.web.merchant_world import LiveMarket, Shop, served_market


class AskedMarket(LiveMarket, QueryWorld):
    """A market whose merchant is asked about."""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[AskedMarket, str]]:
    """The platform asked once: the bank answered, the tax bureau refused, the utility could not be reached."""
    with served_market(tmp_path_factory.mktemp("market"), AskedMarket) as made:
        world = made[0]
        refused = (ItemRefusal(item=0, code="feed-stale"),)
        world.peers.handlers["tax-01", "query"] = world.source("tax-01", answered=(), refusals=refused)
        del world.peers.handlers["utility-01", "query"]
        asking = threading.Thread(target=lambda: asyncio.run(world.hub.queries.ask(world.request())))
        asking.start()
        asking.join()
        yield made


def test_a_query_is_shown_with_what_each_source_made_of_it(
    market: tuple[AskedMarket, str], reader_of: Callable[[str], Reader]
) -> None:
    world, origin = market
    shop = Shop(world.shop.pseudonym, reader_of(origin).open("/merchant", width=390))
    shop.take_key(world.shop.jwk)
    page = shop.page
    page.goto(f"{origin}/merchant/queries")
    query = page.locator(".query")
    expect(query).to_have_count(1)
    expect(query.locator("h2")).to_have_text("Title of platform")
    expect(query).to_contain_text("您申请贷款时计算信用评分")
    for party, words in (("bank", "已答复"), ("tax", "无法确认您的授权仍然有效"), ("utility", "数据来源无法连接")):
        expect(query.locator("li", has_text=f"Title of {party}-01")).to_contain_text(words)
    expect(query).to_contain_text(world.consent_id)
    expect(query.locator("[data-proof]")).to_have_class(re.compile("good"))
    shots(page, "merchant/queries")
    page.goto(f"{origin}/merchant/consents")
    expect(page.locator(".asked")).to_contain_text("Title of platform共查询 1 次")
    page.goto(f"{origin}/merchant/queries")
    page.get_by_role("link", name="要求Title of platform说明理由并人工复核").click()
    expect(page.locator("#ticket-party")).to_have_value("platform")
    expect(page.locator("#ticket-kind")).to_have_value("review")
    expect(page.locator("#ticket-about")).to_have_value(re.compile("^query:"))
