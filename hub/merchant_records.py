"""What the hub records about a merchant, for the merchant itself (PIPL 44, 45; docs/protocol.md, 8).

Consents and events as they were signed, requests to consent again, every query with what each source made of it, and
the log's entries about the merchant with the salts that open them: with these the merchant can check the answer against
the public log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from crypto.jws import peek_payload
from crypto.log_index import commit
from crypto.wire.audit import LogEntry
from crypto.wire.consent import ConsentEvent
from crypto.wire.service import MerchantRecords, OpenedEntry, RecordedConsent, RecordedEvent, RecordedQuery
from hub.clock import Clock
from hub.consents import Consents, StoredConsent
from hub.log_reading import LogReader, MerchantEntry
from hub.merchant_keys import MerchantKeys
from hub.notices import HeldRecord, Notices

QUERY = "query"
ARTEFACTS = frozenset({"consent", "consent-event"})


class MerchantRecordBook:
    """Collects a merchant's records."""

    def __init__(
        self, consents: Consents, keys: MerchantKeys, notices: Notices, reader: LogReader, *, clock: Clock
    ) -> None:
        self._consents = consents
        self._keys = keys
        self._notices = notices
        self._reader = reader
        self._clock = clock

    def of(self, pseudonym: bytes) -> MerchantRecords:
        """All that is recorded under a pseudonym; no scores, for the hub never has one."""
        consents = self._consents.of_merchant(pseudonym)
        entries = [(each, LogEntry.model_validate_json(each.leaf)) for each in self._reader.of_merchant(pseudonym)]
        places = _places(consents, entries)
        return MerchantRecords(
            pii_principal_id=pseudonym,
            time=self._clock(),
            consents=tuple(_consent(each, places) for each in consents),
            queries=tuple(_query(each, entry, consents) for each, entry in entries if entry.type == QUERY),
            entries=tuple(OpenedEntry(log_index=each.index, entry=each.leaf, salt=each.salt) for each, _ in entries),
            keys=self._keys.history(pseudonym),
            requests=self._notices.open_requests([HeldRecord(each.record, each.state) for each in consents]),
        )


def _places(
    consents: Sequence[StoredConsent], entries: Sequence[tuple[MerchantEntry, LogEntry]]
) -> dict[bytes, int | None]:
    """Payload hash of a signed artefact → index of its entry, found by opening the entries' commitments."""
    tokens = [token for consent in consents for token in (consent.item.consent, *consent.events)]
    hashes = [sha256(peek_payload(token)).digest() for token in tokens]
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
