"""What is wrong with the audit log now, for every page and for `/v1/health`: counts and times, nothing about merchants.

A1  The witness was asked and gave no signature that counts: it refuses, knows another log, or signs wrongly. The time
    is kept from the first refusal until it signs again (`hub.cosigning`), across restarts.
A2  Entries have waited for the witness's signature for longer than the limit, for whatever cause.
A3  Entries have waited for their place in the log for longer than the limit: the sequencer fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from crypto.wire.audit import LogEntry
from hub.clock import Clock, seconds
from hub.db import Database
from hub.log_reading import latest_checkpoint, log_size
from hub.tables.log import CheckpointRow, CosigningRefusalRow, LogPendingRow
from models.said import Said, said

AlarmCode = Literal["checkpoint-refused", "checkpoint-overdue", "log-stalled"]
_END = update(CosigningRefusalRow).where(CosigningRefusalRow.ended_at.is_(None)).values(ended_at=bindparam("now"))
_AGAIN_S = 60
"""How often a refusal that goes on is written down anew."""


@dataclass(frozen=True)
class Alarm:
    """Something that a person has to mend.

    Attributes:
        title, what, remedy: message ids of the hub's catalogue, and what fills them.
        since: when it began.
    """

    code: AlarmCode
    title: Said
    what: Said
    remedy: Said
    since: datetime


@dataclass(frozen=True)
class Refusal:
    """A time of refusal (A1); `ended` is None while it goes on. Sizes are those when it was last seen."""

    code: str
    detail: str
    size: int
    cosigned_size: int
    since: datetime
    ended: datetime | None


class Alarms:
    """Keeps refusals, and answers what is wrong now.

    Args:
        db: where log and refusals lie.
        clock: of the hub.
        limit_s: how long entries may wait for a signature or for their place.
    """

    def __init__(self, db: Database, *, clock: Clock, limit_s: float) -> None:
        self._db = db
        self._clock = clock
        self._limit_s = limit_s

    def refused(self, code: str, detail: str, *, size: int, cosigned_size: int) -> None:
        """A1: note that the newest checkpoint, of `size`, was offered and not cosigned."""
        now = seconds(self._clock())
        with self._db.reading() as session:
            known = _open_refusal(session)
        if known is not None and known.code == code and now - known.last_at < _AGAIN_S:
            return
        with self._db.session() as session:
            row = _open_refusal(session)
            if row is None:
                row = CosigningRefusalRow(since=now)
                session.add(row)
            row.code, row.detail, row.size, row.cosigned_size, row.last_at = code, detail, size, cosigned_size, now

    def cosigned(self, session: Session) -> None:
        """A1: the witness signed again; in the transaction that stores its line."""
        session.connection().execute(_END, {"now": seconds(self._clock())})

    def refusals(self, limit: int = 100) -> tuple[Refusal, ...]:
        """Return the times of refusal, the newest first."""
        query = select(CosigningRefusalRow).order_by(CosigningRefusalRow.id.desc()).limit(limit)
        with self._db.reading() as session:
            return tuple(
                Refusal(
                    row.code,
                    row.detail,
                    row.size,
                    row.cosigned_size,
                    _moment(row.since),
                    None if row.ended_at is None else _moment(row.ended_at),
                )
                for row in session.scalars(query)
            )

    def now(self) -> tuple[Alarm, ...]:
        """Return what is wrong now, the gravest first."""
        with self._db.reading() as session:
            found = (self._refusal(session), self._overdue(session), self._stalled(session))
        return tuple(each for each in found if each is not None)

    def _refusal(self, session: Session) -> Alarm | None:
        row = _open_refusal(session)
        if row is None:
            return None
        return Alarm(
            "checkpoint-refused",
            said("The witness does not cosign the audit log"),
            said(
                "It was offered {size} entries; its signature covers {cosigned}. Reason: {detail}",
                size=row.size,
                cosigned=row.cosigned_size,
                detail=row.detail,
            ),
            said(
                "Change nothing in the database. Run `digua-hub doctor`, and find the cause with the witness's owner."
            ),
            _moment(row.since),
        )

    def _overdue(self, session: Session) -> Alarm | None:
        """A2: by the oldest checkpoint beyond the newest cosigned one."""
        known = latest_checkpoint(session, cosigned=True)
        covered = 0 if known is None else known.size
        first = session.scalar(
            select(CheckpointRow).where(CheckpointRow.size > covered).order_by(CheckpointRow.size).limit(1)
        )
        if first is None or not self._too_long(first.created_at):
            return None
        return Alarm(
            "checkpoint-overdue",
            said("The audit log waits for the witness's signature"),
            said("{waiting} entries are not cosigned yet.", waiting=log_size(session) - covered),
            said("Enrol the witness if there is none; start its agent, or check its network."),
            _moment(first.created_at),
        )

    def _stalled(self, session: Session) -> Alarm | None:
        """A3: by the oldest entry without a place."""
        leaf = session.scalar(select(LogPendingRow.leaf).order_by(LogPendingRow.id).limit(1))
        if leaf is None:
            return None
        time = LogEntry.model_validate_json(leaf).time
        if not self._too_long(seconds(time)):
            return None
        return Alarm(
            "log-stalled",
            said("Entries of the audit log wait for their place"),
            said("The log cannot be continued at the moment."),
            said("Check that the hub runs and that its disk has room; its own log names the cause."),
            time,
        )

    def _too_long(self, since: int) -> bool:
        return seconds(self._clock()) - since > self._limit_s


def _open_refusal(session: Session) -> CosigningRefusalRow | None:
    query = select(CosigningRefusalRow).where(CosigningRefusalRow.ended_at.is_(None))
    return session.scalar(query.order_by(CosigningRefusalRow.id).limit(1))


def _moment(time: int) -> datetime:
    return datetime.fromtimestamp(time, UTC)
