"""By what a leaf of the log is found in the witness's mirror, and what it adds to a day's figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

from pydantic import ValidationError

from crypto.log_index import IndexedEntry, indexed
from crypto.wire.audit import LogEntry

UNREADABLE = "unreadable"
"""Stands for the type of a leaf that is in the log and is no entry of this version."""
CHINA = timezone(timedelta(hours=8))

_MOST_FAILURES = 1000
"""Of one query; more than it can have sources is no figure but an attempt to break the sum."""

Figure = Literal["queries", "refusals", "consents", "revocations"]


def parsed(leaf: bytes) -> LogEntry | None:
    """The entry in a leaf; None where it is none that this version knows."""
    try:
        return LogEntry.model_validate_json(leaf)
    except ValidationError:
        return None


def indexed_leaf(entry: LogEntry | None) -> IndexedEntry:
    """What an entry is found by; an unreadable one by that alone, at no time."""
    return IndexedEntry(UNREADABLE, 0, (), None, None, ()) if entry is None else indexed(entry)


def figures_of(entry: LogEntry | None) -> Iterator[tuple[Figure, int]]:
    """What an entry adds to the figures of its day: how many of what.

    A refusal is a source that failed or refused a whole request: what became of single items is not in the log.
    """
    if entry is None:
        return
    if entry.type == "query":
        yield "queries", 1
    elif entry.type == "query-result":
        failures = entry.facts.get("failures")
        if isinstance(failures, int) and 0 < failures <= _MOST_FAILURES:
            yield "refusals", int(failures)
    elif entry.type == "consent":
        yield "consents", 1
    elif entry.type == "consent-event" and entry.facts.get("event") == "revoked":
        yield "revocations", 1


def day_of(moment: int) -> str:
    """The day of a moment by China's time, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(moment, UTC).astimezone(CHINA).date().isoformat()
