"""Grants through the book: order, budget, double subsidies, splits of accruals, corrections, taking back, audit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.platform.programme_book import ProgrammeBook
from hub.platform.subsidised import Thing
from hub.platform.subsidy_book import Grant, SubsidyBook
from hub.platform.subsidy_errors import (
    AccrualDayError,
    GrantRefusedError,
    GrantStateError,
    GrantUnknownError,
    ProgrammeError,
    ProgrammeUnknownError,
)
from hub.platform.subsidy_reasons import REASONS
from hub.platform.subsidy_rules import SubsidyRule, read_programmes
from models.i18n import catalogue
from tests.lending_world import ACTOR, BANK, DAY, LendingWorld, apply, offer, order

RULE: dict[str, Any] = {
    "programme": "two-small",
    "title": {"zh": "两小创业贴息", "en": "Interest subsidy for the Two Small"},
    "who": {"kinds": ["supermarket"]},
    "rates": [{"since": "2026-01-01", "rate": "0.02"}],
    "since": "2026-01-01",
    "until": "2027-01-01",
    "budget_fen": 1_000_000,
    "loans_at_once": 9,
}
OFFICE = "government:office"


class Money(LendingWorld):
    """A lending world with subsidies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.programmes = ProgrammeBook(self.lending)
        self.subsidies = SubsidyBook(self.lending, self.programmes)

    def publish(self, **changes: Any) -> int:
        rule = SubsidyRule.model_validate({**RULE, **changes})
        with self.db.session() as session:
            return self.programmes.publish_in(session, OFFICE, [rule])[0].version

    def paid_out(self, reference: str = "L-1", account_id: str = "shop0001") -> str:
        orders = [apply(reference, account_id=account_id), order("score", reference), offer(reference)]
        orders += [order("contract", reference, on=DAY), order("disburse", reference, on=DAY)]
        return self.book.execute(BANK, ACTOR, orders)[-1].financing.financing_id

    def repaid(self, reference: str, on: date, fen: int, payment: str) -> None:
        self.book.execute(
            BANK, ACTOR, [order("repay", reference, on=on, principal_fen=fen, interest_fen=1, payment=payment)]
        )

    def grant(self, financing_id: str, programme: str = "two-small") -> Grant:
        with self.db.session() as session:
            return self.subsidies.grant_in(session, OFFICE, programme, Thing(financing_id))

    def accrue(self, until: date, programme: str = "two-small") -> int:
        return sum(part.fen for part in self.subsidies.accrue(OFFICE, programme, until))

    def why_not(self, programme: str, financing_id: str) -> tuple[str, ...]:
        return self.subsidies.why_not(programme, Thing(financing_id))

    def take_back(self, number: int) -> Grant:
        with self.db.session() as session:
            return self.subsidies.take_back_in(session, OFFICE, number, "fraud")


@pytest.fixture
def money(tmp_path: Path, database: str) -> Iterator[Money]:
    del database
    found = Money(tmp_path, now=datetime(2026, 12, 31, 4, 0, tzinfo=UTC))
    yield found
    found.close()


def test_a_grant_sets_aside_what_the_plan_brings_and_no_split_changes_what_is_booked(money: Money) -> None:
    money.publish()
    first, second = money.grant(money.paid_out("L-1")), money.grant(money.paid_out("L-2"))
    assert first.aside_fen == second.aside_fen
    assert money.subsidies.left_fen("two-small") == 1_000_000 - 2 * sum(first.aside_fen.values())
    whole = sum(money.accrue(DAY + timedelta(days)) for days in (1, 2, 3, 17, 18, 60, 61, 62, 120, 300))
    a, b = money.subsidies.grants()
    assert a.accrued_fen == b.accrued_fen
    assert whole == 2 * sum(a.accrued_fen.values())
    other = Money(money.base / "other", now=money.now)
    try:
        other.publish()
        other.grant(other.paid_out())
        other.accrue(DAY + timedelta(300))
        assert other.subsidies.grants()[0].accrued_fen == a.accrued_fen
    finally:
        other.close()


def test_accruing_a_day_again_books_nothing(money: Money) -> None:
    money.publish()
    grant = money.grant(money.paid_out())
    assert money.accrue(DAY + timedelta(30)) > 0
    before = money.subsidies.bookings(grant.number)
    assert [part.grants for part in money.subsidies.accrue(OFFICE, "two-small", DAY + timedelta(30))] == [0]
    assert money.accrue(DAY + timedelta(10)) == 0
    assert money.subsidies.bookings(grant.number) == before


