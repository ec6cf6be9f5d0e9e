"""Why a loan is subsidised or not, what is set aside for it, and what it is due by a day. Pure.

What is set aside for a grant, year by year, is what the loan's own plan would bring, within the rule's limits; it is
fixed when the grant is made. What is due by a day is what has grown, and never more than was set aside. So neither a
merchant's yearly limit nor a programme's budget can be passed, in whatever order and however often accruals are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

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
from hub.platform.financings import Financing
from hub.platform.instalments import MILLION
from hub.platform.products import Applicant
from hub.platform.subsidy_reasons import Refusal, Standing, at_most, of_merchant, of_money, within_year
from hub.platform.subsidy_rules import SubsidyRule


def refusals(rule: SubsidyRule, merchant: Applicant, financing: Financing, standing: Standing) -> tuple[Refusal, ...]:
    """Return every reason why a loan gets no subsidy; none if it gets one."""
    who, loan = rule.who, f"{financing.bank}/{financing.product_id}"
    paid_out = financing.disbursed_on
    dear = rule.most_loan_rate is not None and Decimal(financing.annual_rate) / MILLION > rule.most_loan_rate
    unmet: tuple[tuple[Refusal, bool], ...] = (
        *of_merchant(who, merchant),
        ("subsidy-bank", bool(who.banks) and financing.bank not in who.banks),
        ("subsidy-product", bool(who.products) and loan not in who.products),
        ("subsidy-loan-rate", dear),
        ("subsidy-not-paid-out", financing.state != State.DISBURSED),
        ("subsidy-paid-out-outside", paid_out is not None and not rule.since <= paid_out < rule.until),
        ("subsidy-already", standing.granted_here),
        ("subsidy-double", standing.doubled),
        ("subsidy-loans-at-once", standing.others_running >= rule.loans_at_once),
        *of_money(
            standing,
            asked=set_aside(rule, financing, {}),
            needed=set_aside(rule, financing, standing.yearly_fen or {}),
        ),
    )
    return tuple(reason for reason, holds in unmet if holds)


def set_aside(rule: SubsidyRule, financing: Financing, taken: Mapping[int, int]) -> dict[int, int]:
    """What a grant may cost in each calendar year, in fen, if the loan is paid back as its plan says.

    Args:
        taken: of the merchant's yearly limit, by its other grants.
    """
    if not financing.plan:
        return {}
    planned = _grown_by_year(rule, financing, planned_balances(financing), financing.plan[-1].due_on)
    return within_year(rule, planned, taken)


def due(rule: SubsidyRule, financing: Financing, until: date, aside: Mapping[int, int]) -> dict[int, int]:
    """What a grant is due for the days before `until`, in fen by calendar year: grown, and within what was set aside.

    It depends on the loan's course and on `until` alone.
    """
    last = last_day(financing)
    end = until if last is None else min(until, last)
    pauses = overdue(financing, end, after_days=rule.pause_after_days)
    return at_most(_grown_by_year(rule, financing, balances(financing), end, pauses), aside)


def _grown_by_year(
    rule: SubsidyRule,
    financing: Financing,
    principal: Sequence[Level],
    end: date,
    pauses: Sequence[Stretch] = (),
) -> dict[int, int]:
    """What grows under the rule from the day of paying out to before `end`, in fen by calendar year."""
    if financing.disbursed_on is None or end <= financing.disbursed_on:
        return {}
    whole = Stretch(financing.disbursed_on, end).within(rule.stretch)
    rates = rule.rates_for(financing.annual_rate)
    return {
        year: whole_fen(
            grown(principal, rates, stretch, rule.day_count, paused=pauses, at_most=rule.most_principal_fen)
        )
        for year, stretch in (by_year(whole) if whole else ())
    }
