"""The node's clock, handed in wherever time matters so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The machine's time, with its offset."""
    return datetime.now(UTC)
