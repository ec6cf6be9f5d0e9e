"""Plans of repayment, exact to the fen: what is due when, by the kind of repayment that the contract agrees on.

Interest of a month is outstanding principal times the annual rate over twelve, rounded half up to the fen. The last
instalment takes what rounding left, so that principal sums to the amount exactly.
"""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal, TypeAlias

from hub.platform.lending_errors import FinancingTermsError

RepaymentKind: TypeAlias = Literal["equal-instalments", "equal-principal", "interest-then-principal"]
MILLION = 1_000_000
MAX_MONTHS = 360


@dataclass(frozen=True)
class Instalment:
    """What is due on a day: principal and interest, in fen."""

    due_on: date
    principal_fen: int
    interest_fen: int

    @property
    def total_fen(self) -> int:
        """Both together."""
        return self.principal_fen + self.interest_fen


def months_later(day: date, months: int) -> date:
    """Return the corresponding day some months later; where the month lacks it, its last day (民法典 202)."""
    number = day.year * 12 + day.month - 1 + months
    year, month = divmod(number, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def rounded(value: Fraction) -> int:
    """Round half up to a whole fen; of amounts that are not negative."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def plan_of(
    amount_fen: int, annual_rate: int, term_months: int, kind: RepaymentKind, disbursed_on: date
) -> tuple[Instalment, ...]:
    """Return the plan of a loan, one instalment a month.

    Args:
        amount_fen: paid out, at least one fen for each month.
        annual_rate: millionths a year, e.g. 43500 for 4.35 %.
        term_months: 1 to 360.
        kind: equal instalments (等额本息), equal principal (等额本金), or monthly interest and the principal at the end
            (先息后本).
        disbursed_on: interest runs from this day; due days correspond to it.

    Raises:
        FinancingTermsError: a number is out of range.
    """
    if not (1 <= term_months <= MAX_MONTHS and amount_fen >= term_months and 0 <= annual_rate <= MILLION):
        raise FinancingTermsError(
            "Amount, rate or term of the loan is out of range.",
            field="term_months",
            remedy=f"Give 1 to {MAX_MONTHS} months, a rate of at most 100 % and at least one fen a month.",
        )
    monthly = Fraction(annual_rate, 12 * MILLION)
    level = _level(amount_fen, monthly, term_months) if kind == "equal-instalments" else 0
    found, left = [], amount_fen
    for month in range(1, term_months + 1):
        interest = rounded(left * monthly)
        if month == term_months:
            principal = left
        elif kind == "equal-instalments":
            # Rounding of a level payment may leave no more principal than there is.
            principal = min(max(level - interest, 0), left)
        elif kind == "equal-principal":
            principal = amount_fen // term_months
        else:
            principal = 0
        found.append(Instalment(months_later(disbursed_on, month), principal, interest))
        left -= principal
    return tuple(found)


def checked_plan(amount_fen: int, disbursed_on: date, plan: Sequence[Instalment]) -> tuple[Instalment, ...]:
    """Return a plan that a bank gives itself, once it is one.

    Raises:
        FinancingTermsError: due days do not rise from after the disbursement, or principal does not sum to the amount.
    """
    days = [disbursed_on, *(each.due_on for each in plan)]
    if len(days) < 2 or any(later <= earlier for earlier, later in itertools.pairwise(days)):
        raise FinancingTermsError(
            "Due days of the plan must rise, all after the disbursement.",
            field="instalments",
            remedy="Give at least one instalment, in order of its days.",
        )
    if sum(each.principal_fen for each in plan) != amount_fen or any(
        min(each.principal_fen, each.interest_fen) < 0 for each in plan
    ):
        raise FinancingTermsError(
            "The plan's principal does not sum to the amount that was paid out.",
            field="instalments",
            remedy="Correct the principal of the instalments, in fen; none may be negative.",
        )
    return tuple(plan)


def _level(amount_fen: int, monthly: Fraction, months: int) -> int:
    """The equal instalment A·r / (1 − (1 + r)^−n), rounded to the fen; A / n without interest."""
    if not monthly:
        return rounded(Fraction(amount_fen, months))
    growth = (1 + monthly) ** months
    return rounded(amount_fen * monthly * growth / (growth - 1))
