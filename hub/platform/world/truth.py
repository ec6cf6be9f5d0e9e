"""The truth of a world's programme statistics: exact fractions, counted from its merchants and financings.

A pure function; reports that come from noisy counts are compared with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal, Protocol, TypeAlias

from hub.platform.financings import Financing
from hub.platform.instalments import MILLION

Grouping: TypeAlias = Literal["all", "county", "region", "industry"]


class Located(Protocol):
    """What the statistics read of a merchant."""

    @property
    def account_id(self) -> str:
        """Its account."""

    @property
    def origin(self) -> str:
        """GB/T 2260 of the county it comes from."""

    @property
    def place(self) -> str:
        """GB/T 2260 of where it does business."""

    @property
    def industry(self) -> str:
        """GB/T 4754."""


@dataclass(frozen=True)
class Truth:
    """What is true of a group in a year; None where nothing was paid out (or nothing is outstanding).

    Attributes:
        merchants: all of the group, whether they borrow or not.
        borrowers: merchants to whom something was paid out in the year.
        average_credit_fen, average_rate: over the financings paid out in the year; the rate as a share.
        credit_change, rate_change: of these against the baseline year, as shares.
        outstanding: financings with outstanding principal at the year's end.
        overdue: those of them with an instalment past due at the year's end.
    """

    group: str
    year: int
    merchants: int
    borrowers: int
    financings: int
    average_credit_fen: Fraction | None
    average_rate: Fraction | None
    credit_change: Fraction | None
    rate_change: Fraction | None
    outstanding: int
    overdue: int

    @property
    def availability(self) -> Fraction:
        """Share of the merchants that got credit in the year."""
        return Fraction(self.borrowers, self.merchants)

    @property
    def overdue_rate(self) -> Fraction | None:
        """Share of outstanding financings that are overdue at the year's end."""
        return Fraction(self.overdue, self.outstanding) if self.outstanding else None


def truth(
    merchants: Iterable[Located], financings: Iterable[Financing], *, year: int, baseline: int, by: Grouping
) -> tuple[Truth, ...]:
    """Count a year, one `Truth` a group, in order of the groups' codes.

    Args:
        baseline: the year that changes refer to.
        by: county of origin, province of business, class of industry, or all in one group ``all``.
    """
    group_of = {each.account_id: _group(each, by) for each in merchants}
    sizes: dict[str, int] = defaultdict(int)
    for group in group_of.values():
        sizes[group] += 1
    loans: dict[str, list[Financing]] = defaultdict(list)
    for each in financings:
        loans[group_of[each.account_id]].append(each)
    return tuple(_truth(group, sizes[group], loans[group], year, baseline) for group in sorted(sizes))


def _group(merchant: Located, by: Grouping) -> str:
    match by:
        case "all":
            return "all"
        case "county":
            return merchant.origin
        case "region":
            return f"{merchant.place[:2]}0000"
        case "industry":
            return merchant.industry


def _truth(group: str, merchants: int, loans: Sequence[Financing], year: int, baseline: int) -> Truth:
    paid_out = _paid_out(loans, year)
    credit, rate = _averages(paid_out)
    credit_before, rate_before = _averages(_paid_out(loans, baseline))
    end = date(year, 12, 31)
    open_ones = [each for each in loans if _principal_left(each, end) > 0]
    return Truth(
        group=group,
        year=year,
        merchants=merchants,
        borrowers=len({each.account_id for each in paid_out}),
        financings=len(paid_out),
        average_credit_fen=credit,
        average_rate=rate,
        credit_change=_change(credit, credit_before),
        rate_change=_change(rate, rate_before),
        outstanding=len(open_ones),
        overdue=sum(each.overdue_days(end) > 0 for each in open_ones),
    )


def _paid_out(loans: Iterable[Financing], year: int) -> list[Financing]:
    return [each for each in loans if each.disbursed_on is not None and each.disbursed_on.year == year]


def _averages(loans: Sequence[Financing]) -> tuple[Fraction | None, Fraction | None]:
    if not loans:
        return None, None
    return (
        Fraction(sum(each.amount_fen for each in loans), len(loans)),
        Fraction(sum(each.annual_rate for each in loans), len(loans) * MILLION),
    )


def _change(now: Fraction | None, before: Fraction | None) -> Fraction | None:
    return now / before - 1 if now is not None and before else None


def _principal_left(each: Financing, on: date) -> int:
    if each.disbursed_on is None or each.disbursed_on > on:
        return 0
    return each.amount_fen - sum(one.principal_fen for one in each.repayments if one.paid_on <= on)
