"""Consents against their merchants' signatures, their events, and the log.

P1  A row says what its token says; the token is signed by the key that is on record, and that key's place in its batch
    is proved.
P2  The state is what the events lead to.
P3  The log has an entry of each consent and event, found by the salts beside it, and no entry of one that is not there.
    Where a merchant's salts were erased (PIPL 47), or are past the limit, nobody can tell any more: these are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from crypto.errors import CryptoError
from crypto.jws import parse_canonical, peek_payload, verify_merchant
from crypto.log_index import commit
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.notices import notice_key
from crypto.wire.audit import LogEntry
from crypto.wire.consent import ConsentEvent, ConsentRecord
from crypto.wire.party import MerchantKeyBatch
from hub.clock import seconds
from hub.consent_checks import GIVEN, PAUSED
from hub.examination.shown import SHOWN
from hub.merchant_keys import statement_of
from hub.services import Hub
from hub.tables.consents import ConsentEventRow, ConsentRow
from hub.tables.log import LogEntryRow, LogPendingRow, SubjectSaltRow
from hub.tables.parties import MerchantKeyBatchRow, MerchantKeyRow
from models.findings import Finding, Findings
from models.said import Said, said

_MERCHANTS = 200
_DAY_S = 86_400
_STATES = {"paused": PAUSED, "resumed": GIVEN, "revoked": "revoked", "refused": "refused"}
REMEDY = said(
    "stop the hub and keep the database; restore the newest backup, and reconcile it with the nodes' journals"
)


@dataclass
class _Merchant:
    """One merchant's rows, and what the log says of them.

    Attributes:
        opened: (type, fact `artefact`, salt) of the log's entries about consents whose salt is there.
    """

    consents: list[ConsentRow] = field(default_factory=list)
    events: dict[str, list[ConsentEventRow]] = field(default_factory=lambda: defaultdict(list))
    opened: list[tuple[str, str, bytes]] = field(default_factory=list)


@dataclass
class _Counts:
    consents: int = 0
    events: int = 0
    unlinked: int = 0
    faults: int = 0


def examine_consents(hub: Hub, *, progress: Callable[[int], None] = lambda _consents: None) -> Iterator[Finding]:
    """P1 to P3; at most `SHOWN` faults are told one by one."""
    found = Findings("consents", hub.config.hub_id)
    counts = _Counts()
    last = b""
    while True:
        with hub.db.reading() as session:
            page = _next_merchants(session, last)
            if not page:
                break
            for pseudonym, merchant in _load(session, page).items():
                for what in _faults(session, pseudonym, merchant, counts):
                    counts.faults += 1
                    if counts.faults <= SHOWN:
                        yield found.fault(what, REMEDY)
            last = page[-1]
        progress(counts.consents)
    if counts.faults > SHOWN:
        yield found.fault(said("{number} faults in all; the first are shown", number=counts.faults), REMEDY)
    if not counts.faults:
        yield found.ok(
            said(
                "{consents} consents and {events} events are signed and in the log; of {unlinked} the link to the log "
                "was erased",
                consents=counts.consents,
                events=counts.events,
                unlinked=counts.unlinked,
            )
        )


def _next_merchants(session: Session, after: bytes) -> list[bytes]:
    both = union(
        select(ConsentRow.pseudonym).where(ConsentRow.pseudonym > after),
        select(SubjectSaltRow.pseudonym).where(SubjectSaltRow.pseudonym > after),
    ).subquery()
    return list(session.scalars(select(both.c.pseudonym).order_by(both.c.pseudonym).limit(_MERCHANTS)))


def _load(session: Session, page: Sequence[bytes]) -> dict[bytes, _Merchant]:
    found = {pseudonym: _Merchant() for pseudonym in page}
    owners: dict[str, bytes] = {}
    for row in session.scalars(select(ConsentRow).where(ConsentRow.pseudonym.in_(page))):
        found[row.pseudonym].consents.append(row)
        owners[row.record_id] = row.pseudonym
    own = select(ConsentRow.record_id).where(ConsentRow.pseudonym.in_(page))
    events = select(ConsentEventRow).where(ConsentEventRow.record_id.in_(own)).order_by(ConsentEventRow.id)
    for event in session.scalars(events):
        found[owners[event.record_id]].events[event.record_id].append(event)
    salts = (
        select(SubjectSaltRow.pseudonym, SubjectSaltRow.salt, LogEntryRow.leaf, LogPendingRow.leaf)
        .outerjoin(LogEntryRow, LogEntryRow.pending_id == SubjectSaltRow.pending_id)
        .outerjoin(LogPendingRow, LogPendingRow.id == SubjectSaltRow.pending_id)
        .where(SubjectSaltRow.pseudonym.in_(page))
    )
    for pseudonym, salt, placed, waiting in session.execute(salts):
        entry = LogEntry.model_validate_json(placed or waiting or b"{}") if placed or waiting else None
        if entry is None:
            found[pseudonym].opened.append(("missing", "", salt))
        elif entry.subject != commit(salt, pseudonym):
            found[pseudonym].opened.append(("foreign", "", salt))
        elif entry.type in ("consent", "consent-event"):
            found[pseudonym].opened.append((entry.type, str(entry.facts.get("artefact")), salt))
    return found


def _faults(session: Session, pseudonym: bytes, merchant: _Merchant, counts: _Counts) -> Iterator[Said]:
    due: dict[bytes, tuple[str, int]] = {}
    for row in merchant.consents:
        counts.consents += 1
        yield from (said("consent {id}: {what}", id=row.record_id, what=each) for each in _row_faults(session, row))
        due[row.payload_sha256] = (row.record_id, row.received_at)
        state = GIVEN
        for event in merchant.events.get(row.record_id, []):
            counts.events += 1
            if (what := _event_fault(session, event, row)) is not None:
                yield said("consent {id}: {what}", id=row.record_id, what=what)
            due[event.payload_sha256] = (row.record_id, event.received_at)
            state = _STATES.get(event.event, event.event)
        if row.state != state:
            yield said(
                "consent {id}: {what}",
                id=row.record_id,
                what=said("it is {state}, and its events lead to {due}", state=row.state, due=state),
            )
    yield from _log_faults(pseudonym, merchant, due, counts)


def _log_faults(
    pseudonym: bytes, merchant: _Merchant, due: dict[bytes, tuple[str, int]], counts: _Counts
) -> Iterator[Said]:
    """P3."""
    seen: set[bytes] = set()
    for kind, artefact, salt in merchant.opened:
        if kind in ("missing", "foreign"):
            yield said("a salt of merchant {who}… opens no entry of the log", who=pseudonym.hex()[:12])
            continue
        match = next((each for each in due if commit(salt, each).hex() == artefact), None)
        if match is None:
            yield said(
                "the log has a {kind} of merchant {who}… that is not stored", kind=kind, who=pseudonym.hex()[:12]
            )
        else:
            seen.add(match)
    for sha256, (record_id, received_at) in due.items():
        if sha256 in seen:
            continue
        if received_at % _DAY_S == 0:  # cut down to its day, together with the salt (`hub.retention`, `hub.erasure`)
            counts.unlinked += 1
        else:
            yield said("consent {id}: {what}", id=record_id, what=said("the log has no entry of it, or of its event"))


def _row_faults(session: Session, row: ConsentRow) -> Iterator[Said]:
    try:
        payload = peek_payload(row.token)
        record = parse_canonical(payload, ConsentRecord)
    except CryptoError:
        yield said("its token cannot be read")
        return
    stored = (row.record_id, row.pseudonym, row.payload_sha256, row.notice, json.loads(row.sources))
    signed = (record.record_id, record.pii_principal_id, hashlib.sha256(payload).digest())
    times = (row.event_time, row.valid_from, row.valid_until)
    if stored != (*signed, notice_key(record.privacy_notice), dict(record.sources)) or times != tuple(
        seconds(each) for each in (record.event_time, record.valid_from, record.valid_until)
    ):
        yield said("the row says something else than what the merchant signed")
    if not _signed(session, row.key_id, row.token, "consent", row.pseudonym):
        yield said("it is not signed by the merchant's key")


def _event_fault(session: Session, event: ConsentEventRow, row: ConsentRow) -> Said | None:
    try:
        payload = peek_payload(event.token)
        signed = parse_canonical(payload, ConsentEvent)
    except CryptoError:
        return said("the token of one of its events cannot be read")
    stored = (event.event_id, event.record_id, event.event, event.event_time, event.payload_sha256)
    due = (
        signed.event_id,
        signed.record_id,
        signed.event,
        seconds(signed.event_time),
        hashlib.sha256(payload).digest(),
    )
    if stored != due or signed.pii_principal_id != row.pseudonym:
        return said("an event says something else than what was signed")
    if not _signed(session, event.key_id, event.token, "consent-event", row.pseudonym):
        return said("one of its events is not signed by the merchant's key")
    return None


def _signed(session: Session, key_id: int, token: str, typ: str, pseudonym: bytes) -> bool:
    """P1: by that key, which has its place in the batch that platform and bank signed."""
    key = session.get(MerchantKeyRow, key_id)
    batch = None if key is None else session.get(MerchantKeyBatchRow, key.batch_id)
    if key is None or batch is None or key.pseudonym != pseudonym:
        return False
    statement = statement_of(key, batch)
    try:
        signed = parse_canonical(peek_payload(batch.batch), MerchantKeyBatch)
        verify_inclusion(leaf_hash(key.leaf), statement.index, signed.size, statement.proof, signed.root)
        verify_merchant(token, dict(statement.leaf.jwk), typ=typ)
    except CryptoError:
        return False
    return statement.leaf.pseudonym == pseudonym
