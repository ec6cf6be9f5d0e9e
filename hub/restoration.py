"""Where a restored hub stands: held, taking back what was lost, or done (docs/operations.md, Backup and restore).

* **held**: the database is older than the log that the witness cosigned, or it is not known yet. Nothing is logged, so
  nothing is taken in, answered or changed. The log can be read.
* **resubmitting**: the log is whole again (`hub.restored_log`), but what some of its entries speak of is not here.
  Parties bring consents and changes of them again; queries and new campaigns are refused until the operator says that
  all is back.

The phase lies in the database, for all processes of the hub; each looks again once a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.clock import seconds
from hub.db import Database
from hub.errors import StateError
from hub.state_errors import RestoredError
from hub.tables.feed import FeedCounterRow
from hub.tables.restores import RestoredFeedRow, RestoreRow

HELD, RESUBMITTING, ENDED = "held", "resubmitting", "ended"
LOOK_S = 1.0
FEED_JUMP = 10_000_000
_AFTER_ALL_IS_BACK = frozenset({"query", "query-result", "campaign-started"})


@dataclass(frozen=True)
class Standing:
    """The newest restoring: its phase, sizes of the log, and how many entries of each type lack what they speak of."""

    restore_id: int
    phase: str
    log_size: int
    witness_size: int | None
    lost: dict[str, int]


class Restoration:
    """Says what is allowed now."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._phase: str | None = None
        self._looked = 0.0

    def phase(self) -> str | None:
        """`held`, `resubmitting`, or None where nothing is restored or all is done."""
        now = time.monotonic()
        if not self._looked or now - self._looked > LOOK_S:
            with self._db.reading() as session:
                row = newest(session)
            self._phase = None if row is None or row.phase == ENDED else row.phase
            self._looked = now
        return self._phase

    def held(self) -> bool:
        """Whether nothing may be written."""
        return self.phase() == HELD

    def look_again(self) -> None:
        """The phase has changed."""
        self._looked = 0.0

    def check(self, types: Collection[str]) -> None:
        """RestoredError where entries of these types may not be written now."""
        phase = self.phase()
        if phase == HELD:
            raise RestoredError(
                "The database was restored from a backup, and the witness has not said yet what it cosigned since.",
                remedy="Wait until the witness's agent is connected. The operator sees more by `digua-hub restored`.",
            )
        if phase == RESUBMITTING and not _AFTER_ALL_IS_BACK.isdisjoint(types):
            raise RestoredError(
                "The hub was restored from a backup and still lacks consents or revocations from after it.",
                remedy="Parties bring them again; then the operator ends it with `digua-hub restored --finish`.",
            )

    def standing(self) -> Standing | None:
        """Return the newest restoring, ended or not; None where there was none."""
        with self._db.reading() as session:
            row = newest(session)
            if row is None:
                return None
            return Standing(row.id, row.phase, row.log_size, row.witness_size, json.loads(row.lost or "{}"))

    def move_feed(self, party_id: str, held_seq: int, *, while_held: bool = False) -> bool:
        """Let a party's feed go on after the item that it holds, once a restoring; whether that was done.

        Only its own feed is moved, by its own signed word: it held more than the backup.

        Args:
            party_id: whose.
            held_seq: the last item that it has.
            while_held: for the witness, which must be heard first; others wait until it confirmed the setting back.
        """
        with self._db.session() as session:
            row = newest(session)
            if row is None:
                return False
            if not (while_held if row.phase == HELD else (row.witness_size or 0) > row.log_size):
                return False
            if session.get(RestoredFeedRow, (row.id, party_id)) is not None:
                return False
            counter = session.get(FeedCounterRow, party_id)
            end = 0 if counter is None else counter.seq
            if not end < held_seq <= end + FEED_JUMP:
                return False
            session.merge(FeedCounterRow(party_id=party_id, seq=held_seq))
            session.add(RestoredFeedRow(restore_id=row.id, party_id=party_id, hub_seq=end, held_seq=held_seq))
            return True

    def hold(self, *, log_size: int, witness_size: int | None, now: datetime) -> None:
        """The witness cosigned, or holds, more than is here: hold the hub, unless it is held already."""
        with self._db.session() as session:
            row = newest(session)
            if row is None or row.phase == ENDED:
                session.add(
                    RestoreRow(phase=HELD, log_size=log_size, witness_size=witness_size, restored_at=seconds(now))
                )
        self.look_again()

    def finish(self, session: Session, now: datetime) -> Standing:
        """The operator says that all is back; in the transaction that logs it.

        Raises:
            StateError: there is nothing to finish, or the witness was not heard yet.
        """
        row = newest(session)
        if row is None or row.phase != RESUBMITTING:
            raise StateError(
                "There is no restoring to finish." if row is None or row.phase == ENDED else "The hub is held.",
                field="phase",
                remedy="See `digua-hub restored`; while the hub is held, bring the witness's agent up first.",
            )
        row.phase, row.ended_at = ENDED, seconds(now)
        self.look_again()
        return Standing(row.id, row.phase, row.log_size, row.witness_size, json.loads(row.lost or "{}"))


def newest(session: Session) -> RestoreRow | None:
    """The newest restoring."""
    return session.scalars(select(RestoreRow).order_by(RestoreRow.id.desc()).limit(1)).first()
