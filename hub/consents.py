"""Consents and their events: verified from exact bytes, stored, logged, and fed to the parties that they name (2).

C1  The merchant's newest enrolled key is looked up by the token's key id, the pseudonym in hexadecimal.
C2  The exact bytes are verified, then parsed; unknown fields and other spellings are refused.
C3  A consent names enrolled parties of the right kinds, and a registered notice that was not superseded; an event
    follows from the consent's state.
C4  Consent or event, log entry and feed items are committed together: all tokens of a submission, or none.
C5  Connected parties get their new feed items at once.
C6  Whoever submitted gets a signed receipt for each artefact, to compare with the log and with nodes' journals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from crypto.jws import peek_payload
from crypto.notices import notice_key
from crypto.wire.consent import ConsentEvent, ConsentItem, ConsentRecord, SubmissionReceipt
from hub.clock import Clock, moment, seconds
from hub.consent_checks import GIVEN, check_record, next_state
from hub.consent_receipts import Artefact, ReceiptDesk
from hub.consent_request_answers import answer_requests
from hub.db import Database
from hub.errors import ConsentRefusedError, NotFoundError
from hub.feed import Feed, NewItem
from hub.log import AuditLog, NewEntry
from hub.log_reading import MerchantEntry
from hub.merchant_keys import statement_of
from hub.merchant_signatures import Verified, naming, only_new, verify_all
from hub.notices import check_notice, register_of
from hub.parties import PartyBook
from hub.peers import PeerLinks
from hub.tables.consents import ConsentEventRow, ConsentPartyRow, ConsentRow
from hub.tables.parties import MerchantKeyBatchRow, MerchantKeyRow

_AT_ONCE = 500
_TOKENS = select(ConsentRow.record_id, ConsentRow.token).where(
    ConsentRow.record_id.in_(bindparam("wanted", expanding=True))
)
_DAY_S = 86_400
TRAINING = "model-training"


@dataclass(frozen=True)
class StoredConsent:
    """A consent with its state and the events that led there, in order of receipt."""

    record: ConsentRecord
    state: str
    item: ConsentItem
    events: tuple[str, ...]


class Consents:
    """The book of consents.

    Args:
        db, log, parties, feed, clock: the hub's.
        hub_id: the actor of their log entries; merchants are no parties.
        receipts: signs them.
        links: gives the links when they are needed.
        recipient_kinds: kinds of parties that may receive scores.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        parties: PartyBook,
        feed: Feed,
        *,
        hub_id: str,
        clock: Clock,
        receipts: ReceiptDesk,
        links: Callable[[], PeerLinks],
        recipient_kinds: Iterable[str],
    ) -> None:
        self._db = db
        self._log = log
        self._parties = parties
        self._feed = feed
        self._hub_id = hub_id
        self._clock = clock
        self._receipts = receipts
        self._links = links
        self._recipient_kinds = frozenset(recipient_kinds)

    def submit(self, tokens: Sequence[str]) -> SubmissionReceipt:
        """Take consents in, all or none; one that is stored already changes nothing.

        Args:
            tokens: JWS of type `consent`, by their merchants' keys.

        Raises:
            SignatureError, KeyFormatError, MerchantKeyUnknownError, ConsentRefusedError: `field` begins with
                `tokens.<place>`.
        """
        now = self._clock()
        consents = verify_all(self._db, tokens, "consent", ConsentRecord)
        parties = {party.party_id: party for party in self._parties.all()}
        with self._db.session() as session:
            known = {row.record_id: row.payload_sha256 for row in _rows(session, _ids(consents)).values()}
            fresh = only_new(consents, known, "record_id", lambda record: record.record_id)
            notices = register_of(session)
            for consent in fresh:
                with naming(consent.place):
                    check_record(consent.body, parties, self._recipient_kinds, now)
                    check_notice(notices, consent.body, consent.body.event_time, now)
            entries = self._store(session, fresh, seconds(now)) if fresh else {}
        self._links().notify_feed({party for consent in fresh for party in named_parties(consent.body)})
        artefacts = [_artefact(consent, consent.body) for consent in consents]
        return SubmissionReceipt(
            stored=len(fresh),
            known=len(tokens) - len(fresh),
            receipts=self._receipts.acknowledge("consent", tokens, artefacts, entries),
        )

    def _store(
        self, session: Session, fresh: Sequence[Verified[ConsentRecord]], now: int
    ) -> dict[bytes, MerchantEntry]:
        """C4; the log entries by payload hash."""
        answer_requests(session, fresh, moment(now))
        connection = session.connection()  # thousands of rows that nobody holds: past the session's own bookkeeping
        connection.execute(insert(ConsentRow), [_consent_values(consent, now) for consent in fresh])
        named = [(consent, named_parties(consent.body)) for consent in fresh]
        connection.execute(
            insert(ConsentPartyRow),
            [{"record_id": consent.body.record_id, "party_id": party} for consent, ids in named for party in ids],
        )
        ids = self._log.append_many(
            session,
            [
                NewEntry(
                    "consent",
                    self._hub_id,
                    consent.body.pii_principal_id,
                    hidden={"consent": consent.body.record_id.encode(), "artefact": consent.sha256},
                )
                for consent in fresh
            ],
        )
        self._feed.publish_many(
            session,
            [
                NewItem(parties, "consent", record_id=consent.body.record_id, key_id=consent.key_id)
                for consent, parties in named
            ],
        )
        return self._opened(session, [consent.sha256 for consent in fresh], ids)

    def _opened(self, session: Session, hashes: Sequence[bytes], ids: Sequence[int]) -> dict[bytes, MerchantEntry]:
        return dict(zip(hashes, self._log.reader.opened(session, ids), strict=True))

    def submit_events(self, tokens: Sequence[str]) -> SubmissionReceipt:
        """Take changes of state in, in order, all or none; one that is stored already changes nothing.

        Args:
            tokens: JWS of type `consent-event`, by their merchants' keys.

        Raises:
            SignatureError, KeyFormatError, MerchantKeyUnknownError, ConsentRefusedError, ConsentStateError: `field`
                begins with `tokens.<place>`.
        """
        events = verify_all(self._db, tokens, "consent-event", ConsentEvent)
        with self._db.session() as session:
            fresh = only_new(events, _known_events(session, events), "event_id", lambda event: event.event_id)
            items, entries = self._change(session, fresh) if fresh else ([], {})
            rows = _rows(session, [event.body.record_id for event in events])
        self._links().notify_feed({party for item in items for party in item.parties})
        artefacts = [_artefact(event, record_of(rows[event.body.record_id].token)) for event in events]
        return SubmissionReceipt(
            stored=len(fresh),
            known=len(tokens) - len(fresh),
            receipts=self._receipts.acknowledge("consent-event", tokens, artefacts, entries),
        )

    def _change(
        self, session: Session, fresh: Sequence[Verified[ConsentEvent]]
    ) -> tuple[list[NewItem], dict[bytes, MerchantEntry]]:
        """C3, C4; feed items, and the log entries by payload hash."""
        now = self._clock()
        rows = _rows(session, [event.body.record_id for event in fresh], locked=True)
        items: list[NewItem] = []
        for event in fresh:
            with naming(event.place):
                row = rows.get(event.body.record_id)
                if row is None or row.pseudonym != event.body.pii_principal_id:
                    raise ConsentRefusedError(
                        "There is no such consent of this merchant.",
                        field="record_id",
                        remedy="Submit the consent first.",
                    )
                row.state = next_state(row.state, row.state_time, event.body, now)
            row.state_time = max(row.state_time, seconds(event.body.event_time))
            items.append(_event_item(event, row))
        session.execute(insert(ConsentEventRow), [_event_values(event, seconds(now)) for event in fresh])
        entries = [
            NewEntry(
                "consent-event",
                self._hub_id,
                event.body.pii_principal_id,
                {"event": event.body.event},
                hidden={"consent": event.body.record_id.encode(), "artefact": event.sha256},
            )
            for event in fresh
        ]
        ids = self._log.append_many(session, entries)
        self._feed.publish_many(session, items)
        return items, self._opened(session, [event.sha256 for event in fresh], ids)

    def read(self, record_id: str, *, party_id: str | None = None) -> StoredConsent:
        """Return a consent with its events.

        Args:
            record_id: of the consent.
            party_id: who asks; only parties that the consent names may see it. None for the hub itself.

        Raises:
            NotFoundError: there is none that this party may see.
        """
        with self._db.reading() as session:
            row = session.get(ConsentRow, record_id)
            if row is None or (party_id is not None and session.get(ConsentPartyRow, (record_id, party_id)) is None):
                raise NotFoundError(
                    "There is no such consent that names you.",
                    field="record_id",
                    remedy="Ask the merchant for its consent.",
                )
            return _with_events(session, row)

    def of_merchant(self, pseudonym: bytes) -> tuple[StoredConsent, ...]:
        """Return all consents of a merchant, the oldest first."""
        with self._db.reading() as session:
            query = select(ConsentRow).where(ConsentRow.pseudonym == pseudonym)
            rows = session.scalars(query.order_by(ConsentRow.event_time, ConsentRow.record_id)).all()
            return tuple(_with_events(session, row) for row in rows)

    def naming(self, party_id: str, pseudonym: bytes) -> tuple[StoredConsent, ...]:
        """Return a merchant's consents that name a party, the oldest first."""
        return tuple(each for each in self.of_merchant(pseudonym) if party_id in named_parties(each.record))

    def records(self, record_ids: Iterable[str], *, session: Session | None = None) -> dict[str, ConsentRecord]:
        """Return stored consents by id, whatever their state; unknown ids are absent."""
        if session is not None:
            wanted = list(dict.fromkeys(record_ids))
            found: dict[str, ConsentRecord] = {}
            for start in range(0, len(wanted), _AT_ONCE):
                rows = session.connection().execute(_TOKENS, {"wanted": wanted[start : start + _AT_ONCE]})
                found.update((record_id, record_of(token)) for record_id, token in rows)
            return found
        with self._db.reading() as own:
            return self.records(record_ids, session=own)


