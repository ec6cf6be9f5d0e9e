"""Consents that name this node: verified at receipt, kept exactly, followed by the merchants' signed events (2).

C1  The merchant's key: platform and bank signed for it, and no newer one is known (`nodes.merchant_keys`).
C2  The consent's exact bytes verify under that key, and are the canonical form of a record about that very merchant.
C3  The record names this node, as the source of its own kind or as a recipient; its id is new or the bytes are known.
C4  Events verify under the merchant's newest key: known from a consent or an earlier event, or brought along by this
    one in a statement that both signed. Once a newer key is known, an older one signs nothing any more (the phone may
    be lost). Revocation, refusal and expiry are final and count whatever their time. Only a paused consent is resumed,
    by an event not older than the pause, so that an old one cannot be played again.

What fails is refused, journalled and never stored as a consent, and holds up nothing else of the feed.

**Notices.** An active consent counts only while its notice is registered, explains its purposes and was not superseded
by one that asks again (`crypto.notices`); else its state is `notice-unknown` or `notice-superseded`.

Which of a merchant's consents counts, for a campaign or for a query, is told by `nodes.counting_consents`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, Select, bindparam, literal_column, select
from sqlalchemy.orm import Session

from crypto.dated import verify_dated
from crypto.errors import CryptoError, SignatureError
from crypto.jws import parse_canonical, peek_kid, peek_payload, verify_merchant
from crypto.notices import NoticeRegister, notice_key
from crypto.wire.consent import ConsentEvent, ConsentRecord, FeedItem, Purpose
from models.errors import ModelsError
from models.schema import Schema
from nodes.clock import Clock, system_clock
from nodes.counting_consents import TRAINING, Counting, newest_counting
from nodes.errors import NodeError, PolicyRefusal, StoreUnavailable
from nodes.journal import Journal
from nodes.merchant_keys import MerchantKeyVerifier, VerifiedKey
from nodes.notices import Notices
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.consents import ConsentEventRow, ConsentRow, MerchantKeyRow
from nodes.training_context import Pseudonyms

ConsentState = Literal[
    "active",
    "paused",
    "revoked",
    "refused",
    "expired",
    "not-yet-valid",
    "notice-unknown",
    "notice-superseded",
    "unknown",
]
CONSENT_TYPE = "consent"
EVENT_TYPE = "consent-event"
TAKEN, REFUSED = "consents-taken", "feed-item-refused"
"""Notes of the journal: payload hashes of the consents and events of a page of the feed; an item that was refused."""
_SUPERSEDED = "merchant-key-superseded"
FINAL = frozenset({"revoked", "refused", "expired"})
_LOOKUP = 500  # SQLite binds a limited number of values
_HELD = (
    ConsentRow.record_id,
    ConsentRow.pseudonym,
    ConsentRow.token,
    ConsentRow.state,
    ConsentRow.valid_from,
    ConsentRow.valid_until,
)
_BY_ID = select(*_HELD).where(ConsentRow.record_id.in_(bindparam("wanted", expanding=True)))
_NEWEST_FIRST = (
    ConsentRow.event_time.desc(),
    ConsentRow.record_id.desc(),
)  # as training takes them, here and at the hub
_STATES: dict[str, ConsentState] = {
    "given": "active",
    "resumed": "active",
    "paused": "paused",
    "revoked": "revoked",
    "refused": "refused",
    "expired": "expired",
}


@dataclass(frozen=True)
class HeldConsent:
    """A consent as the node holds it, and where it stands at the time it was asked for."""

    record: ConsentRecord
    state: ConsentState
    token: str


@dataclass(frozen=True)
class ConsentChange:
    """An event of a consent, as its signer dated it."""

    event: str
    time: datetime


@dataclass(frozen=True)
class _Verified:
    record: ConsentRecord
    key: VerifiedKey
    token: str


class ConsentStore:
    """The node's consents. It is training's `ConsentBook` and takes the feed's items of consents and events."""

    def __init__(
        self,
        store: Store,
        roster: RosterBook,
        notices: Notices,
        *,
        party_id: str,
        kind: str,
        keys: MerchantKeyVerifier,
        journal: Journal,
        clock: Clock = system_clock,
        require_fresh: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        store, roster, notices, journal, clock: the node's.
        party_id, kind: who this node is.
        keys: verifies merchants' keys.
        require_fresh: raises when a revocation might not have arrived; training asks it first.
        """
        self._require_fresh = require_fresh
        self._store = store
        self._roster = roster
        self._notices = notices
        self._party_id = party_id
        self._kind = kind
        self._keys = keys
        self._journal = journal
        self._clock = clock

    def apply(self, item: FeedItem) -> None:
        """Take one item of the feed.

        Raises:
            PolicyRefusal: it was refused; `reason` says why, and the journal has it too.
        """
        (code,) = self.apply_all([item])
        if code is not None:
            raise PolicyRefusal(
                code, f"the feed's item {item.seq} was refused: {code}", field="items", remedy="see the node's journal"
            )

    def apply_all(self, items: Sequence[FeedItem]) -> list[str | None]:
        """Take items of the feed in one transaction; for each the code of its refusal, or None."""
        # Signatures are checked before the store's one write lock is taken.
        verified = [self._verified(item) if item.kind == CONSENT_TYPE else None for item in items]
        with self._store.session() as session:
            known = self._rows(session, verified)
            codes = [self._take(session, known, item, each) for item, each in zip(items, verified, strict=True)]
            for item, code in zip(items, codes, strict=True):
                if code is not None:
                    facts = {"seq": item.seq, "kind": item.kind, "code": code, "sha256": _payload_sha256(item)}
                    self._journal.note(REFUSED, facts, session=session)
            taken = [str(_payload_sha256(item)) for item, code in zip(items, codes, strict=True) if code is None]
            if taken:
                # What a hub acknowledged and this node never took shows when its journal is reconciled (8).
                self._journal.note(TAKEN, {"sha256": ",".join(taken)}, session=session)
        return codes

    def get(self, record_id: str, now: datetime, *, session: Session | None = None) -> HeldConsent | None:
        """A consent and its state, or None."""
        return self.get_all([record_id], now, session=session).get(record_id)

    def get_all(
        self, record_ids: Iterable[str], now: datetime, *, session: Session | None = None
    ) -> dict[str, HeldConsent]:
        """Consents by id; those that the node does not hold are left out."""
        if session is None:
            with self._store.reading() as own:
                return self.get_all(record_ids, now, session=own)
        wanted = list(dict.fromkeys(record_ids))
        found: dict[str, HeldConsent] = {}
        notices = self._notices.register(session)
        session.flush()
        for start in range(0, len(wanted), _LOOKUP):
            part = {"wanted": wanted[start : start + _LOOKUP]}
            rows = session.connection().execute(_BY_ID, part).all()
            found.update((row.record_id, _held(row, notices, now)) for row in rows)
        return found

    def state(self, record_id: str, now: datetime) -> ConsentState:
        """Where a consent stands; `unknown` if the node does not hold it."""
        held = self.get(record_id, now)
        return "unknown" if held is None else held.state

    def events(self, record_id: str) -> list[ConsentChange]:
        """What became of a consent since it was given, in order of time."""
        query = select(ConsentEventRow).where(ConsentEventRow.record_id == record_id)
        arrived: ColumnElement[int] = literal_column("rowid")  # of two in one second
        with self._store.reading() as session:
            rows = session.scalars(query.order_by(ConsentEventRow.event_time, arrived)).all()
        return [ConsentChange(row.event, datetime.fromtimestamp(row.event_time, UTC)) for row in rows]

    def of_merchant(self, pseudonym: bytes, now: datetime) -> list[HeldConsent]:
        """All consents of a merchant that name this node, newest first."""
        return self.of_merchants([pseudonym], now).get(pseudonym, [])

    def of_merchants(self, pseudonyms: Iterable[bytes], now: datetime) -> dict[bytes, list[HeldConsent]]:
        """As `of_merchant`, by merchant; one without consents is left out."""
        wanted = list(dict.fromkeys(pseudonyms))
        found: dict[bytes, list[HeldConsent]] = {}
        notices = self._notices.register()
        for start in range(0, len(wanted), _LOOKUP):
            query = select(ConsentRow).where(ConsentRow.pseudonym.in_(wanted[start : start + _LOOKUP]))
            for row in self._query(query.order_by(*_NEWEST_FIRST), None):
                found.setdefault(row.pseudonym, []).append(_held(row, notices, now))
        return found

    def all(self, now: datetime, *, limit: int, offset: int = 0) -> list[HeldConsent]:
        """A page of all consents, newest first."""
        query = select(ConsentRow).order_by(*_NEWEST_FIRST)
        notices = self._notices.register()
        return [_held(row, notices, now) for row in self._query(query.limit(limit).offset(offset), None)]

    def sources(
        self, pseudonyms: Pseudonyms, schema: Schema, purpose: Purpose = TRAINING
    ) -> dict[str, list[str | None]]:
        """By kind, the source that each merchant's consent names, or None (see the module: training cohorts).

        Args:
            pseudonyms: (n, 32) merchants of a slice.
            schema: the campaign's.
            purpose: what the campaign is for: model training or programme statistics.

        Raises:
            PolicyRefusal: a merchant has no active consent with this purpose that counts and names this node,
                or the feed is stale.
        """
        merchants, counting = self._counting(pseudonyms, schema, purpose)
        found: dict[str, list[str | None]] = {kind: [] for kind in schema.kinds_in_order()}
        for merchant in merchants:
            if merchant not in counting:
                raise PolicyRefusal(
                    "consent-unknown",
                    f"a merchant of the slice has no active consent to {purpose} that names this node",
                    field="pseudonyms",
                    remedy="the hub must form the cohort from consents that are active now",
                )
            for kind, parties in found.items():
                parties.append(counting[merchant].sources.get(kind))
        return found

    def counting(self, pseudonyms: Pseudonyms, schema: Schema) -> list[str | None]:
        """Ids of the consents that count for a campaign and name this node, in order of merchants; None without one.

        Args:
            pseudonyms: (n, 32).
            schema: the campaign's.

        Raises:
            PolicyRefusal: the feed is stale.
        """
        merchants, counting = self._counting(pseudonyms, schema)
        return [counting[merchant].record_id if merchant in counting else None for merchant in merchants]

    def _counting(
        self, pseudonyms: Pseudonyms, schema: Schema, purpose: Purpose = TRAINING
    ) -> tuple[list[bytes], dict[bytes, Counting]]:
        self._require_fresh()
        data = np.ascontiguousarray(pseudonyms).tobytes()
        merchants = [data[at : at + 32] for at in range(0, len(data), 32)]
        moment = self._clock()
        with self._store.reading() as session:
            usable = self._notices.register(session).usable(purpose, moment)
            newest = newest_counting(session, set(merchants), schema, purpose, usable=usable, now=moment)
        return merchants, {
            merchant: each for merchant, each in newest.items() if each.sources.get(self._kind) == self._party_id
        }

    def _verified(self, item: FeedItem) -> _Verified | str:
        """C1 and C2; the code of the refusal where they fail."""
        if item.consent is None:
            return "feed-item-invalid"
        try:
            key = self._keys.verify(item.consent.merchant_key)
            payload = verify_merchant(item.consent.consent, key.jwk, typ=CONSENT_TYPE)
            record = parse_canonical(payload, ConsentRecord)
        except (CryptoError, ModelsError, NodeError) as problem:
            return _code_of(problem)
        if record.pii_principal_id != key.pseudonym:
            return "signature-invalid"
        named = self._party_id in record.recipients or record.sources.get(self._kind) == self._party_id
        misplaced = any(party == self._party_id and kind != self._kind for kind, party in record.sources.items())
        if misplaced or not named:
            return "consent-names-others"
        return _Verified(record, key, item.consent.consent)

    def _rows(self, session: Session, verified: Iterable[_Verified | str | None]) -> _Known:
        """What the store has of the consents, and the keys of their merchants, that these items are about."""
        fresh = [each for each in verified if isinstance(each, _Verified)]
        known = _Known({}, {})
        ids = [each.record.record_id for each in fresh]
        for start in range(0, len(ids), _LOOKUP):
            part = select(ConsentRow).where(ConsentRow.record_id.in_(ids[start : start + _LOOKUP]))
            known.consents.update((row.record_id, row) for row in session.scalars(part))
        merchants = list({each.key.pseudonym for each in fresh})
        for start in range(0, len(merchants), _LOOKUP):
            keys = select(MerchantKeyRow).where(MerchantKeyRow.pseudonym.in_(merchants[start : start + _LOOKUP]))
            known.keys.update((row.pseudonym, row) for row in session.scalars(keys))
        return known

    def _take(self, session: Session, known: _Known, item: FeedItem, verified: _Verified | str | None) -> str | None:
        if isinstance(verified, str):
            return verified
        if verified is not None:
            return self._add(session, known, verified)
        try:
            return self._follow(session, known, item)
        except (CryptoError, ModelsError, NodeError) as problem:
            return _code_of(problem)

    def _add(self, session: Session, known: _Known, verified: _Verified) -> str | None:
        """C3, and C1 as to newer keys."""
        record, key = verified.record, verified.key
        row = known.consents.get(record.record_id)
        if row is not None:
            return None if row.token == verified.token else "record-id-reused"
        newest = known.keys.get(key.pseudonym)
        if newest is None:
            known.keys[key.pseudonym] = row_of_key = _key_row(key)
            session.add(row_of_key)
        elif not _is_newest(newest, key):
            return _SUPERSEDED
        row = ConsentRow(
            record_id=record.record_id,
            pseudonym=record.pii_principal_id,
            token=verified.token,
            sources=json.dumps(record.sources),
            notice=notice_key(record.privacy_notice),
            training=TRAINING in record.purposes and record.sources.get(self._kind) == self._party_id,
            event_time=int(record.event_time.timestamp()),
            valid_from=int(record.valid_from.timestamp()),
            valid_until=int(record.valid_until.timestamp()),
            state="given",
            state_time=int(record.event_time.timestamp()),
        )
        known.consents[record.record_id] = row
        session.add(row)
        return None

    def _follow(self, session: Session, known: _Known, item: FeedItem) -> str | None:
        """C4."""
        if item.token is None:
            return "feed-item-invalid"
        claimed = _unverified_event(item.token)
        row = known.consents.get(claimed.record_id) or session.get(ConsentRow, claimed.record_id)
        if row is None:
            return "consent-unknown"
        if claimed.event == "expired" and peek_kid(item.token, typ=EVENT_TYPE) == self._roster.hub_id:
            event = verify_dated(
                item.token,
                self._roster.hub_keys,
                ConsentEvent,
                typ=EVENT_TYPE,
                date=lambda signed: signed.event_time,
            )
        else:
            event = self._merchants_event(session, known, item, row)
        if event.pii_principal_id != row.pseudonym:
            return "signature-invalid"
        if session.get(ConsentEventRow, event.event_id) is not None:
            return None  # met before
        time = int(event.event_time.timestamp())
        code = _transition_refusal(row, event, time)
        if code is not None:
            return code
        row.state, row.state_time = event.event, max(row.state_time, time)
        session.add(
            ConsentEventRow(
                event_id=event.event_id, record_id=row.record_id, event=event.event, event_time=time, token=item.token
            )
        )
        return None

    def _merchants_event(self, session: Session, known: _Known, item: FeedItem, row: ConsentRow) -> ConsentEvent:
        """C4: an event under the merchant's newest key, which may have come with it."""
        newest = known.keys.get(row.pseudonym) or session.get_one(MerchantKeyRow, row.pseudonym)
        if item.consent is not None:
            key = self._keys.verify(item.consent.merchant_key)
            if key.pseudonym == row.pseudonym and not _is_newest(newest, key):
                raise PolicyRefusal(
                    _SUPERSEDED,
                    "the merchant's key that came with an event was replaced by a newer one",
                    field="items",
                    remedy="the merchant signs again with its new key",
                )
        jwk: dict[str, str] = json.loads(newest.jwk)
        return parse_canonical(verify_merchant(item.token or "", jwk, typ=EVENT_TYPE), ConsentEvent)

    def _query(self, query: Select[ConsentRow], session: Session | None) -> Sequence[ConsentRow]:
        if session is not None:
            return session.scalars(query).all()
        with self._store.reading() as own:
            return own.scalars(query).all()


@dataclass
class _Known:
    """Rows that a run of items is about, by id and by merchant; new ones are added as they come."""

    consents: dict[str, ConsentRow]
    keys: dict[bytes, MerchantKeyRow]


def _key_row(key: VerifiedKey) -> MerchantKeyRow:
    return MerchantKeyRow(pseudonym=key.pseudonym, issued_at=_issued_at(key), jwk=json.dumps(key.jwk, sort_keys=True))


def _issued_at(key: VerifiedKey) -> int:
    return int(key.issued_at.timestamp())


def _is_newest(known: MerchantKeyRow, key: VerifiedKey) -> bool:
    """Whether no key issued later is known; the row then becomes this key's."""
    issued_at = _issued_at(key)
    if issued_at < known.issued_at:
        return False
    known.issued_at, known.jwk = issued_at, json.dumps(key.jwk, sort_keys=True)
    return True


def _payload_sha256(item: FeedItem) -> str | None:
    """Of the artefact that an item brings (hex); None where it is malformed."""
    token = item.consent.consent if item.kind == CONSENT_TYPE and item.consent is not None else item.token
    try:
        return hashlib.sha256(peek_payload(token or "")).hexdigest()
    except CryptoError:
        return None


def _code_of(problem: CryptoError | ModelsError | NodeError) -> str:
    """The code of a refusal; what only the disk refused comes again with its page."""
    if isinstance(problem, StoreUnavailable):
        raise problem
    return problem.reason if isinstance(problem, PolicyRefusal) else problem.code


def _transition_refusal(row: ConsentRow, event: ConsentEvent, time: int) -> str | None:
    """C4: why an event does not count, or None."""
    if row.state in FINAL:
        return "consent-final"
    if event.event in FINAL:
        return None
    if event.event == "paused":
        # A pause while paused moves its time on, so that a resumption older than it cannot undo it.
        return None if time >= row.state_time or row.state == "paused" else "consent-event-old"
    if event.event == "resumed" and row.state == "paused" and time >= row.state_time:
        return None
    return "consent-event-out-of-order"


def _held(row: ConsentRow | Row[*tuple[Any, ...]], notices: NoticeRegister, now: datetime) -> HeldConsent:
    record = _record(row.token)
    state = _STATES[row.state]
    if state in ("active", "paused"):
        if now >= datetime.fromtimestamp(row.valid_until, UTC):
            state = "expired"
        elif state == "active" and now < datetime.fromtimestamp(row.valid_from, UTC):
            state = "not-yet-valid"
    if state == "active":
        notice = notices.state(record.privacy_notice, record.purposes, now)
        state = state if notice == "current" else notice
    return HeldConsent(record, state, row.token)


@lru_cache(maxsize=2048)
def _record(token: str) -> ConsentRecord:
    """What a stored consent says: of its exact bytes, which were verified before they were stored. Where it stands is
    not part of it, and is read each time."""
    return ConsentRecord.model_validate_json(peek_payload(token))


def _unverified_event(token: str) -> ConsentEvent:
    """**Nothing is verified yet**: only to find the consent, hence the key, that an event is about."""
    try:
        return ConsentEvent.model_validate_json(peek_payload(token))
    except ValidationError as problem:
        raise SignatureError(
            "the token is no consent event", field="token", remedy="ask the hub for the item again"
        ) from problem
