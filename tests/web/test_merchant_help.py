"""Human review, correction, deletion in Chromium: sealed to the institution, answered, opened by the merchant."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from crypto.jws import peek_payload, sign_model
from crypto.ticket_boxes import open_text, seal_text, ticket_context
from crypto.wire.base import SUITE
from crypto.wire.ticket import Ticket, TicketAnswer
from models.explanation import explain, lines_of
from tests.hub_merchants import Merchant
from tests.unit.test_models_explanation import CARD, OWN, SCHEMA
from tests.web.harness import Reader, shots
from tests.web.merchant_world import LiveMarket, Shop, consent_fields, served_market

TEXT = "评分与实际经营不符，请人工复核。<img src=x onerror=alert(1)>"
ANSWER = "已由审贷员重新核实，额度调整为 20 万元。<script>alert(1)</script>"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[tuple[LiveMarket, str]]:
    with served_market(tmp_path_factory.mktemp("market")) as made:
        yield made


@pytest.fixture
def shop(market: tuple[LiveMarket, str], reader_of: Callable[[str], Reader]) -> Shop:
    world, origin = market
    shop = Shop(hashlib.sha256(secrets.token_bytes(8)).digest(), reader_of(origin).open("/merchant", width=390))
    world.enrol_public(shop.pseudonym, shop.make_key())
    return shop


def test_without_a_consent_nobody_can_be_asked(market: tuple[LiveMarket, str], shop: Shop) -> None:
    shop.page.goto(f"{market[1]}/merchant/help")
    expect(shop.page.locator("[data-view]")).to_contain_text("没有任何机构持有您的授权")


def test_a_review_is_asked_answered_and_closed(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    bank = world.members["bank-01"]
    shop.sign(consent_fields(world, Merchant(shop.pseudonym, {})))
    page = shop.page
    page.goto(f"{origin}/merchant/help?kind=review&party=bank-01")
    page.fill("#ticket-text", TEXT)
    page.get_by_role("button", name="加密、签名并提交").click()
    expect(page.locator("[data-ticket-said]")).to_contain_text("只有Title of bank-01能够阅读")
    (item,) = world.hub.tickets.of_party("bank-01").tickets
    assert TEXT.encode() not in item.ticket.encode()
    ticket = Ticket.model_validate_json(peek_payload(item.ticket))
    assert (ticket.kind, ticket.about.sort) == ("review", "record")
    question = ticket_context(ticket.ticket_id, shop.pseudonym, "bank-01", "question")
    assert open_text(ticket.sealed, bank.box, context=question) == TEXT

    reply = ticket_context(ticket.ticket_id, shop.pseudonym, "bank-01", "answer")
    answer = TicketAnswer(
        suite=SUITE,
        ticket_id=ticket.ticket_id,
        party_id="bank-01",
        decision="partly-granted",
        sealed=seal_text(ANSWER, ticket.reply_key, context=reply),
        issued_at=world.now,
    )
    world.hub.tickets.answer(sign_model(answer, bank.identity, typ="ticket-answer", kid="bank-01"))
    page.goto(f"{origin}/merchant/help")
    card = page.locator(f'[data-ticket-id="{ticket.ticket_id}"]')
    expect(card.locator(".answer-text")).to_have_text(ANSWER)
    expect(card).to_contain_text("部分同意")
    shots(page, "merchant/help")
    card.get_by_role("button", name="已解决，办结").click()
    expect(card).to_contain_text("已办结")
    assert world.hub.tickets.of_party("bank-01").tickets == ()


def test_an_explanation_is_asked_for_and_read_line_by_line(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    bank = world.members["bank-01"]
    shop.sign(consent_fields(world, Merchant(shop.pseudonym, {})))
    page = shop.page
    page.goto(f"{origin}/merchant/help?kind=explanation&party=bank-01")
    expect(page.locator("#ticket-kind")).to_have_value("explanation")
    expect(page.locator("main")).to_contain_text("各机构只向您本人说明各自的部分")
    page.fill("#ticket-text", "请说明我的数据如何计分。")
    page.get_by_role("button", name="加密、签名并提交").click()
    expect(page.locator("[data-ticket-said]")).to_contain_text("只有Title of bank-01能够阅读")
    (item,) = world.hub.tickets.of_party("bank-01").tickets
    ticket = Ticket.model_validate_json(peek_payload(item.ticket))
    assert ticket.kind == "explanation"
    lines = lines_of(explain(SCHEMA, CARD, OWN), "zh")
    reply = ticket_context(ticket.ticket_id, shop.pseudonym, "bank-01", "answer")
    answer = TicketAnswer(
        suite=SUITE,
        ticket_id=ticket.ticket_id,
        party_id="bank-01",
        decision="granted",
        sealed=seal_text("\n".join(lines), ticket.reply_key, context=reply),
        issued_at=world.now,
    )
    world.hub.tickets.answer(sign_model(answer, bank.identity, typ="ticket-answer", kid="bank-01"))
    page.goto(f"{origin}/merchant/help")
    told = page.locator(f'[data-ticket-id="{ticket.ticket_id}"] .answer-text')
    expect(told).to_contain_text("不构成任何承诺")
    assert told.inner_text().strip().split("\n") == list(lines)
    shots(page, "merchant/explained")


def test_a_box_key_that_the_witness_did_not_sign_gets_no_text(market: tuple[LiveMarket, str], shop: Shop) -> None:
    world, origin = market
    shop.sign(consent_fields(world, Merchant(shop.pseudonym, {})))
    page = shop.page
    current = world.hub.roster.current()
    assert current is not None
    other = world.members["bank-02"]
    forged = sign_model(current[1], other.identity, typ="roster", kid="witness-zj")
    page.context.route("**/v1/roster", lambda route: route.fulfill(body=forged, content_type="application/jose"))
    page.goto(f"{origin}/merchant/help?party=bank-01")
    page.fill("#ticket-text", TEXT)
    page.get_by_role("button", name="加密、签名并提交").click()
    expect(page.locator("[data-problem]")).to_contain_text("机构名册缺少见证方签名")
    assert world.hub.tickets.of_merchant(shop.pseudonym).tickets == ()