@lru_cache(maxsize=2048)
def record_of(token: str) -> ConsentRecord:
    """Parse a stored consent; it was verified before it was stored. Where it stands is not part of it."""
    return ConsentRecord.model_validate_json(peek_payload(token))


def forget_receipt(session: Session, pseudonym: bytes) -> None:
    """Cut the times at which a merchant's consents and events came down to their day (UTC)."""
    own = select(ConsentRow.record_id).where(ConsentRow.pseudonym == pseudonym)
    consents = update(ConsentRow).where(ConsentRow.pseudonym == pseudonym)
    events = update(ConsentEventRow).where(ConsentEventRow.record_id.in_(own))
    session.execute(consents.values(received_at=ConsentRow.received_at - ConsentRow.received_at % _DAY_S))
    session.execute(events.values(received_at=ConsentEventRow.received_at - ConsentEventRow.received_at % _DAY_S))


def forget_receipts_before(session: Session, time: int) -> None:
    """Cut the times before `time` (Unix seconds) at which consents and events came down to their day (UTC)."""
    for table in (ConsentRow, ConsentEventRow):
        old = update(table).where(table.received_at < time, table.received_at % _DAY_S != 0)
        session.execute(old.values(received_at=table.received_at - table.received_at % _DAY_S))


def named_parties(record: ConsentRecord) -> frozenset[str]:
    """Return all parties that a consent names; they hold copies of it."""
    return frozenset((*record.sources.values(), *record.recipients))


