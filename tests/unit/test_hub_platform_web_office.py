"""The programme office's desk: counts of the register and published ones, programmes' money, accruals, grants."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.platform.policies import PolicyTerms
from hub.platform.subsidised import Thing
from hub.platform.subsidy_rules import RULES, SubsidyRule
from hub.platform.web import words
from models.web.rights import Role
from tests.platform_desks import HOSTILE, Desks
from tests.unit.test_hub_platform_merchants import SHOP
from tests.unit.test_hub_platform_subsidies import OFFICE, RULE

PAGES = ("/office", "/office/statistics", "/office/programmes", "/office/grants", "/office/policies")
WHOLE = "/office/programmes/two-small"


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.close()


def publish(desks: Desks, **changes: Any) -> None:
    rule = SubsidyRule.model_validate({**RULE, **changes})
    with desks.platform.db.session() as session:
        desks.platform.programmes.publish_in(session, OFFICE, [rule])


def granted(desks: Desks, reference: str = "B-1") -> int:
    name = desks.paid_out(reference)
    with desks.platform.db.session() as session:
        return desks.platform.subsidies.grant_in(session, OFFICE, "two-small", Thing(financing_id=name)).number


@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_empty_desk_says_what_is_to_come(desks: Desks, language: str) -> None:
    reader = desks.reader(Role.GOVERNMENT, language=language)
    for path in PAGES:
        assert 'class="empty"' in reader.text(path) or path == "/office", path


def test_merchants_are_counted_by_county_and_kind(desks: Desks) -> None:
    desks.merchant(2, replace(SHOP, kind="inn", industry="6130", origin="331121"))
    desks.merchant(3)
    desks.register.close(desks.merchant(4).account_id, 1)
    page = desks.reader(Role.GOVERNMENT).text("/office")
    row = page.partition("莲都区")[2].partition("</tr>")[0]
    assert [int(part.partition("<")[0]) for part in row.split('<td class="n">')[1:]] == [2, 0, 2]
    row = page.partition("青田县")[2].partition("</tr>")[0]
    assert [int(part.partition("<")[0]) for part in row.split('<td class="n">')[1:]] == [0, 1, 1]
    assert "已注销或合并的账户</dt><dd>1<" in page


def test_published_counts_stand_with_their_intervals(desks: Desks) -> None:
    desks.reach()
    page = desks.reader(Role.GOVERNMENT).text("/office/statistics")
    cells = page.partition('<th scope="row">A</th>')[2].partition("</tr>")[0]
    estimate, low, high = (int(part.partition("<")[0]) for part in cells.split('<td class="n">')[1:])
    assert estimate == 80
    assert low < 80 < high
    assert "c-1/evaluation" in page


def test_a_programme_shows_its_money_and_accrues_once(desks: Desks) -> None:
    publish(desks)
    number = granted(desks)
    reader = desks.reader(Role.GOVERNMENT)
    (before,) = desks.platform.subsidies.grants()
    aside = sum(before.aside_fen.values())
    assert aside > 0
    page = reader.text(WHOLE)
    assert "已计提 ¥0.00" in page
    assert f"¥{(1_000_000 - aside) / 100:,.2f}" in page
    desks.world.now = datetime(2026, 6, 1, 2, tzinfo=UTC)
    reader = desks.reader(Role.GOVERNMENT)
    done = reader.post(f"{WHOLE}/accruals", until="2026-06-01")
    assert done.status_code == 200
    accrued = sum(desks.platform.subsidies.grants()[0].accrued_fen.values())
    assert accrued > 0
    assert f"¥{accrued / 100:,.2f}" in done.text
    again = reader.post(f"{WHOLE}/accruals", until="2026-06-01")
    assert "已计提 0 笔" in again.text
    assert sum(fen for _, _, fen in desks.platform.subsidies.bookings(number)) == accrued
    entry = [each for each in desks.platform.audit.entries() if each.action == "subsidy-accrue"]
    assert [each.actor.partition(":")[0] for each in entry] == ["government"]


@pytest.mark.parametrize("until", ["", "tomorrow", "2026-13-01", "2031-01-01", HOSTILE])
def test_a_day_that_is_none_or_not_over_books_nothing(desks: Desks, until: str) -> None:
    publish(desks)
    granted(desks)
    refused = desks.reader(Role.GOVERNMENT).post(f"{WHOLE}/accruals", until=until[:20])
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    assert "<script>" not in refused.text
    assert not desks.platform.subsidies.bookings(1)


def test_a_programme_of_hostile_words_is_shown_as_words(desks: Desks) -> None:
    publish(desks, title={"zh": HOSTILE, "en": HOSTILE})
    reader = desks.reader(Role.GOVERNMENT)
    for path in ("/office/programmes", WHOLE, "/office/grants"):
        page = reader.text(path)
        assert HOSTILE not in page, path
        assert "&lt;script&gt;" in page, path
    assert reader.get("/office/programmes/none").status_code == 404
    assert reader.get("/office/programmes/none/statement.csv").status_code == 404


def test_the_statement_is_the_apis(desks: Desks) -> None:
    publish(desks)
    number = granted(desks)
    found = desks.reader(Role.GOVERNMENT).get(f"{WHOLE}/statement.csv")
    assert found.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(found.text)))
    (grant,) = desks.platform.subsidies.grants()
    assert {int(row["year"]): int(row["aside_fen"]) for row in rows} == grant.aside_fen
    assert {row["grant"] for row in rows} == {str(number)}


def test_a_loan_is_weighed_with_every_reason_then_granted(desks: Desks) -> None:
    publish(desks, who={"kinds": ["inn"]})
    name = desks.paid_out("B-1")
    reader = desks.reader(Role.GOVERNMENT)
    refused = reader.post("/office/grants/weigh", programme="two-small", number=name)
    assert "目前不符合补贴条件" in refused.text
    assert "<li>" in refused.text
    assert reader.post("/office/grants", programme="two-small", number=name).status_code == 422
    publish(desks)
    fine = reader.post("/office/grants/weigh", programme="two-small", number=name)
    assert "符合补贴条件" in fine.text
    made = reader.post("/office/grants", programme="two-small", number=name)
    assert made.headers["location"] == "/office/grants?programme=two-small&done=granted"
    assert name[:10] in reader.text(made.headers["location"])
    unknown = reader.post("/office/grants/weigh", programme="two-small", number=HOSTILE)
    assert unknown.status_code == 404
    assert HOSTILE not in unknown.text


def test_a_subsidy_is_taken_back_for_a_reason_and_by_a_fresh_sign_in(desks: Desks) -> None:
    publish(desks)
    number = granted(desks)
    reader = desks.reader(Role.GOVERNMENT)
    assert reader.post(f"/office/grants/{number}/take-back", cause="whim").status_code == 409
    desks.world.now = datetime(2026, 3, 2, 1, 10, tzinfo=UTC)
    assert reader.post(f"/office/grants/{number}/take-back", cause="fraud").status_code == 401
    assert desks.platform.subsidies.grants()[0].state == "running"
    reader = desks.reader(Role.GOVERNMENT)
    assert reader.post(f"/office/grants/{number}/take-back", cause="fraud").status_code == 303
    assert "补贴已追回" in reader.text("/office/grants?done=taken-back")
    assert desks.platform.subsidies.grants()[0].state == "taken-back"
    assert reader.post("/office/grants/99/take-back", cause="fraud").status_code == 404


def test_policies_are_listed_and_their_premiums_subsidised(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.platform.policy_book.MAX_PAGE", 2)
    monkeypatch.setattr("hub.platform.web.office_policies.MAX_PAGE", 2)
    shop, today = desks.merchant(9), desks.platform.lending.today()
    terms = {"account_id": shop.account_id, "covers": ["property"], "sum_insured_fen": 10**7, "premium_fen": 36_500}
    terms |= {"since": today, "until": today + timedelta(days=365)}
    rule = {each: RULE[each] for each in ("title", "since", "until", "budget_fen")}
    rule |= {"kind": "premium", "programme": "cover", "shares": [{"since": "2026-01-01", "share": "0.5"}]}
    numbers = ("P-1", "P-2", "P-3")
    with desks.platform.db.session() as session:
        desks.platform.programmes.publish_in(session, OFFICE, [RULES.validate_python(rule)])
        reported = [PolicyTerms.model_validate({**terms, "number": number}) for number in numbers]
        policies = desks.platform.policies.report_in(session, "insurer:picc", "picc", reported)
        thing = Thing(policy_id=policies[0].policy_id)
        grant = desks.platform.subsidies.grant_in(session, OFFICE, "cover", thing)
    reader = desks.reader(Role.GOVERNMENT)
    page = reader.text("/office/policies")
    for text in ("P-1", "P-2", "picc", "财产损失", "保障中", words.yuan(sum(grant.aside_fen.values()))):
        assert text in page, text
    assert "P-3" not in page
    assert "P-3" in reader.text(f"/office/policies?after={policies[1].policy_id}")
    assert words.yuan(sum(grant.aside_fen.values())) in reader.text("/office/programmes/cover")
    assert desks.reader(Role.BANK).get("/office/policies").status_code == 403
