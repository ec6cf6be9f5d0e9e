"""Amounts that grow by the day, exact to the fen however the time is cut: subsidised interest and premiums.

A principal of `fen` at an annual rate grows by fen · rate / days-of-the-year each day, from the day on which it was
paid out to the day before it comes back (算头不算尾). What has grown up to a day is an exact fraction; the whole fen of
it are booked as the difference to what was booked before. So the bookings of any split of a time sum to those of the
whole: they depend on where each ends, not on how often one looked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal, TypeAlias

from hub.platform.financing_states import State
from hub.platform.financings import Financing, overdue_spells
from hub.platform.instalments import MILLION, rounded

DayCount: TypeAlias = Literal["actual/360", "actual/365"]
_DAYS: dict[DayCount, int] = {"actual/360": 360, "actual/365": 365}


@dataclass(frozen=True)
class Level:
    """A value from a day on, until the next level: fen, or millionths a year."""

    since: date
    value: int


@dataclass(frozen=True)
class Stretch:
    """Days from `since` to before `until`."""

    since: date
    until: date

    def __post_init__(self) -> None:
        if self.until < self.since:
            raise ValueError(f"{self.until} lies before {self.since}")

    def within(self, other: Stretch) -> Stretch | None:
        """The days that both have, or None."""
        since, until = max(self.since, other.since), min(self.until, other.until)
        return Stretch(since, until) if since < until else None


def balances(financing: Financing) -> tuple[Level, ...]:
    """Principal outstanding, from each day on which it changed; nothing before the money was paid out."""
    if financing.disbursed_on is None:
        return ()
    found, left = [Level(financing.disbursed_on, financing.amount_fen)], financing.amount_fen
    for payment in financing.repayments:
        left -= payment.principal_fen
        found.append(Level(payment.paid_on, left))
    return tuple(found)


def planned_balances(financing: Financing) -> tuple[Level, ...]:
    """The same if everything is paid on the day that the plan names."""
    if financing.disbursed_on is None:
        return ()
    left = itertools.accumulate((each.principal_fen for each in financing.plan), lambda a, b: a - b, initial=0)
    owed = (financing.amount_fen + each for each in left)
    days = (financing.disbursed_on, *(each.due_on for each in financing.plan))
    return tuple(Level(day, fen) for day, fen in zip(days, owed, strict=True))


def overdue(financing: Financing, until: date, *, after_days: int) -> tuple[Stretch, ...]:
    """Stretches in which something was unpaid for longer than `after_days` after it fell due."""
    found = []
    for instalment, late in overdue_spells(financing, until):
        since = date.fromordinal(instalment.due_on.toordinal() + after_days + 1)
        end = date.fromordinal(instalment.due_on.toordinal() + late)
        if since < end:
            found.append(Stretch(since, end))
    return tuple(found)


def last_day(financing: Financing) -> date | None:
    """The day from which nothing grows any more: it was closed, is in default, or its plan has run out."""
    ended = financing.ended_on if financing.state in {State.CLOSED, State.DEFAULTED} else None
    planned = financing.plan[-1].due_on if financing.plan else None
    known = [day for day in (ended, planned) if day is not None]
    return min(known) if known else None


def grown(
    principal: Sequence[Level],
    rates: Sequence[Level],
    stretch: Stretch,
    day_count: DayCount,
    *,
    paused: Iterable[Stretch] = (),
    at_most: int | None = None,
) -> Fraction:
    """What has grown in a stretch, in fen, exact.

    Args:
        principal: fen, in order of days; nothing before the first.
        rates: millionths a year, likewise.
        stretch: from its first day to before its last.
        day_count: of the year.
        paused: stretches in which nothing grows.
        at_most: of the principal that counts.
    """
    return weighed_days(principal, rates, stretch, paused=paused, at_most=at_most) / _DAYS[day_count]


def weighed_days(
    principal: Sequence[Level],
    rates: Sequence[Level],
    stretch: Stretch,
    *,
    paused: Iterable[Stretch] = (),
    at_most: int | None = None,
) -> Fraction:
    """Principal times rate, summed over the days of a stretch: fen · days, exact; arguments as for `grown`."""
    pauses = list(paused)
    days = {stretch.since, stretch.until}
    days.update(each.since for each in (*principal, *rates))
    days.update(day for each in pauses for day in (each.since, each.until))
    inside = sorted(day for day in days if stretch.since <= day <= stretch.until)
    total = 0
    for since, until in itertools.pairwise(inside):
        if any(each.since <= since < each.until for each in pauses):
            continue
        fen = _at(principal, since)
        fen = fen if at_most is None else min(fen, at_most)
        total += (until - since).days * fen * _at(rates, since)
    return Fraction(total, MILLION)


def by_year(stretch: Stretch) -> Iterator[tuple[int, Stretch]]:
    """A stretch cut at each first of January."""
    for year in range(stretch.since.year, stretch.until.year + 1):
        found = stretch.within(Stretch(date(year, 1, 1), date(year + 1, 1, 1)))
        if found is not None:
            yield year, found


def whole_fen(amount: Fraction) -> int:
    """The whole fen of an amount, half up; of amounts that are not negative."""
    return rounded(amount)


def _at(levels: Sequence[Level], day: date) -> int:
    found = 0
    for level in levels:
        if level.since > day:
            break
        found = level.value
    return found