def _artefact(artefact: Verified[ConsentRecord] | Verified[ConsentEvent], record: ConsentRecord) -> Artefact:
    return Artefact(artefact.sha256, record.pii_principal_id, named_parties(record))


def _ids(consents: Iterable[Verified[ConsentRecord]]) -> list[str]:
    return [consent.body.record_id for consent in consents]


def _rows(session: Session, record_ids: Iterable[str], *, locked: bool = False) -> dict[str, ConsentRow]:
    wanted = sorted(set(record_ids))
    found: dict[str, ConsentRow] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(ConsentRow).where(ConsentRow.record_id.in_(wanted[start : start + _AT_ONCE]))
        query = query.order_by(ConsentRow.record_id)
        found.update((row.record_id, row) for row in session.scalars(query.with_for_update() if locked else query))
    return found


def _known_events(session: Session, events: Sequence[Verified[ConsentEvent]]) -> dict[str, bytes]:
    ids = [event.body.event_id for event in events]
    known: dict[str, bytes] = {}
    for start in range(0, len(ids), _AT_ONCE):
        query = select(ConsentEventRow.event_id, ConsentEventRow.payload_sha256)
        for event_id, sha256 in session.execute(
            query.where(ConsentEventRow.event_id.in_(ids[start : start + _AT_ONCE]))
        ):
            known[event_id] = sha256
    return known


def _consent_values(consent: Verified[ConsentRecord], now: int) -> dict[str, object]:
    record = consent.body
    return {
        "record_id": record.record_id,
        "pseudonym": record.pii_principal_id,
        "payload_sha256": consent.sha256,
        "token": consent.token,
        "key_id": consent.key_id,
        "state": GIVEN,
        "state_time": seconds(record.event_time),
        "training": TRAINING in record.purposes,
        "sources": json.dumps(record.sources, sort_keys=True),
        "notice": notice_key(record.privacy_notice),
        "event_time": seconds(record.event_time),
        "valid_from": seconds(record.valid_from),
        "valid_until": seconds(record.valid_until),
        "received_at": now,
    }


def _event_values(event: Verified[ConsentEvent], now: int) -> dict[str, object]:
    return {
        "event_id": event.body.event_id,
        "record_id": event.body.record_id,
        "payload_sha256": event.sha256,
        "event": event.body.event,
        "token": event.token,
        "key_id": event.key_id,
        "event_time": seconds(event.body.event_time),
        "received_at": now,
    }


def _event_item(event: Verified[ConsentEvent], row: ConsentRow) -> NewItem:
    # Nodes know the key that came with the consent; where the merchant has a newer one, it travels along.
    newer = event.key_id != row.key_id
    return NewItem(
        named_parties(record_of(row.token)),
        "consent-event",
        record_id=row.record_id if newer else None,
        key_id=event.key_id if newer else None,
        token=event.token,
    )


def _with_events(session: Session, row: ConsentRow) -> StoredConsent:
    key = session.get_one(MerchantKeyRow, row.key_id)
    batch = session.get_one(MerchantKeyBatchRow, key.batch_id)
    query = select(ConsentEventRow.token).where(ConsentEventRow.record_id == row.record_id)
    return StoredConsent(
        record=record_of(row.token),
        state=row.state,
        item=ConsentItem(consent=row.token, merchant_key=statement_of(key, batch)),
        events=tuple(session.scalars(query.order_by(ConsentEventRow.id))),
    )
