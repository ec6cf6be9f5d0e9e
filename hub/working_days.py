"""Deadlines in working days, Monday to Friday in China's time.

Public holidays and the days worked in their place are set by the State Council from year to year and are not known
here; pages say in words that they come on top.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

CHINA = timezone(timedelta(hours=8))
_SATURDAY = 5


def working_days_after(start: datetime, count: int) -> datetime:
    """Return the last second in China of the `count`-th working day after the day of `start`, as UTC."""
    day = start.astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
    left = count
    while left:
        day += timedelta(days=1)
        left -= day.weekday() < _SATURDAY
    return (day + timedelta(days=1, seconds=-1)).astimezone(UTC)
