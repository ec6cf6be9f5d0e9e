"""What the merchant's pages show, out of what the hub records about it; no markup here.

Everything comes from `MerchantRecords`, the very answer that the merchant can also download, so that pages and download
cannot differ.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from crypto.canonical import canonical_bytes
from crypto.jws import peek_payload
from crypto.wire.consent import ConsentEvent, ConsentRecord, ConsentTerms
from crypto.wire.party import Party
from crypto.wire.service import MerchantRecords, OpenedEntry, RecordedConsent, RecordedQuery
from hub.web import merchant_words as words
from models.said import Said
from models.web.listing import Cell, Moment, Term

SENSITIVE = frozenset({"C2", "C3"})
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "active": ("paused", "revoked"),
    "waiting": ("paused", "revoked"),
    "paused": ("resumed", "revoked"),
}
"""State → the events that the merchant may sign now."""


@dataclass(frozen=True)
class Named:
    """A party with its title and kind, where it is enrolled."""

    party_id: str
    title: str
    kind: str

    @property
    def name(self) -> str:
        """What people call it."""
        return self.title or self.party_id


@dataclass(frozen=True)
class Proof:
    """What the browser needs to look an entry up in the log: its place, the exact leaf, the salt (hexadecimal)."""

    index: int
    entry: str
    salt: str


@dataclass(frozen=True)
class Happening:
    """A step in a consent's life."""

    at: datetime
    title: str
    tone: str
    detail: None = None


@dataclass(frozen=True)
class Asked:
    """How often a party asked under a consent, and when last."""

    by: Named
    times: int
    last: datetime


@dataclass(frozen=True)
class Category:
    """A kind of data, whose it is, and whether it is sensitive (JR/T 0171: C2 and C3)."""

    name: str
    words: str
    data_class: str
    source: Named | None

    @property
    def sensitive(self) -> bool:
        """Whether it needs a separate consent (PIPL 29)."""
        return self.data_class in SENSITIVE


@dataclass(frozen=True)
class ConsentView:
    """A consent as its merchant sees it."""

    record_id: str
    state: str
    state_words: str
    tone: str
    purposes: tuple[str, ...]
    categories: tuple[Category, ...]
    recipients: tuple[Named, ...]
    frequency: Said
    data_life: Said
    valid_from: datetime
    valid_until: datetime
    given_at: datetime
    notice_version: str
    notice_sha256: str
    history: tuple[Happening, ...]
    asked: tuple[Asked, ...]
    actions: tuple[str, ...]
    ends_by_notice: datetime | None
    """Where the notice has changed: when the consent ends unless the merchant agrees anew."""
    deleted: tuple[Named, ...]
    """Who signed that it deleted what it had received."""
    not_deleted: tuple[tuple[Named, datetime], ...]
    """Who should have done so since, and has not."""
    proof: Proof | None


@dataclass(frozen=True)
class QueryView:
    """A query about the merchant."""

    at: datetime
    by: Named
    purpose: str
    model_id: str
    answered: bool | None
    """Whether every source answered; None while none has said anything."""
    outcomes: tuple[tuple[Named, Said, bool], ...]
    consent_id: str | None
    proof: Proof | None


class Parties:
    """Enrolled parties by id; one that is not enrolled any more is named by its id."""

    def __init__(self, parties: Sequence[Party]) -> None:
        self._parties = {party.party_id: party for party in parties}

    def named(self, party_id: str) -> Named:
        """A party as people call it."""
        party = self._parties.get(party_id)
        return Named(party_id, party.title if party else "", party.kind if party else "")


def state_now(state: str, record: ConsentRecord, now: datetime) -> str:
    """A consent's state with its dates taken in: active, waiting, paused, expired, revoked or refused."""
    if state in ("revoked", "refused"):
        return state
    if now >= record.valid_until:
        return "expired"
    if state == "paused":
        return state
    return "waiting" if now < record.valid_from else "active"


def categories_of(record: ConsentTerms, parties: Parties) -> tuple[Category, ...]:
    """The kinds of data that a consent allows."""
    return tuple(
        Category(
            each.category,
            words.category(each.category),
            each.data_class,
            parties.named(record.sources[each.category]) if each.category in record.sources else None,
        )
        for each in record.pii_information
    )


def consents_of(records: MerchantRecords, parties: Parties) -> tuple[ConsentView, ...]:
    """All consents, those in force first, then the newest."""
    proofs = _proofs(records.entries)
    views = [_consent(each, records, parties, proofs) for each in records.consents]
    newest = sorted(views, key=lambda view: view.given_at, reverse=True)
    return tuple(sorted(newest, key=lambda view: not view.actions))


