"""The end of data lives: what was kept under a consent is deleted, and the deletion is stated (docs/consent.md, 2).

D1  Due are answers whose data life is over, and all answers under a consent that expired, was revoked or refused.
D2  In one transaction they are deleted, or emptied where a batch's row stays, and a deletion is written down: which
    consent, why, how many of which kind. Where this node received answers under a consent that has ended, and none is
    left (the owner deleted them, or they were only shown), that is written down as well: with no kinds.
D3  The freed bytes are overwritten and the write-ahead log is emptied. While somebody reads, that waits.
D4  Only then the statement is signed, written into the journal and stored.
D5  It is sent to the hub until the hub has it.

Each step starts from what is stored, so a crash between two of them is made good by the next sweep. Also deleted here:
sealed answers of this node whose request has expired, and what attempts left behind that never ended (D6).
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.deletions import DELETION_TYPE, SALT_BYTES, commit_record
from crypto.errors import CryptoError
from crypto.jws import sign_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.deletion import DeletionReason, DeletionReport, DeletionStatement, DeletionSubmission
from crypto.wire.scoring import ScoreAnswer
from nodes.clock import Clock, system_clock
from nodes.consents import FINAL
from nodes.errors import NodeError
from nodes.hub_client import HubClient
from nodes.journal import Fact, Journal
from nodes.store import Store
from nodes.tables.attempts import AttemptBlobRow, AttemptKeyRow
from nodes.tables.batches import BatchItemRow, GatewayKeyRow
from nodes.tables.consents import ConsentRow
from nodes.tables.data_life import DeletionRow, ReceivedRow
from nodes.tables.scoring import AnswerRow

DELETED = "answer-deleted"
"""Code of a batch's merchant whose answer was deleted."""
SWEEP_SECONDS = 10.0
LEFT_BEHIND = timedelta(days=2)
"""An attempt takes minutes to hours; what one has kept longer than this will not be asked for again."""
_AT_ONCE = 500
_REASONS: Mapping[str, DeletionReason] = {
    "revoked": "consent-revoked",
    "refused": "consent-refused",
    "expired": "consent-expired",
}

_LOG = structlog.get_logger("nodes.data_life")