def test_parts_go_on_where_they_were_cut_off(money: Money, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.platform.subsidy_book.PART", 2)
    money.publish()
    for number in range(5):
        money.grant(money.paid_out(f"L-{number}"))
    with money.db.session() as session:
        part = money.subsidies.accrue_in(session, OFFICE, "two-small", DAY + timedelta(30))
    assert (part.grants, part.left) == (2, 3)
    rest = list(money.subsidies.accrue(OFFICE, "two-small", DAY + timedelta(30)))
    assert [(each.grants, each.left) for each in rest] == [(2, 1), (1, 0)]
    amounts = {sum(each.accrued_fen.values()) for each in money.subsidies.grants()}
    assert len(amounts) == 1


def test_the_budget_goes_in_order_of_grants_and_is_never_passed(money: Money) -> None:
    money.publish()
    loans = [money.paid_out(f"L-{number}") for number in range(4)]
    one = sum(money.grant(loans[0]).aside_fen.values())
    money.publish(budget_fen=3 * one - 1)
    money.grant(loans[1])
    with pytest.raises(GrantRefusedError, match="left of the budget") as refused:
        money.grant(loans[2])
    assert refused.value.field == "subsidy-budget"
    assert money.why_not("two-small", loans[3]) == ("subsidy-budget",)
    # The first loan comes back early: what was set aside for the rest of it is free again.
    money.repaid("L-0", DAY + timedelta(5), 1_200_000, "all")
    money.accrue(DAY + timedelta(40))
    assert money.subsidies.grants()[0].state == "settled"
    money.grant(loans[2])
    assert money.subsidies.left_fen("two-small") >= 0


def test_a_loan_is_not_subsidised_twice(money: Money) -> None:
    money.publish()
    loan = money.paid_out()
    money.grant(loan)
    assert money.why_not("two-small", loan) == ("subsidy-already",)
    money.publish(programme="county", title=RULE["title"])
    assert money.why_not("county", loan) == ("subsidy-double",)
    money.publish(programme="county", combines_with=["two-small"])
    assert money.why_not("county", loan) == ("subsidy-double",)  # both have to say so
    money.publish(combines_with=["county"])
    money.grant(loan, "county")
    assert len(money.subsidies.grants(account_id="shop0001")) == 2


def test_one_loan_at_once_and_the_yearly_limit_over_all_of_a_merchants_loans(money: Money) -> None:
    money.publish(loans_at_once=1)
    money.grant(money.paid_out("L-1"))
    second = money.paid_out("L-2")
    assert money.why_not("two-small", second) == ("subsidy-loans-at-once",)
    one = money.subsidies.grants()[0].aside_fen[2026]
    money.publish(most_fen_a_year=one + 7)
    assert money.grant(second).aside_fen == {2026: 7}
    money.accrue(date(2026, 12, 31))
    assert sum(sum(each.accrued_fen.values()) for each in money.subsidies.grants()) <= one + 7
    assert money.why_not("two-small", money.paid_out("L-3")) == ("subsidy-yearly-limit",)


def test_a_payment_that_becomes_known_late_is_corrected(money: Money) -> None:
    money.publish()
    grant = money.grant(money.paid_out())
    money.accrue(DAY + timedelta(25))
    money.repaid("L-1", DAY + timedelta(5), 1_000_000, "early")
    assert money.accrue(DAY + timedelta(26)) < 0
    booked = money.subsidies.bookings(grant.number)
    now = money.subsidies.grants()[0]
    assert sum(fen for _, _, fen in booked) == sum(now.accrued_fen.values())
    # 12,000 yuan for 5 days, then 2,000 for 21, at 2 % over 360.
    assert sum(now.accrued_fen.values()) == round((1_200_000 * 5 + 200_000 * 21) * 0.02 / 360)


def test_taking_back_books_all_of_it_off_and_stops_it(money: Money) -> None:
    money.publish()
    loan = money.paid_out()
    grant = money.grant(loan)
    booked = money.accrue(DAY + timedelta(20))
    assert money.take_back(grant.number).state == "taken-back"
    assert [fen for _, _, fen in money.subsidies.bookings(grant.number)] == [booked, -booked]
    assert money.accrue(DAY + timedelta(40)) == 0
    assert money.subsidies.left_fen("two-small") == 1_000_000
    with pytest.raises(GrantStateError):
        money.take_back(grant.number)
    with pytest.raises(GrantUnknownError):
        money.take_back(99)
    assert money.why_not("two-small", loan) == ("subsidy-already",)


def test_days_that_are_not_over_and_unknown_programmes_are_refused(money: Money) -> None:
    money.publish()
    with pytest.raises(AccrualDayError):
        money.accrue(date(2027, 1, 1))
    with pytest.raises(ProgrammeUnknownError):
        money.accrue(DAY, "none")


def test_each_change_has_its_entry_in_the_audit_record(money: Money) -> None:
    assert (money.publish(), money.publish(), money.publish(budget_fen=7_000_000)) == (1, 1, 2)
    grant = money.grant(money.paid_out())
    money.accrue(DAY + timedelta(20))
    money.take_back(grant.number)
    found = [
        (actor, action, subject)
        for actor, action, subject, _ in money.audit_entries()
        if action.startswith(("programme", "subsidy"))
    ]
    assert found == [
        (OFFICE, "programme-publish", "two-small"),
        (OFFICE, "programme-publish", "two-small"),
        (OFFICE, "subsidy-grant", grant.financing_id),
        (OFFICE, "subsidy-accrue", "two-small"),
        (OFFICE, "subsidy-take-back", grant.financing_id),
    ]


def test_a_file_of_rules_is_read_whole_or_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "programmes.yaml"
    path.write_text(
        "programmes:\n"
        "  - programme: two-small\n"
        "    title: {zh: 两小贴息, en: Two Small}\n"
        '    rates: [{since: 2026-01-01, rate: "0.015"}]\n'
        "    since: 2026-01-01\n"
        "    until: 2026-01-01\n"
        "    budget_fen: 100\n",
        encoding="utf-8",
    )
    with pytest.raises(ProgrammeError, match=r":6: programmes.0.until: must lie after since"):
        read_programmes(path)
    path.write_text(path.read_text(encoding="utf-8").replace("until: 2026", "until: 2027"), encoding="utf-8")
    (rule,) = read_programmes(path)
    assert (rule.programme, rule.budget_fen, rule.rates_for(10_000)[0].value) == ("two-small", 100, 10_000)


def test_every_reason_and_refusal_has_chinese_words() -> None:
    words = catalogue("hub")
    codes = [each.code for each in (AccrualDayError, GrantRefusedError, GrantStateError, GrantUnknownError)]
    codes += [ProgrammeError.code, ProgrammeUnknownError.code]
    for text in (*REASONS.values(), *codes):
        assert words.translate("zh", text) != text