def _consent(
    each: RecordedConsent, records: MerchantRecords, parties: Parties, proofs: Mapping[int, Proof]
) -> ConsentView:
    record = ConsentRecord.model_validate_json(peek_payload(each.consent))
    state = state_now(each.state, record, records.time)
    state_words, tone = words.STATES[state]
    return ConsentView(
        record_id=record.record_id,
        state=state,
        state_words=state_words,
        tone=tone,
        purposes=tuple(words.purpose(name) for name in record.purposes),
        categories=categories_of(record, parties),
        recipients=tuple(parties.named(party) for party in record.recipients),
        frequency=words.frequency(record.frequency.count, record.frequency.per, record.fetch_type),
        data_life=words.span(record.data_life.unit, record.data_life.value),
        valid_from=record.valid_from,
        valid_until=record.valid_until,
        given_at=record.event_time,
        notice_version=record.privacy_notice.version,
        notice_sha256=record.privacy_notice.sha256,
        history=_history(each, record),
        asked=_asked(record.record_id, records.queries, parties),
        actions=ACTIONS.get(state, ()),
        ends_by_notice=next((asked.ends_at for asked in records.requests if asked.record_id == each.record_id), None),
        deleted=tuple(
            parties.named(party)
            for party in dict.fromkeys(one.party_id for one in records.deletions if one.record_id == each.record_id)
        ),
        not_deleted=tuple(
            (parties.named(one.party_id), one.since)
            for one in records.missing_deletions
            if one.record_id == each.record_id
        ),
        proof=None if each.log_index is None else proofs.get(each.log_index),
    )


def _history(each: RecordedConsent, record: ConsentRecord) -> tuple[Happening, ...]:
    steps = [Happening(record.event_time, words.EVENTS["given"], "good")]
    for event in each.events:
        signed = ConsentEvent.model_validate_json(peek_payload(event.token))
        tone = words.EVENT_TONES.get(event.event, "neutral")
        steps.append(Happening(signed.event_time, words.EVENTS[event.event], tone))
    return tuple(steps)


def _asked(record_id: str, queries: Sequence[RecordedQuery], parties: Parties) -> tuple[Asked, ...]:
    own = [query for query in queries if query.consent_id == record_id]
    times = Counter(query.requester for query in own)
    last = {query.requester: query.time for query in sorted(own, key=lambda query: query.time)}
    return tuple(Asked(parties.named(party), count, last[party]) for party, count in times.most_common())


def queries_of(records: MerchantRecords, parties: Parties) -> tuple[QueryView, ...]:
    """All queries about the merchant, the newest first."""
    proofs = _proofs(records.entries)
    views = [_query(each, parties, proofs) for each in records.queries]
    return tuple(sorted(views, key=lambda view: view.at, reverse=True))


def _query(each: RecordedQuery, parties: Parties, proofs: Mapping[int, Proof]) -> QueryView:
    return QueryView(
        at=each.time,
        by=parties.named(each.requester),
        purpose=words.purpose(each.purpose),
        model_id=each.model_id,
        answered=all(code == words.ANSWERED for code in each.outcomes.values()) if each.outcomes else None,
        outcomes=tuple(
            (parties.named(party), words.outcome(code), code == words.ANSWERED)
            for party, code in sorted(each.outcomes.items())
        ),
        consent_id=each.consent_id,
        proof=None if each.log_index is None else proofs.get(each.log_index),
    )


def _proofs(entries: Sequence[OpenedEntry]) -> dict[int, Proof]:
    return {
        each.log_index: Proof(each.log_index, each.entry, each.salt.hex())
        for each in entries
        if each.log_index is not None
    }


@dataclass(frozen=True)
class KeyView:
    """A key of the merchant, by the number that people compare, and who enrolled it."""

    number: str
    current: bool
    received_at: datetime
    enrolled_by: Named
    countersigned_by: Named


def keys_of(records: MerchantRecords, parties: Parties) -> tuple[KeyView, ...]:
    """All keys, the newest first."""
    return tuple(
        KeyView(
            key_number(each.jwk),
            each.current,
            each.received_at,
            parties.named(each.enrolled_by),
            parties.named(each.countersigned_by),
        )
        for each in records.keys
    )


def key_number(jwk: Mapping[str, str]) -> str:
    """A key as people compare it: the first 12 bytes of its thumbprint (RFC 7638), in six groups of four digits."""
    digest = hashlib.sha256(canonical_bytes(dict(jwk))).hexdigest()[:24]
    return " ".join(digest[place : place + 4] for place in range(0, 24, 4))


@dataclass(frozen=True)
class Printed:
    """The own record as a page: rows of cells."""

    time: datetime
    pseudonym: str
    entries: int
    consent_rows: tuple[tuple[Cell, ...], ...]
    query_rows: tuple[tuple[Cell, ...], ...]


def printed(records: MerchantRecords, parties: Parties) -> Printed:
    """What the own record shows as a page."""
    return Printed(
        time=records.time,
        pseudonym=records.pii_principal_id.hex(),
        entries=len(records.entries),
        consent_rows=tuple(
            (
                ", ".join(party.name for party in each.recipients),
                Term(each.state_words),
                Moment(each.valid_until),
                each.record_id,
            )
            for each in consents_of(records, parties)
        ),
        query_rows=tuple(
            (
                Moment(each.at),
                each.by.name,
                Term(each.purpose),
                Term("no answer yet" if each.answered is None else "answered" if each.answered else "refused"),
                None if each.proof is None else each.proof.index,
            )
            for each in queries_of(records, parties)
        ),
    )


def readable(records: MerchantRecords) -> dict[str, object]:
    """The records as a download: what the hub answered, and beside each signed token what it says."""
    content: dict[str, object] = json.loads(records.model_dump_json())
    said = [
        {
            "record_id": each.record_id,
            "consent": json.loads(peek_payload(each.consent)),
            "events": [json.loads(peek_payload(event.token)) for event in each.events],
        }
        for each in records.consents
    ]
    return {"format": "digua-own-record-1", "records": content, "signed_content": said}
