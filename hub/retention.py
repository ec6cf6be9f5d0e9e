"""How long the log stays linked to merchants: `audit.retain_salts_days` in hub.yaml (PIPL 19, 47; docs/protocol.md, 8).

K1  Salts of entries older than the limit are deleted as for an erasure, with the outcomes beside them, and the times at
    which older consents and events came are cut down to their day.
K2  Each step is logged by the number of entries and the day of the limit, without a subject.
K3  Then the database is written anew, so that no page of the file holds what was deleted.

Entries, tree and checkpoints stay. Whoever kept an entry's salt, the merchant in its own record, can still open it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, func, select

from hub.clock import Clock, seconds
from hub.consents import forget_receipts_before
from hub.db import Database
from hub.log import AuditLog, Fact
from hub.tables.log import SubjectSaltRow

_STEP = 5000
"""Salts deleted in one transaction; writers wait for no more than that."""
_LOOK_S = 3600.0

_logger = structlog.get_logger("hub.retention")


@dataclass(frozen=True)
class Due:
    """What is past the limit: entries that are still linked to merchants, of how many, and when the oldest was written.

    `before` is the limit, the beginning of a day (UTC).
    """

    before: datetime
    entries: int
    merchants: int
    oldest: datetime | None


class Retention:
    """Applies the limit, by order or once a day while the hub serves.

    Args:
        days: how long salts are kept.
    """

    def __init__(self, db: Database, log: AuditLog, *, hub_id: str, clock: Clock, days: int) -> None:
        self._db = db
        self._log = log
        self._hub_id = hub_id
        self._clock = clock
        self._days = days
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def due(self) -> Due:
        """Say what is past the limit, and change nothing."""
        before = self._before()
        query = select(
            func.count(), func.count(SubjectSaltRow.pseudonym.distinct()), func.min(SubjectSaltRow.appended_at)
        ).where(SubjectSaltRow.appended_at < seconds(before))
        with self._db.reading() as session:
            entries, merchants, oldest = session.execute(query).one()
        return Due(before, entries, merchants, None if oldest is None else datetime.fromtimestamp(oldest, UTC))

    def _before(self) -> datetime:
        today = self._clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=self._days)

    def apply(self) -> int:
        """K1 to K3; return how many entries lost their link.

        Raises:
            StateError: all is deleted, but the database's file could not be written anew (K3); apply it again.
        """
        before = self._before()
        erased = 0
        while step := self._step(before):
            erased += step
        self._db.write_anew(SubjectSaltRow.__tablename__)
        return erased

    def _step(self, before: datetime) -> int:
        oldest = (
            select(SubjectSaltRow.pending_id)
            .where(SubjectSaltRow.appended_at < seconds(before))
            .order_by(SubjectSaltRow.appended_at, SubjectSaltRow.pending_id)
            .limit(_STEP)
        )
        with self._db.session() as session:
            self._db.overwrite_deleted(session)
            forget_receipts_before(session, seconds(before))
            gone = delete(SubjectSaltRow).where(SubjectSaltRow.pending_id.in_(oldest.scalar_subquery()))
            count = len(session.execute(gone.returning(SubjectSaltRow.pending_id)).all())
            if count:
                facts: dict[str, Fact] = {"entries": count, "cause": "retention", "before": before.date().isoformat()}
                self._log.append(session, "erasure", self._hub_id, facts=facts)
        return count

    # while the hub serves

    def start(self) -> None:
        """Look now and every hour; what is past the limit is erased."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="log-retention", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step that runs."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            try:
                if self.due().entries:
                    _logger.info("salts-erased", entries=self.apply())
            except Exception:
                # A full disk or a busy database must not end the looking.
                _logger.exception("retention-failed")
            if self._stopping.wait(_LOOK_S):
                return
