"""By what an entry of the log is found in the witness's mirror, and what it adds to a day's figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

from pydantic import ValidationError

from crypto.wire.audit import LogEntry

TermName = Literal["party", "campaign", "model", "type", "commitment"]
UNREADABLE = "unreadable"
"""Stands for the type of a leaf that is in the log and is no entry of this version."""
CHINA = timezone(timedelta(hours=8))
_PARTY_FACTS = ("party_id", "party", "source", "recipient", "countersigner")
_HIDDEN_FACTS = ("consent", "artefact")


def parsed(leaf: bytes) -> LogEntry | None:
    """The entry in a leaf; None where it is none that this version knows."""
    try:
        return LogEntry.model_validate_json(leaf)
    except ValidationError:
        return None


def moment_of(entry: LogEntry | None) -> int:
    """The entry's time in Unix seconds; 0 for an unreadable one."""
    return 0 if entry is None else int(entry.time.timestamp())


def terms_of(entry: LogEntry | None) -> set[tuple[TermName, str]]:
    """What an entry is found by: name and value."""
    if entry is None:
        return {("type", UNREADABLE)}
    found: set[tuple[TermName, str]] = {("type", entry.type), ("party", entry.actor)}
    for name in _PARTY_FACTS:
        if isinstance(value := entry.facts.get(name), str) and value:
            found.add(("party", value))
    for party in str(entry.facts.get("sources") or "").split(","):
        if party:
            found.add(("party", party))
    for fact, term in (("campaign_id", "campaign"), ("model_id", "model")):
        if isinstance(value := entry.facts.get(fact), str) and value:
            found.add(("campaign" if term == "campaign" else "model", value))
    if entry.subject is not None:
        found.add(("commitment", entry.subject.hex()))
        for name in _HIDDEN_FACTS:
            if isinstance(value := entry.facts.get(name), str):
                found.add(("commitment", value))
    return found


def figures_of(entry: LogEntry | None) -> Iterator[tuple[str, int]]:
    """What an entry adds to the figures of its day: how many of what."""
    if entry is None:
        return
    if entry.type == "query":
        yield "queries", 1
    elif entry.type == "query-result":
        failures = entry.facts.get("failures")
        if isinstance(failures, int) and failures > 0:
            yield "refusals", int(failures)
    elif entry.type == "consent":
        yield "consents", 1
    elif entry.type == "consent-event" and entry.facts.get("event") == "revoked":
        yield "revocations", 1


def day_of(moment: int) -> str:
    """The day of a moment by China's time, `YYYY-MM-DD`."""
    return datetime.fromtimestamp(moment, UTC).astimezone(CHINA).date().isoformat()
