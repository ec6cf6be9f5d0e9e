"""What the page of the journal shows: queries that this node answered or refused, and what else it noted, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models.i18n import catalogue, title_of
from nodes.journal import QUERY, JournalLine, verify_lines
from nodes.requester import QUERY_ENDED, QUERY_SENT
from nodes.services import Services
from nodes.web.bank_words import PURPOSES, listed, moment, say

GROUPS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "answered": ("Queries answered or refused as a source", (QUERY, "query-refused", "query-decided-again")),
    "asked": ("Queries of this bank", (QUERY_SENT, QUERY_ENDED, "scored-locally")),
    "consents": ("Consents and withdrawals received", ("consents-taken", "notice-taken", "feed-item-refused")),
    "models": ("Models released and withdrawn", ("model-release", "model-withdrawal", "model-rollback")),
    "deletions": ("Deletions", ("data-deleted", "attempt-wiped")),
    "merchants": (
        "Invitations and merchants' requests",
        (
            "merchant-invited",
            "consent-requested",
            "consents-looked-up",
            "offered-keys-refused",
            "ticket-opened",
            "ticket-answered",
            "ticket-refused",
            "explanation-made",
        ),
    ),
    "looks": ("Looks at merchants", ("data-look",)),
}
"""Name in the address → its text, and the types of entries in it."""
TYPES: Final = {
    QUERY: "Query as a source",
    "query-refused": "Query that could not be read",
    "query-decided-again": "Query decided again",
    QUERY_SENT: "Query sent",
    QUERY_ENDED: "Query answered",
    "scored-locally": "Scored from own rows",
    "consents-taken": "Consents received",
    "feed-item-refused": "Message of the hub refused",
    "model-release": "Model released",
    "model-withdrawal": "Model withdrawn",
    "model-rollback": "Model rolled back",
    "evaluation-points": "Points for an evaluation",
    "notice-taken": "Privacy notice received",
    "merchant-invited": "Merchant invited",
    "consent-requested": "Consent asked for",
    "consents-looked-up": "Consents looked up",
    "offered-keys-refused": "Merchants' offered keys refused",
    "ticket-opened": "Merchant's request opened",
    "ticket-answered": "Merchant's request answered",
    "ticket-refused": "Merchant's request unreadable",
    "ledger-reconciled": "Ledger completed by the witness",
    "explanation-made": "Score explained to a merchant",
    "data-deleted": "Answers deleted",
    "attempt-wiped": "Rows of an attempt wiped",
    "data-look": "Look at a merchant's data",
}
FACTS: Final = {
    "requester": "asked by",
    "model_id": "model",
    "campaign_id": "campaign",
    "items": "merchants",
    "item": "place in the query",
    "scored": "with a score",
    "code": "reason",
    "decision": "decision",
    "request_hash": "query",
    "scope": "released for",
    "purpose": "purpose",
    "seq": "number in the feed",
    "record": "entry of the access record",
    "record_hash": "its hash",
    "what": "which data",
}
_ANSWERED = "answered"


@dataclass(frozen=True)
class JournalEntry:
    """One entry.

    Attributes:
        good: answered or taken; False for a refusal, None where it is neither.
        facts: names and values, as they stand in the entry.
    """

    seq: int
    time: str
    type: str
    outcome: str
    good: bool | None
    facts: tuple[tuple[str, str], ...]
    hash: str


@dataclass(frozen=True)
class JournalPage:
    """A page of the journal, the newest entry first; `before` leads to the next, None where there is none."""

    entries: tuple[JournalEntry, ...]
    before: int | None
    total: int


@dataclass(frozen=True)
class ChainCheck:
    """The chain of hashes holds: so many entries, and the last hash, to be noted elsewhere."""

    entries: int
    last: str


class JournalDesk:
    """Reads this node's journal.

    Args:
        services: the node's.
    """

    def __init__(self, services: Services) -> None:
        self._journal = services.journal

    def page(self, group: str, *, before: int | None, lang: str, limit: int = 50) -> JournalPage:
        """A page of a group's entries, of all where the group is none."""
        types = GROUPS[group][1] if group in GROUPS else ()
        lines = self._journal.page(*types, before=before, limit=limit + 1)
        shown = lines[:limit]
        more = shown[-1].seq if len(lines) > limit else None
        return JournalPage(tuple(entry_of(line, lang) for line in shown), more, self._journal.count())

    def verify(self) -> ChainCheck:
        """Check the whole chain.

        Raises:
            JournalError: an entry was altered, left out or moved.
        """
        number, last = verify_lines(self._journal.lines())
        return ChainCheck(number, last.hex())

    def export(self) -> Iterator[str]:
        """All entries as NDJSON, as `digua-node audit export` writes them."""
        for line in self._journal.lines():
            yield line.to_json() + "\n"


def entry_of(line: JournalLine, lang: str) -> JournalEntry:
    """An entry in words."""
    note = json.loads(line.entry)
    facts: dict[str, Any] = note.get("facts", {})
    outcome, good = _outcome(note["type"], facts, lang)
    return JournalEntry(
        seq=line.seq,
        time=moment(datetime.fromisoformat(note["time"])),
        type=say(lang, TYPES[note["type"]]) if note["type"] in TYPES else str(note["type"]),
        outcome=outcome,
        good=good,
        facts=tuple(
            (say(lang, FACTS.get(name, name)), _value(name, value, lang))
            for name, value in facts.items()
            if name not in ("decision", "code") and not name.startswith("code:")
        ),
        hash=line.hash.hex(),
    )


def _outcome(kind: str, facts: dict[str, Any], lang: str) -> tuple[str, bool | None]:
    code = facts.get("decision") or facts.get("decisions") or facts.get("code")
    if code == _ANSWERED:
        return say(lang, "Answered"), True
    if isinstance(code, str):
        return listed([_title(each, lang) for each in code.split(",")], lang), False
    if kind == QUERY_ENDED:
        codes = [name.removeprefix("code:") for name in facts if name.startswith("code:")]
        text = listed([_title(each, lang) for each in codes], lang)
        return (text, False) if codes else (say(lang, "Answered"), True)
    return "", None


def _title(code: str, lang: str) -> str:
    if code == _ANSWERED:
        return say(lang, "Answered")
    return title_of(code, lang, catalogue("nodes")) or code


def _value(name: str, value: object, lang: str) -> str:
    words = {str(purpose): text for purpose, text in PURPOSES.items()}
    text = say(lang, words.get(str(value), str(value))) if name == "purpose" else str(value)
    return text if len(text) <= 40 else text[:24] + "…"
