"""A bank's desk: its own party alone, offers by consent, financings with their time line, looks at scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.platform.products import ProductTerms
from hub.platform.web import bank, bank_financings, lending_words
from models.i18n import catalogue
from models.web.rights import Role
from tests.lending_world import ACTOR, DAY, SHOP, apply, order
from tests.platform_desks import HOSTILE, Desks

SCORE = re.compile(r"(?<![0-9A-Za-z])640(?![0-9A-Za-z])")
"""As people read it; the digits alone may stand in a token."""
PAGES = ("/bank", "/bank/products", "/bank/offers", "/bank/financings", "/bank/events")


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_empty_desk_says_what_is_to_come(desks: Desks, language: str) -> None:
    reader = desks.reader(Role.BANK, party="bank-09", language=language)
    for path in PAGES:
        page = reader.text(path)
        assert 'class="empty"' in page or path == "/bank", path
        if language == "zh":
            main = re.sub(r"<[^>]*>", " ", page.partition("<main")[2].partition("</main>")[0])
            assert re.search("[一-鿿]", main), path


def test_every_word_of_the_desk_has_chinese() -> None:
    texts = {
        *(item.text for item in bank.NAV),
        *(column.title for column in bank_financings.COLUMNS),
        *lending_words.UNSEGMENTED.values(),
        *lending_words.CAUSES.values(),
    }
    known = [catalogue("hub"), catalogue("models")]
    assert [text for text in texts if not any(each.has("zh", text) for each in known)] == []


def test_products_have_versions_and_reach_with_its_interval(desks: Desks) -> None:
    desks.world.products.publish(
        ACTOR, [ProductTerms.model_validate({**SHOP, "amount_fen": {"least": 1_000_000, "most": 20_000_000}})]
    )
    reader = desks.reader(Role.BANK)
    assert "覆盖面未知" in reader.text("/bank/products/shop-loan")
    desks.reach()
    page = reader.text("/bank/products/shop-loan")
    assert re.search(r"估计数</dt><dd>180<", page)
    low, high = (int(each) for each in re.findall(r"区间[上下]限</dt><dd>(\d+)<", page))
    assert low < 180 < high
    assert "未区分" in page
    assert "商户类别" in page
    assert "¥300,000.00" in page
    assert "¥200,000.00" in page
    assert "小超贷" in reader.text("/bank/products")
    assert "至多 180" in reader.text("/bank/products")
    assert "Shop loan" in desks.reader(Role.BANK, language="en").text("/bank/products")
    assert reader.get("/bank/products/nothing").status_code == 404


def test_a_product_of_hostile_words_is_shown_as_words(desks: Desks) -> None:
    text = {"zh": HOSTILE, "en": HOSTILE}
    desks.world.products.publish(ACTOR, [ProductTerms.model_validate({**SHOP, "title": text, "summary": text})])
    reader = desks.reader(Role.BANK)
    for path in ("/bank/products", "/bank/products/shop-loan"):
        page = reader.text(path)
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page


def test_only_merchants_that_allowed_it_stand_in_the_list(desks: Desks) -> None:
    reader, other = desks.reader(Role.BANK), desks.reader(Role.BANK, party="bank-02")
    assert desks.shop.account_id not in reader.text("/bank/offers")
    desks.offered()
    page = reader.text("/bank/offers")
    assert desks.shop.account_id in page
    assert desks.shop.facts.name not in page
    assert desks.shop.account_id not in other.text("/bank/offers")
    desks.platform.offers.stop(desks.shop.account_id, "bank-01", "", actor="merchant:x")
    assert desks.shop.account_id not in reader.text("/bank/offers")


def test_an_accepted_offer_leads_to_its_application(desks: Desks) -> None:
    offer_id = desks.offered()
    account = desks.shop.account_id
    desks.platform.offers.accept(account, offer_id, amount_fen=1_200_000, term_months=12, actor=f"merchant:{account}")
    reader = desks.reader(Role.BANK)
    (path,) = re.findall(r'href="(/bank/financings/[0-9a-f]{32})"', reader.text("/bank/offers"))
    assert f"offer-{offer_id}" in reader.text(path)


def test_financings_are_listed_by_state_and_searched(desks: Desks) -> None:
    desks.applied("A-1")
    desks.paid_out("B-1")
    reader = desks.reader(Role.BANK)
    everything = reader.text("/bank/financings")
    assert "A-1" in everything
    assert "B-1" in everything
    paid = reader.text("/bank/financings?state=disbursed")
    assert "B-1" in paid
    assert "A-1" not in paid
    assert "A-1" in reader.text("/bank/financings?q=A-")
    assert "B-1" not in reader.text("/bank/financings?q=A-")
    assert "A-1" not in reader.text("/bank/financings?q=%25")
    first = reader.text("/bank/financings?sort=reference&dir=asc")
    assert first.index("A-1") < first.index("B-1")
    last = reader.text("/bank/financings?sort=reference&dir=desc")
    assert last.index("B-1") < last.index("A-1")
    assert "state=disbursed" in reader.text("/bank")


def test_a_financing_shows_how_it_went_to_its_own_bank_alone(desks: Desks) -> None:
    name = desks.paid_out("B-1")
    desks.execute(order("repay", "B-1", on=DAY, principal_fen=100_000, interest_fen=1_000, payment="p-1"))
    reader = desks.reader(Role.BANK)
    page = reader.text(f"/bank/financings/{name}")
    for words in ("提出申请", "银行报出条件", "放款", "收到还款", "本金 ¥1,000.00，利息 ¥10.00", "还款计划", "4.35 %"):
        assert words in page, words
    assert desks.access.looks.at(desks.shop.account_id)[0].what == "financing"
    looks = desks.access.looks.count()
    assert desks.reader(Role.BANK, party="bank-02").get(f"/bank/financings/{name}").status_code == 404
    assert desks.access.looks.count() == looks


def test_what_a_bank_wrote_is_shown_as_words(desks: Desks) -> None:
    desks.applied("R-1")
    name = desks.execute(order("refuse", "R-1", on=DAY, reason=HOSTILE))
    page = desks.reader(Role.BANK).text(f"/bank/financings/{name}")
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_a_score_is_shown_on_a_press_and_each_look_is_written_down(desks: Desks) -> None:
    name = desks.scored()
    reader = desks.reader(Role.BANK)
    path = f"/bank/financings/{name}"
    assert not SCORE.search(reader.text(path))
    shown = reader.post(f"{path}/score")
    assert shown.status_code == 200
    assert SCORE.search(shown.text)
    assert "用电稳定" in shown.text
    assert "3.00 %" in shown.text
    assert [each.what for each in desks.access.looks.at(desks.shop.account_id)].count("score") == 1
    assert [each.action for each in desks.platform.audit.entries(subject=name)][-1] == "score-show"
    assert desks.platform.audit.entries(subject=name)[-1].actor.startswith("bank:bank.")
    assert reader.get(f"{path}/score").status_code == 405
    assert desks.reader(Role.BANK, party="bank-02").post(f"{path}/score").status_code == 404


def test_a_revoked_consent_shows_no_score(desks: Desks) -> None:
    name = desks.scored()
    desks.consents.words[desks.consents.newest()] = "revoked"
    refused = desks.reader(Role.BANK).post(f"/bank/financings/{name}/score")
    assert refused.status_code == 403
    assert not SCORE.search(refused.text)
    assert "L-3" in refused.text
    assert [each.what for each in desks.access.looks.at(desks.shop.account_id)].count("score") == 0


def test_a_dead_event_is_sent_again_by_its_own_bank_alone(desks: Desks) -> None:
    event_id = desks.dead_event(HOSTILE)
    reader, other = desks.reader(Role.BANK), desks.reader(Role.BANK, party="bank-02")
    page = reader.text("/bank/events")
    assert event_id in page
    assert HOSTILE not in page
    assert "部分通知未能送达" in reader.text("/bank")
    assert event_id not in other.text("/bank/events")
    assert other.post(f"/bank/events/{event_id}/retry").status_code == 404
    again = reader.post(f"/bank/events/{event_id}/retry")
    assert (again.status_code, again.headers["location"]) == (303, "/bank/events?done=retried")
    assert desks.platform.events.events(state="waiting")[0].event_id == event_id
    assert event_id not in reader.text("/bank/events?done=retried")
    assert reader.post(f"/bank/events/{event_id}/retry").status_code == 404


def test_a_long_list_has_pages(desks: Desks) -> None:
    orders = [apply(f"P-{number:03}", account_id=desks.shop.account_id) for number in range(60)]
    desks.execute(*orders)
    reader = desks.reader(Role.BANK)
    page = reader.text("/bank/financings?sort=reference")
    assert "P-000" in page
    assert "P-059" not in page
    assert "P-059" in reader.text("/bank/financings?sort=reference&page=2")
    assert "P-059" in reader.text("/bank/financings?sort=reference&page=99")
