"""Accruals are exact to the fen, however the time is cut; limits and pauses hold."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.platform.accrual import (
    Level,
    Stretch,
    balances,
    by_year,
    grown,
    last_day,
    overdue,
    planned_balances,
    whole_fen,
)
from hub.platform.financing_states import State
from hub.platform.financings import Financing, Repayment, defaulted, disbursed, repaid
from hub.platform.instalments import plan_of
from hub.platform.subsidies import due, refusals, set_aside
from hub.platform.subsidy_reasons import Standing
from hub.platform.subsidy_rules import SubsidyRule
from tests.lending_world import Shop

DAY = date(2025, 3, 10)
RULE = SubsidyRule.model_validate(
    {
        "programme": "two-small",
        "title": {"zh": "两小贴息", "en": "Two Small"},
        "rates": [{"since": "2025-01-01", "rate": "0.015"}, {"since": "2025-07-01", "rate": "0.02"}],
        "since": "2025-01-01",
        "until": "2027-01-01",
        "budget_fen": 10**9,
    }
)


def loan(amount: int = 12_000_000, rate: int = 43_500, months: int = 12) -> Financing:
    contracted = Financing(
        financing_id="f" * 32,
        account_id="shop0001",
        bank="bank-01",
        product_id="shop-loan",
        product_version=1,
        amount_fen=amount,
        annual_rate=rate,
        term_months=months,
        state=State.CONTRACTED,
        applied_on=DAY,
        contracted_on=DAY,
    )
    return disbursed(contracted, on=DAY, plan=plan_of(amount, rate, months, "equal-principal", DAY))


def paid_as_planned(found: Financing, count: int, *, late_days: int = 0) -> Financing:
    for number, each in enumerate(found.plan[:count]):
        day = each.due_on + timedelta(late_days)
        found = repaid(found, Repayment(day, each.principal_fen, each.interest_fen, f"p{number}"))
    return found


def day_by_day(financing: Financing, rule: SubsidyRule, since: date, until: date) -> Fraction:
    """The definition: each day for itself."""
    total, day = Fraction(0), since
    while day < until:
        paid = sum(each.principal_fen for each in financing.repayments if each.paid_on <= day)
        rate = max(
            (level for level in rule.rates_for(financing.annual_rate) if level.since <= day), key=lambda x: x.since
        )
        total += Fraction((financing.amount_fen - paid) * rate.value, 360 * 10**6)
        day += timedelta(1)
    return total


def test_what_grows_is_the_sum_of_its_days() -> None:
    found = paid_as_planned(loan(), 5, late_days=0)
    until = DAY + timedelta(200)
    assert grown(balances(found), RULE.rates_for(43_500), Stretch(DAY, until), "actual/360") == day_by_day(
        found, RULE, DAY, until
    )


def test_by_hand() -> None:
    # 120,000 yuan at 1.5 % over 31 days of 360: 155 yuan.
    found = grown([Level(DAY, 12_000_000)], [Level(DAY, 15_000)], Stretch(DAY, DAY + timedelta(31)), "actual/360")
    assert whole_fen(found) == 15_500
    other = grown([Level(DAY, 12_000_000)], [Level(DAY, 15_000)], Stretch(DAY, DAY + timedelta(73)), "actual/365")
    assert whole_fen(other) == 36_000
    assert whole_fen(Fraction(1, 2)) == 1
    assert whole_fen(Fraction(49, 100)) == 0


@given(
    amount=st.integers(120, 10**10),
    rate=st.integers(1, 10**6),
    paid=st.integers(0, 11),
    late=st.integers(0, 25),
    cuts=st.sets(st.integers(1, 700), max_size=30),
    limit=st.none() | st.integers(1, 10**6),
)
def test_parts_of_a_time_sum_to_the_whole_and_limits_hold(
    amount: int, rate: int, paid: int, late: int, cuts: set[int], limit: int | None
) -> None:
    rule = RULE.model_copy(update={"most_fen_a_year": limit})
    found = paid_as_planned(loan(amount, rate), paid, late_days=late)
    days = [DAY + timedelta(cut) for cut in (0, *sorted(cuts), 800)]
    pauses = overdue(found, days[-1], after_days=3)

    def part(since: date, until: date) -> Fraction:
        stretch = Stretch(since, until)
        return grown(balances(found), rule.rates_for(rate), stretch, "actual/360", paused=pauses, at_most=10**8)

    assert sum(itertools.starmap(part, itertools.pairwise(days))) == part(days[0], days[-1])
    aside = set_aside(rule, found, {})
    for day in days:
        assert all(fen <= aside[year] for year, fen in due(rule, found, day, aside).items())
    assert limit is None or all(fen <= limit for fen in aside.values())


@given(days=st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_what_is_due_never_falls_as_days_pass(days: list[int]) -> None:
    found = paid_as_planned(loan(), 6)
    aside = set_aside(RULE, found, {})
    ends = list(itertools.accumulate(days))
    sums = [sum(due(RULE, found, DAY + timedelta(end), aside).values()) for end in ends]
    assert sums == sorted(sums)


def test_a_loan_that_is_paid_as_planned_uses_what_was_set_aside_exactly() -> None:
    found = paid_as_planned(loan(), 12)
    assert found.state == State.CLOSED
    aside = set_aside(RULE, loan(), {})
    assert set(aside) == {2025, 2026}
    assert due(RULE, found, date(2027, 1, 1), aside) == aside
    assert balances(found) == planned_balances(loan())


def test_early_repayment_leaves_the_rest_and_late_payment_gets_no_more() -> None:
    first = loan()
    aside = set_aside(RULE, first, {})
    early = repaid(first, Repayment(DAY + timedelta(10), first.amount_fen, 14_500, "all"))
    assert due(RULE, early, date(2026, 12, 31), aside) == {
        2025: whole_fen(Fraction(12_000_000 * 15_000 * 10, 360 * 10**6))
    }
    late = paid_as_planned(first, 12, late_days=20)
    unpaused = RULE.model_copy(update={"pause_after_days": 365})
    assert sum(due(unpaused, late, date(2026, 12, 31), aside).values()) <= sum(aside.values())
    assert sum(due(RULE, late, date(2026, 12, 31), aside).values()) < sum(aside.values())


def test_nothing_grows_while_something_is_overdue() -> None:
    first = loan()
    late = repaid(first, Repayment(first.plan[0].due_on + timedelta(7), 1_000_000, 50_000, "late"))
    (pause,) = overdue(late, first.plan[1].due_on, after_days=0)
    assert (pause.since, pause.until) == (
        first.plan[0].due_on + timedelta(1),
        first.plan[0].due_on + timedelta(7),
    )
    assert overdue(late, first.plan[1].due_on, after_days=7) == ()
    aside = set_aside(RULE, first, {})
    held = [sum(due(RULE, late, pause.since + timedelta(n), aside).values()) for n in range(7)]
    assert len(set(held)) == 1
    assert sum(due(RULE, late, pause.until + timedelta(5), aside).values()) > held[0]


def test_default_ends_it() -> None:
    found = defaulted(loan(), on=DAY + timedelta(150), cause="overdue")
    assert last_day(found) == DAY + timedelta(150)
    aside = set_aside(RULE, loan(), {})
    assert due(RULE, found, date(2026, 12, 31), aside) == due(RULE, found, DAY + timedelta(150), aside)


def test_the_subsidys_rate_is_limited_by_the_loans() -> None:
    half = RULE.model_copy(update={"most_of_loan_rate": RULE.most_of_loan_rate / 2})
    assert [each.value for each in half.rates_for(30_001)] == [15_000, 15_000]
    assert [each.value for each in RULE.rates_for(18_000)] == [15_000, 18_000]


def test_years_are_cut_at_the_first_of_january() -> None:
    assert list(by_year(Stretch(date(2024, 12, 30), date(2026, 1, 2)))) == [
        (2024, Stretch(date(2024, 12, 30), date(2025, 1, 1))),
        (2025, Stretch(date(2025, 1, 1), date(2026, 1, 1))),
        (2026, Stretch(date(2026, 1, 1), date(2026, 1, 2))),
    ]


def test_every_unmet_condition_is_named() -> None:
    rule = RULE.model_copy(
        update={
            "who": RULE.who.model_copy(
                update={
                    "kinds": ("inn",),
                    "origins": ("331102",),
                    "places": ("330000",),
                    "banks": ("bank-02",),
                    "products": ("bank-01/other",),
                }
            ),
            "most_loan_rate": RULE.most_of_loan_rate / 100,
            "since": date(2025, 7, 1),
        }
    )
    standing = Standing(granted_here=True, doubled=True, others_running=1, yearly_fen={2025: 1, 2026: 1}, left_fen=-1)
    found = refusals(rule, Shop(), replace(loan(), state=State.CLOSED), standing)
    assert found == (
        "subsidy-kind",
        "subsidy-origin",
        "subsidy-place",
        "subsidy-bank",
        "subsidy-product",
        "subsidy-loan-rate",
        "subsidy-not-paid-out",
        "subsidy-paid-out-outside",
        "subsidy-already",
        "subsidy-double",
        "subsidy-loans-at-once",
        "subsidy-budget",
    )
    limit = RULE.model_copy(update={"most_fen_a_year": 5})
    assert refusals(limit, Shop(), loan(), Standing(yearly_fen={2025: 5, 2026: 9})) == ("subsidy-yearly-limit",)
    assert refusals(RULE, Shop(), loan(), Standing(left_fen=sum(set_aside(RULE, loan(), {}).values()))) == ()


@pytest.mark.parametrize("day", [0, 1, 31, 365])
def test_nothing_is_due_before_the_first_day(day: int) -> None:
    assert due(RULE, loan(), DAY - timedelta(day), {2025: 10**6}) == {}
