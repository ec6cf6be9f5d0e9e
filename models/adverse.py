"""The five-year limit on adverse facts (征信业管理条例 16): what may no longer be used on a given day.

*Rule.* Adverse information is kept for five years from the day on which the conduct or event ended; beyond that it
must be deleted. The day of the end itself does not count (民法典 201); the last day of the period is the corresponding
day five years later, or the last day of that month where it has none (民法典 202). A fact that ended on 2021-03-01 is
used up to and on 2026-03-01, and no more on 2026-03-02; one that ended on 2020-02-29, up to and on 2025-02-28.

Days are those of Beijing. A fact without an end has not ended, and is used.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt
import polars as pl

from models.bins import CellProblem, text_values
from models.said import said

YEARS = 5
_BEIJING = timezone(timedelta(hours=8))
_DAY_LENGTH = len("2025-06-30")


def day_of(moment: datetime) -> date:
    """The calendar day at a moment (with offset), in Beijing."""
    return moment.astimezone(_BEIJING).date()


def first_usable(today: date) -> date:
    """The earliest end of a fact that may still be used on a day: facts that ended before it may not."""
    year = today.year - YEARS
    if (today.month, today.day) == (2, 29):
        return date(year, 3, 1)  # five years before a leap day there is none
    return today.replace(year=year)


def last_usable(end: date) -> date:
    """The last day on which a fact that ended on a day may be used."""
    if (end.month, end.day) == (2, 29):
        return date(end.year + YEARS, 2, 28)  # five years after a leap day there is none
    return end.replace(year=end.year + YEARS)


def days_of(ends: pl.Series) -> tuple[pl.Series, npt.NDArray[np.bool_]]:
    """(n,) days of the ends, null where a fact has not ended or a cell is no date; and which cells are none.

    Args:
        ends: see `too_old`.
    """
    text = text_values(ends)
    with_time = text.str.contains(r"^\d{4}-\d{2}-\d{2}[ T]").fill_null(value=False)
    days = text.str.slice(0, _DAY_LENGTH).zip_with(with_time, text)
    days = days.set(~days.str.contains(r"^\d{4}-\d{2}-\d{2}$").fill_null(value=True), None)
    parsed = days.str.to_date("%Y-%m-%d", strict=False)
    return parsed, (text.is_not_null() & parsed.is_null()).to_numpy()


def too_old(ends: pl.Series, today: date) -> tuple[npt.NDArray[np.bool_], list[CellProblem]]:
    """Which facts may no longer be used, and cells that are no dates.

    Args:
        ends: (n,) days on which the facts ended, as dates or text such as 2025-06-30 (a time of day is ignored); empty
            where they have not.
        today: see `day_of`.

    Returns:
        (n,) True for facts past the limit; problems in order of rows. A cell that is no date counts as past it.
    """
    parsed, unread = days_of(ends)
    old = (parsed < first_usable(today)).fill_null(value=False).to_numpy() | unread
    what = said("is no day such as 2025-06-30")
    problems = [CellProblem(int(row), ends.name, what) for row in np.flatnonzero(unread)]
    return np.asarray(old, dtype=np.bool_), problems
