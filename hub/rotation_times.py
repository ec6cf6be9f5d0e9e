"""How long before it holds a new signing key is announced, the hub's or the witness's (docs/protocol.md, 0)."""

from __future__ import annotations

from datetime import timedelta

MIN_LEAD = timedelta(seconds=30)
MAX_LEAD = timedelta(days=30)
_HEARTBEATS = 3


def least_lead(heartbeat_s: float) -> timedelta:
    """So long that every process of the hub, and every connected party, hears of it before.

    Args:
        heartbeat_s: seconds between the feed's heartbeats.
    """
    return max(MIN_LEAD, timedelta(seconds=_HEARTBEATS * heartbeat_s))
