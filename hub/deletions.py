"""Proofs of deletion that nodes send: verified, stored, logged, told to the merchant (docs/consent.md, 2).

T1  The statement verifies under the roster's key of the party that it is about, and opens to the consent beside it.
T2  The consent names that party, and the statement is not older than the consent nor ahead of the hub's clock.
T3  Statement and log entry are committed together: all of a submission, or none. The same one again changes nothing;
    another one under its id is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.deletions import DELETION_TYPE, check_deletion
from crypto.jws import peek_kid, peek_payload
from crypto.wire.consent import ConsentRecord
from crypto.wire.deletion import DeletionReceipt, DeletionReport, DeletionStatement
from hub.clock import Clock, seconds
from hub.consent_checks import CLOCK_SKEW_S
from hub.consents import named_parties, record_of
from hub.db import Database
from hub.log import AuditLog, NewEntry
from hub.merchant_errors import DeletionRefusedError
from hub.merchant_signatures import naming
from hub.roster import RosterKeeper
from hub.tables.consents import ConsentRow
from hub.tables.deletions import DeletionRow


@dataclass(frozen=True)
class StoredDeletion:
    """A statement as it was sent."""

    record_id: str
    token: str
    salt: bytes
    statement: DeletionStatement
    sha256: bytes


class Deletions:
    """The hub's book of deletions.

    Args:
        db, log, roster, clock: the hub's.
    """

    def __init__(self, db: Database, log: AuditLog, roster: RosterKeeper, *, clock: Clock) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._clock = clock

    def submit(self, reports: Sequence[DeletionReport]) -> DeletionReceipt:
        """T1 to T3: take statements in, all or none.

        Raises:
            PartyUnknownError, SignatureError, ProofError, DeletionRefusedError: `field` begins with `reports.<place>`.
        """
        now = self._clock()
        verified: list[StoredDeletion] = []
        for place, report in enumerate(reports):
            with naming(place, "reports"):
                party = self._roster.party(peek_kid(report.statement, typ=DELETION_TYPE))
                statement = check_deletion(report, party.sign_key, party_id=party.party_id)
                verified.append(_stored(report, statement))
        with self._db.session() as session:
            fresh: dict[str, StoredDeletion] = {}
            pseudonyms: list[bytes] = []
            for place, each in enumerate(verified):
                with naming(place, "reports"):
                    if self._is_known(session, each, fresh):
                        continue
                    row = session.get(ConsentRow, each.record_id)
                    _check(each.statement, None if row is None else record_of(row.token), now)
                    fresh[each.statement.deletion_id] = each
                    pseudonyms.append(b"" if row is None else row.pseudonym)
            session.add_all([_row(each, seconds(now)) for each in fresh.values()])
            entries = [_entry(each, pseudonym) for each, pseudonym in zip(fresh.values(), pseudonyms, strict=True)]
            self._log.append_many(session, entries)
        return DeletionReceipt(stored=len(fresh), known=len(reports) - len(fresh))

    @staticmethod
    def _is_known(session: Session, each: StoredDeletion, fresh: dict[str, StoredDeletion]) -> bool:
        deletion_id = each.statement.deletion_id
        row = session.get(DeletionRow, deletion_id)
        held = row.payload_sha256 if row is not None else None
        if deletion_id in fresh:
            held = fresh[deletion_id].sha256
        if held is not None and held != each.sha256:
            raise DeletionRefusedError(
                "Another statement has this id.",
                field="deletion_id",
                remedy="State each deletion once, under a new id.",
            )
        return held is not None

    def of_records(self, record_ids: Sequence[str]) -> tuple[StoredDeletion, ...]:
        """Return all statements about some consents, in order of receipt."""
        with self._db.reading() as session:
            query = select(DeletionRow).where(DeletionRow.record_id.in_(list(record_ids)))
            rows = session.scalars(query.order_by(DeletionRow.received_at, DeletionRow.deletion_id)).all()
        return tuple(
            _stored(
                DeletionReport(statement=row.token, record_id=row.record_id, salt=row.salt),
                DeletionStatement.model_validate_json(peek_payload(row.token)),
            )
            for row in rows
        )


def _check(statement: DeletionStatement, consent: ConsentRecord | None, now: datetime) -> None:
    """T2."""
    if consent is None or statement.party_id not in named_parties(consent):
        raise DeletionRefusedError(
            "There is no such consent that names the party.",
            field="record_id",
            remedy="State deletions of data that were received under a consent.",
        )
    early = statement.deleted_at < consent.event_time - timedelta(seconds=CLOCK_SKEW_S)
    if early or statement.deleted_at > now + timedelta(seconds=CLOCK_SKEW_S):
        raise DeletionRefusedError(
            "The deletion's time lies before the consent, or ahead of the hub's clock.",
            field="deleted_at",
            remedy="Set the node's clock.",
        )


def _stored(report: DeletionReport, statement: DeletionStatement) -> StoredDeletion:
    sha256 = hashlib.sha256(peek_payload(report.statement)).digest()
    return StoredDeletion(report.record_id, report.statement, report.salt, statement, sha256)


def _row(each: StoredDeletion, now: int) -> DeletionRow:
    return DeletionRow(
        deletion_id=each.statement.deletion_id,
        record_id=each.record_id,
        party_id=each.statement.party_id,
        payload_sha256=each.sha256,
        salt=each.salt,
        token=each.token,
        received_at=now,
    )


def _entry(each: StoredDeletion, pseudonym: bytes) -> NewEntry:
    return NewEntry(
        "deletion",
        each.statement.party_id,
        pseudonym,
        {"reason": each.statement.reason, **{str(kind): number for kind, number in each.statement.counts.items()}},
        hidden={"consent": each.record_id.encode(), "artefact": each.sha256},
    )
