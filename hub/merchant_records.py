"""What the hub records about a merchant, for the merchant itself (PIPL 44, 45; docs/protocol.md, 8).

Consents and events as they were signed, requests to consent again, every query with what each source made of it, and
the log's entries about the merchant with the salts that open them: with these the merchant can check the answer against
the public log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from crypto.jws import peek_payload
from crypto.log_index import commit
from crypto.wire.audit import LogEntry
from crypto.wire.consent import ConsentEvent
from crypto.wire.service import (
    MerchantRecords,
    MissingDeletion,
    OpenedEntry,
    RecordedConsent,
    RecordedDeletion,
    RecordedEvent,
    RecordedQuery,
)
from hub.clock import Clock
from hub.consent_checks import FINAL
from hub.consents import Consents, StoredConsent
from hub.deletions import Deletions, StoredDeletion
from hub.log_reading import LogReader, MerchantEntry
from hub.merchant_keys import MerchantKeys
from hub.notices import HeldRecord, Notices

QUERY = "query"
ANSWERED = "answered"
ARTEFACTS = frozenset({"consent", "consent-event", "deletion"})
DELETION_DUE = timedelta(days=1)
"""How long after the end of a consent a recipient's statement of deletion may be on its way."""


class MerchantRecordBook:
    """Collects a merchant's records."""

    def __init__(
        self,
        consents: Consents,
        keys: MerchantKeys,
        notices: Notices,
        deletions: Deletions,
        reader: LogReader,
        *,
        clock: Clock,
    ) -> None:
        self._consents = consents
        self._keys = keys
        self._notices = notices
        self._deletions = deletions
        self._reader = reader
        self._clock = clock

    def of(self, pseudonym: bytes) -> MerchantRecords:
        """All that is recorded under a pseudonym; no scores, for the hub never has one."""
        consents = self._consents.of_merchant(pseudonym)
        entries = [(each, LogEntry.model_validate_json(each.leaf)) for each in self._reader.of_merchant(pseudonym)]
        deletions = self._deletions.of_records([each.record.record_id for each in consents])
        places = _places(consents, deletions, entries)
        queries = tuple(_query(each, entry, consents) for each, entry in entries if entry.type == QUERY)
        now = self._clock()
        return MerchantRecords(
            pii_principal_id=pseudonym,
            time=now,
            consents=tuple(_consent(each, places) for each in consents),
            queries=queries,
            entries=tuple(OpenedEntry(log_index=each.index, entry=each.leaf, salt=each.salt) for each, _ in entries),
            keys=self._keys.history(pseudonym),
            deletions=tuple(_deletion(each, places) for each in deletions),
            missing_deletions=_missing(consents, queries, deletions, now),
            requests=self._notices.open_requests([HeldRecord(each.record, each.state) for each in consents]),
        )


def _places(
    consents: Sequence[StoredConsent],
    deletions: Sequence[StoredDeletion],
    entries: Sequence[tuple[MerchantEntry, LogEntry]],
) -> dict[bytes, int | None]:
    """Payload hash of a signed artefact → index of its entry, found by opening the entries' commitments."""
    tokens = [token for consent in consents for token in (consent.item.consent, *consent.events)]
    hashes = [sha256(peek_payload(token)).digest() for token in tokens] + [each.sha256 for each in deletions]
    places: dict[bytes, int | None] = {}
    for each, entry in entries:
        if entry.type not in ARTEFACTS:
            continue
        committed = entry.facts.get("artefact")
        found = next((value for value in hashes if commit(each.salt, value).hex() == committed), None)
        if found is not None:
            places[found] = each.index
    return places


def _consent(consent: StoredConsent, places: Mapping[bytes, int | None]) -> RecordedConsent:
    def place(token: str) -> int | None:
        return places.get(sha256(peek_payload(token)).digest())

    return RecordedConsent(
        record_id=consent.record.record_id,
        state=consent.state,
        consent=consent.item.consent,
        events=tuple(
            RecordedEvent(
                event=ConsentEvent.model_validate_json(peek_payload(token)).event, token=token, log_index=place(token)
            )
            for token in consent.events
        ),
        log_index=place(consent.item.consent),
    )


def _query(each: MerchantEntry, entry: LogEntry, consents: Sequence[StoredConsent]) -> RecordedQuery:
    committed = entry.facts.get("consent")
    ids = [consent.record.record_id for consent in consents]
    return RecordedQuery.model_validate(
        {
            "time": entry.time,
            "requester": entry.actor,
            "purpose": entry.facts.get("purpose"),
            "model_id": entry.facts.get("model_id"),
            "sources": tuple(str(entry.facts.get("sources")).split(",")),
            "consent_id": next((name for name in ids if commit(each.salt, name.encode()).hex() == committed), None),
            "outcomes": json.loads(each.outcome or "{}"),
            "log_index": each.index,
        }
    )


def _deletion(each: StoredDeletion, places: Mapping[bytes, int | None]) -> RecordedDeletion:
    return RecordedDeletion(
        record_id=each.record_id,
        party_id=each.statement.party_id,
        statement=each.token,
        salt=each.salt,
        log_index=places.get(each.sha256),
    )


def _missing(
    consents: Sequence[StoredConsent],
    queries: Sequence[RecordedQuery],
    deletions: Sequence[StoredDeletion],
    now: datetime,
) -> tuple[MissingDeletion, ...]:
    """Recipients that all sources answered under a consent which ended a day ago, and that stated no deletion since."""
    found: list[MissingDeletion] = []
    for consent in consents:
        ended = _ended(consent)
        if ended + DELETION_DUE > now:
            continue
        record_id = consent.record.record_id
        answered = {
            each.requester
            for each in queries
            if each.consent_id == record_id and each.outcomes and set(each.outcomes.values()) == {ANSWERED}
        }
        stated = {
            each.statement.party_id
            for each in deletions
            if each.record_id == record_id and each.statement.reason != "data-life-over"
        }
        found += [
            MissingDeletion(record_id=record_id, party_id=party, since=ended) for party in sorted(answered - stated)
        ]
    return tuple(found)


def _ended(consent: StoredConsent) -> datetime:
    """When a consent ended or will end: by its last word where that is final, else by its own date."""
    if consent.state in FINAL:
        events = [ConsentEvent.model_validate_json(peek_payload(token)) for token in consent.events]
        times = [each.event_time for each in events if each.event in FINAL]
        return min([consent.record.valid_until, *times])
    return consent.record.valid_until
