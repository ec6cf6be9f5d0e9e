"""Time as the hub's parts take it: a function that is passed in, so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the system's time, UTC."""
    return datetime.now(UTC)


def seconds(moment: datetime) -> int:
    """Return whole seconds since 1970, as tables store times."""
    return int(moment.timestamp())


def moment(at: int) -> datetime:
    """Return a stored time, UTC."""
    return datetime.fromtimestamp(at, UTC)
