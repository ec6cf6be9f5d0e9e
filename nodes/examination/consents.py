"""Consents that the node holds, against their merchants' signatures, their events, and the journal.

N1  A row says what its token says, and the token is signed by the merchant's newest key. (A key that was replaced
    since is not kept: such consents are counted, and the journal alone vouches for them.)
N2  The state is what the events lead to, and each event says what its token says.
N3  The journal names what was taken, by the hash of its bytes: what it does not name was put there, what is not there
    any more was removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError
from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.orm import Session

from crypto.errors import CryptoError
from crypto.jws import parse_canonical, peek_payload, verify_merchant
from crypto.notices import notice_key
from crypto.wire.consent import ConsentEvent, ConsentRecord
from models.findings import Finding, Findings
from models.said import said
from nodes.consents import CONSENT_TYPE, TAKEN
from nodes.journal import Journal
from nodes.store import Store
from nodes.tables.consents import ConsentEventRow, ConsentRow, MerchantKeyRow

_BLOCK = 500
SHOWN = 20


@dataclass
class _Seen:
    """What the rows hold: hashes of payloads, and how many consents were signed by a key that is not kept."""

    hashes: dict[bytes, str] = field(default_factory=dict)
    replaced: int = 0
    number: int = 0


def examine_consents(store: Store, party_id: str) -> Iterator[Finding]:
    """N1 to N3; at most `SHOWN` faults of a sort are told one by one."""
    found = Findings("consents", party_id)
    seen = _Seen()
    faults = 0
    for each in _rows_at_fault(store, found, seen):
        faults += 1
        if faults <= SHOWN:
            yield each
    taken = _taken(store, party_id)
    for sha256, record_id in seen.hashes.items():
        if sha256 not in taken:
            faults += 1
            if faults <= SHOWN:
                yield found.fault(
                    said("consent {id}: the journal does not say that this was ever taken", id=record_id), _REMEDY
                )
    if lost := len(taken - seen.hashes.keys()):
        faults += lost
        yield found.fault(
            said("{number} consents or events that the journal has taken are not in the store", number=lost), _REMEDY
        )
    if faults > SHOWN:
        yield found.fault(said("{number} faults in all; the first are shown", number=faults), _REMEDY)
    if not faults:
        yield found.ok(
            said(
                "{number} consents are signed, and stand in the journal with all their events ({old} under a key that "
                "was replaced since)",
                number=seen.number,
                old=seen.replaced,
            )
        )


_REMEDY = said("stop the node and keep the file; compare its journal with the hub's log (digua-hub audit reconcile)")


def _rows_at_fault(store: Store, found: Findings, seen: _Seen) -> Iterator[Finding]:
    last = ""
    while True:
        with store.reading() as session:
            query = select(ConsentRow).where(ConsentRow.record_id > last).order_by(ConsentRow.record_id).limit(_BLOCK)
            rows = session.scalars(query).all()
            if not rows:
                return
            for row in rows:
                seen.number += 1
                if (what := _consent_fault(session, row, seen)) is not None:
                    yield found.fault(said("consent {id}: {what}", id=row.record_id, what=what), _REMEDY)
            last = rows[-1].record_id


def _consent_fault(session: Session, row: ConsentRow, seen: _Seen) -> object | None:
    try:
        payload = peek_payload(row.token)
        record = parse_canonical(payload, ConsentRecord)
    except (CryptoError, ValidationError):
        return said("its token cannot be read")
    seen.hashes[hashlib.sha256(payload).digest()] = row.record_id
    stored = (row.record_id, row.pseudonym, row.event_time, row.valid_from, row.valid_until, row.notice)
    moments = (int(each.timestamp()) for each in (record.event_time, record.valid_from, record.valid_until))
    if stored != (record.record_id, record.pii_principal_id, *moments, notice_key(record.privacy_notice)):
        return said("the row says something else than what the merchant signed")
    if json.loads(row.sources) != record.sources:
        return said("the row says something else than what the merchant signed")
    key = session.get(MerchantKeyRow, row.pseudonym)
    try:
        verify_merchant(row.token, {} if key is None else json.loads(key.jwk), typ=CONSENT_TYPE)
    except CryptoError:
        if key is None or key.issued_at <= row.event_time:
            return said("it is not signed by the merchant's key")
        seen.replaced += 1
    return _state_fault(session, row, seen)


def _state_fault(session: Session, row: ConsentRow, seen: _Seen) -> object | None:
    """N2."""
    arrived: ColumnElement[int] = literal_column("rowid")
    query = select(ConsentEventRow).where(ConsentEventRow.record_id == row.record_id).order_by(arrived)
    state = "given"
    for each in session.scalars(query):
        try:
            payload = peek_payload(each.token)
            event = parse_canonical(payload, ConsentEvent)
        except (CryptoError, ValidationError):
            return said("the token of one of its events cannot be read")
        seen.hashes[hashlib.sha256(payload).digest()] = row.record_id
        told = (each.event_id, each.record_id, each.event, each.event_time)
        if told != (event.event_id, event.record_id, event.event, int(event.event_time.timestamp())):
            return said("an event says something else than what was signed")
        state = each.event
    if row.state != state:
        return said("it is {state}, and its events lead to {due}", state=row.state, due=state)
    return None


def _taken(store: Store, party_id: str) -> set[bytes]:
    lines = Journal(store, party_id).of_types(TAKEN)
    facts = (json.loads(line.entry)["facts"] for line in lines)
    return {bytes.fromhex(each) for fact in facts for each in str(fact["sha256"]).split(",") if len(each) == 64}