class DataLifeKeeper:
    """Deletes what may no longer be kept. Safe to call again at any time; one process at a time does the work."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        hub: HubClient,
        *,
        party_id: str,
        identity: Signer,
        clock: Clock = system_clock,
    ) -> None:
        self._store = store
        self._journal = journal
        self._hub = hub
        self._party_id = party_id
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._unscrubbed = True  # a crash may have come between a deletion and its scrubbing

    def sweep(self) -> int:
        """D1 to D4, and D6; returns how many deletions were stated. Nothing is asked of the network."""
        with self._lock:
            self._unscrubbed |= self._wipe_leftovers()
            while self._delete_due():
                self._unscrubbed = True
            if self._unscrubbed:
                if not self._store.scrub():  # D3
                    return 0
                self._unscrubbed = False
            return self._state()

    def send(self) -> int:
        """D5; returns how many statements the hub took.

        Raises:
            PeerError: the hub is out of reach or refuses; they are sent again next time.
        """
        sent = 0
        while True:
            with self._store.reading() as session:
                query = select(DeletionRow).where(DeletionRow.statement.is_not(None), ~DeletionRow.sent)
                rows = session.scalars(query.order_by(DeletionRow.deletion_id).limit(_AT_ONCE)).all()
            if not rows:
                return sent
            reports = tuple(
                DeletionReport(statement=row.statement or "", record_id=row.record_id, salt=row.salt) for row in rows
            )
            body = DeletionSubmission(reports=reports).model_dump_json().encode()
            self._hub.request("POST", "/v1/deletions", body)
            ids = [row.deletion_id for row in rows]
            with self._store.session() as session:
                session.execute(update(DeletionRow).where(DeletionRow.deletion_id.in_(ids)).values(sent=True))
            sent += len(ids)

    def _delete_due(self) -> int:
        """D1, D2 for up to 500 consents."""
        now = int(self._clock().timestamp())
        ended = select(ConsentRow.record_id).where(or_(ConsentRow.state.in_(FINAL), ConsentRow.valid_until <= now))
        with self._store.session() as session:
            due: set[str] = set()
            for table in (BatchItemRow, GatewayKeyRow, ReceivedRow):
                over = or_(table.keep_until <= now, table.record_id.in_(ended))
                query = select(table.record_id).where(table.record_id.is_not(None), over)
                due.update(each for each in session.scalars(query.distinct().limit(_AT_ONCE)) if each is not None)
            records = sorted(due)[:_AT_ONCE]
            reasons = self._reasons(session, records, now)
            for record_id in records:
                self._delete(session, record_id, reasons[record_id], now)
            return len(records)

    @staticmethod
    def _reasons(session: Session, records: Sequence[str], now: int) -> dict[str, DeletionReason]:
        columns = (ConsentRow.record_id, ConsentRow.state, ConsentRow.valid_until)
        found: dict[str, DeletionReason] = dict.fromkeys(records, "data-life-over")
        for record_id, state, valid_until in session.execute(
            select(*columns).where(ConsentRow.record_id.in_(list(records)))
        ):
            if state in FINAL:
                found[record_id] = _REASONS[state]
            elif valid_until <= now:
                found[record_id] = "consent-expired"
        return found

    @staticmethod
    def _delete(session: Session, record_id: str, reason: DeletionReason, now: int) -> None:
        """D2, one consent."""

        def due(table: type[BatchItemRow] | type[GatewayKeyRow]) -> tuple[ColumnElement[bool], ...]:
            mine = (table.record_id == record_id, table.answer.is_not(None))
            return mine if reason != "data-life-over" else (*mine, table.keep_until <= now)

        batch, single = due(BatchItemRow), due(GatewayKeyRow)
        counts: Counter[str] = Counter()
        for kind, table, where in (("batch-answers", BatchItemRow, batch), ("single-answers", GatewayKeyRow, single)):
            for text in session.scalars(select(table.answer).where(*where)):
                counts[kind] += 1
                counts["reasons"] += _has_reasons(text or "")
        emptied = update(BatchItemRow).where(*batch)
        session.execute(emptied.values(answer=None, detail=None, code=DELETED, record_id=None, keep_until=None))
        session.execute(delete(GatewayKeyRow).where(*single))
        received = delete(ReceivedRow).where(ReceivedRow.record_id == record_id)
        session.execute(received if reason != "data-life-over" else received.where(ReceivedRow.keep_until <= now))
        session.add(
            DeletionRow(
                deletion_id=secrets.token_hex(16),
                record_id=record_id,
                reason=reason,
                counts=json.dumps({kind: number for kind, number in sorted(counts.items()) if number}),
                salt=secrets.token_bytes(SALT_BYTES),
                deleted_at=now,
                statement=None,
                sent=False,
            )
        )

    def _state(self) -> int:
        """D4."""
        with self._store.session() as session:
            rows = session.scalars(
                select(DeletionRow).where(DeletionRow.statement.is_(None)).order_by(DeletionRow.deletion_id)
            ).all()
            for row in rows:
                statement = DeletionStatement.model_validate(
                    {
                        "suite": SUITE,
                        "deletion_id": row.deletion_id,
                        "party_id": self._party_id,
                        "record": commit_record(row.salt, row.record_id),
                        "reason": row.reason,
                        "counts": json.loads(row.counts),
                        "deleted_at": datetime.fromtimestamp(row.deleted_at, UTC),
                    }
                )
                row.statement = sign_model(statement, self._identity, typ=DELETION_TYPE, kid=self._party_id)
                facts: dict[str, Fact] = {
                    "sha256": hashlib.sha256(canonical_bytes(statement)).hexdigest(),
                    "record": statement.record.hex(),
                    "reason": statement.reason,
                    **{str(kind): number for kind, number in statement.counts.items()},
                }
                self._journal.note("data-deleted", facts, session=session)
            return len(rows)

    def _wipe_leftovers(self) -> bool:
        """D6."""
        now = self._clock()
        old = int((now - LEFT_BEHIND).timestamp())
        with self._store.session() as session:
            expired = AnswerRow.expires_at <= int(now.timestamp()), AnswerRow.answer.is_not(None)
            done = session.execute(update(AnswerRow).where(*expired).values(answer=None))
            wiped = int(done.rowcount) > 0  # type: ignore[attr-defined]
            newest = func.max(AttemptBlobRow.kept_at)
            for attempt, number in session.execute(
                select(AttemptBlobRow.attempt, func.count()).group_by(AttemptBlobRow.attempt).having(newest < old)
            ).all():
                session.execute(delete(AttemptBlobRow).where(AttemptBlobRow.attempt == attempt))
                session.execute(delete(AttemptKeyRow).where(AttemptKeyRow.attempt == attempt))
                self._journal.note("attempt-wiped", {"attempt": attempt, "pieces": number}, session=session)
                wiped = True
            return wiped


def _has_reasons(text: str) -> bool:
    """Whether a stored answer has reasons; one that cannot be read must go all the same."""
    try:
        return bool(ScoreAnswer.model_validate_json(text).reasons)
    except ValidationError:
        return False


class DataLifeLoop:
    """Sweeps and sends until it is stopped; what fails is logged and tried again."""

    def __init__(self, keeper: DataLifeKeeper, *, seconds: float = SWEEP_SECONDS) -> None:
        self._keeper = keeper
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="data-life", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the step under way."""
        self._stopping.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._keeper.sweep()
                self._keeper.send()
            except (CryptoError, NodeError) as problem:
                _LOG.warning("data-life-late", code=problem.code, reason=problem.message)
            except Exception:
                _LOG.exception("data-life-failed")  # a full disk, a locked store: nothing was committed
