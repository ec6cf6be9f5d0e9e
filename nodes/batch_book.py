"""Batches of scoring queries as the node's store has them: who is asked, how far it is, what came of each merchant."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Literal, cast

from sqlalchemy import func, insert, literal_column, select, update
from sqlalchemy.orm import Session

from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer
from nodes.clock import Clock, system_clock
from nodes.enquiries import Enquiries, Enquiry, Outcome
from nodes.errors import BatchBusy, BatchError, BatchUnknown
from nodes.requester import MAX_ITEMS, MOMENTARY
from nodes.store import Store
from nodes.tables.batches import BatchItemRow, BatchRow

WAITING, ASKED, DONE = "waiting", "asked", "done"
EXPIRED = "answer-expired"
AGAIN = frozenset({EXPIRED, "request-expired", *MOMENTARY})
"""Outcomes after which the owner may have a merchant asked again. Who finds a request too old when it comes, by a clock
that is wrong for one, counts no use."""
MAX_BATCH = 200_000
"""A batch is stored in one transaction (a second for 100,000 merchants), during which the node answers no query."""

State = Literal["running", "paused", "finished"]


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is; `refused` counts merchants without a score by code."""

    batch_id: str
    state: State
    model_id: str
    purpose: Purpose
    total: int
    done: int
    scored: int
    refused: dict[str, int]
    created_at: int
    finished_at: int | None


class BatchBook:
    """The node's batches as they are stored.

    Args:
        store: the node's.
        enquiries: asks.
        folder: for the files that keep two processes off one batch.
        clock: the time.
    """

    def __init__(self, store: Store, enquiries: Enquiries, *, folder: Path, clock: Clock = system_clock) -> None:
        self.store = store
        self.enquiries = enquiries
        self._folder = folder
        self._clock = clock

    def create(
        self,
        enquiries: Iterator[Enquiry],
        *,
        source_sha256: str,
        purpose: Purpose = "credit-scoring",
        model_id: str | None = None,
        key: str | None = None,
    ) -> str:
        """B1: all merchants, or none.

        Args:
            enquiries: in order; each merchant once.
            source_sha256: of the bytes that they came from (hex).
            purpose, model_id: the newest model where none is named; it stays the same to the end of the batch.
            key: the caller's Idempotency-Key: the same key returns the batch that it made.

        Raises:
            BatchError: no merchants, too many, one of them twice, or the key came with other bytes.
            IdentifierError, PolicyRefusal: an identifier is malformed, or there is no such model.
        """
        model = self.enquiries.open_model(model_id)
        batch_id = token_hex(16)
        first_row: dict[str, int] = {}
        with self.store.session() as session:
            if key is not None and (known := session.scalar(select(BatchRow).where(BatchRow.key == key))) is not None:
                return _same(known, source_sha256)
            session.add(
                BatchRow(
                    batch_id=batch_id,
                    source_sha256=source_sha256,
                    key=key,
                    purpose=purpose,
                    model_id=model.model_id,
                    total=0,
                    created_at=self.now(),
                    finished_at=None,
                    paused=False,
                )
            )
            session.flush()
            total = 0
            for block in _blocks(enquiries, MAX_ITEMS):
                names = self.enquiries.normalised([each.id for each in block], model, first=total + 1)
                for place, name in enumerate(names, start=total):
                    earlier = first_row.setdefault(name, place)
                    if earlier != place:
                        raise _twice(place + 1, earlier + 1)
                rows = [
                    {"batch_id": batch_id, "place": place, "id": each.id, "consent_id": each.consent_id}
                    for place, each in enumerate(block, start=total)
                ]
                session.execute(insert(BatchItemRow), [{**row, "state": WAITING} for row in rows])
                total += len(block)
                if total > MAX_BATCH:
                    raise BatchError(
                        f"more than {MAX_BATCH} merchants", field="items", remedy="divide them into several batches"
                    )
            if total == 0:
                raise BatchError("there are no merchants in it", field="items", remedy="name one merchant a row")
            session.execute(update(BatchRow).where(BatchRow.batch_id == batch_id).values(total=total))
        return batch_id

    def find(self, source_sha256: str, *, purpose: Purpose, model_id: str | None = None) -> BatchProgress | None:
        """The newest batch that came from these very bytes, for this purpose; those handed in under a key are left to
        the gateway."""
        same = (BatchRow.source_sha256 == source_sha256, BatchRow.purpose == purpose, BatchRow.key.is_(None))
        query = select(BatchRow.batch_id).where(*same)
        if model_id is not None:
            query = query.where(BatchRow.model_id == model_id)
        with self.store.reading() as session:
            found = session.scalar(query.order_by(literal_column("rowid").desc()).limit(1))
        return None if found is None else self.progress(found)

    def unfinished(self, *, keyed: bool) -> list[str]:
        """Ids of batches that have neither ended nor been paused, the oldest first: those handed in under a key, or
        those without one."""
        query = select(BatchRow.batch_id).where(BatchRow.finished_at.is_(None)).order_by(BatchRow.created_at)
        query = query.where(BatchRow.key.is_not(None) if keyed else BatchRow.key.is_(None), BatchRow.paused.is_(False))
        with self.store.reading() as session:
            return list(session.scalars(query))

    def progress(self, batch_id: str) -> BatchProgress:
        """How far a batch is.

        Raises:
            BatchUnknown: there is none of this id.
        """
        with self.store.reading() as session:
            row = batch_row(session, batch_id)
            counts = session.execute(
                select(BatchItemRow.state, BatchItemRow.code, func.count())
                .where(BatchItemRow.batch_id == batch_id)
                .group_by(BatchItemRow.state, BatchItemRow.code)
            ).all()
        done = {code: number for state, code, number in counts if state == DONE}
        return BatchProgress(
            batch_id=batch_id,
            state=_state(row),
            model_id=row.model_id,
            purpose=cast("Purpose", row.purpose),
            total=row.total,
            done=sum(done.values()),
            scored=done.get(None, 0),
            refused={code: number for code, number in sorted(done.items(), key=lambda each: each[0] or "") if code},
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    def recent(self, limit: int, *, offset: int = 0) -> list[str]:
        """Ids of a page of the batches, the newest first."""
        query = select(BatchRow.batch_id).order_by(BatchRow.created_at.desc(), literal_column("rowid").desc())
        with self.store.reading() as session:
            return list(session.scalars(query.limit(limit).offset(offset)))

    def count(self) -> int:
        """How many batches there are."""
        with self.store.reading() as session:
            return session.scalar(select(func.count()).select_from(BatchRow)) or 0

    def pause(self, batch_id: str) -> None:
        """Ask nobody further until `resume`; a request that is under way just now still gets its answers.

        Raises:
            BatchUnknown: there is none of this id.
        """
        self._set_paused(batch_id, True)

    def resume(self, batch_id: str) -> None:
        """Have a paused batch go on where it stood.

        Raises:
            BatchUnknown: there is none of this id.
        """
        self._set_paused(batch_id, False)

    def _set_paused(self, batch_id: str, paused: bool) -> None:
        with self.store.session() as session:
            row = batch_row(session, batch_id)
            if row.finished_at is None:
                row.paused = paused

    def ask_again(self, batch_id: str) -> int:
        """Have merchants asked again whose answers expired or whose sources were away; returns how many.

        Where some of a merchant's sources answered before, it counts as another use.

        Raises:
            BatchUnknown: there is none of this id.
        """
        with self.store.session() as session:
            row = batch_row(session, batch_id)
            again = update(BatchItemRow).where(BatchItemRow.batch_id == batch_id, BatchItemRow.code.in_(AGAIN))
            done = session.execute(
                again.values(state=WAITING, code=None, detail=None, answer=None, record_id=None, keep_until=None)
            )
            count = int(done.rowcount)  # type: ignore[attr-defined]
            if count:
                row.finished_at = None
            return count

    def outcomes(self, batch_id: str) -> Iterator[Outcome]:
        """What came of every merchant so far, in order; read in blocks."""
        place = -1
        while True:
            query = select(BatchItemRow).where(BatchItemRow.batch_id == batch_id, BatchItemRow.place > place)
            with self.store.reading() as session:
                rows = session.scalars(query.order_by(BatchItemRow.place).limit(MAX_ITEMS)).all()
            if not rows:
                return
            yield from map(_outcome, rows)
            place = rows[-1].place

    def forget(self, batch_id: str) -> None:
        """Delete a batch with its results; what was asked stays logged and counted.

        Raises:
            BatchUnknown: there is none of this id.
            BatchBusy: somebody works on it now.
        """
        self.progress(batch_id)
        with self.alone(batch_id), self.store.session() as session:
            session.delete(batch_row(session, batch_id))
        self._lock_file(batch_id).unlink(missing_ok=True)

    def now(self) -> int:
        """Seconds since 1970, by the node's clock."""
        return int(self._clock().timestamp())

    def _lock_file(self, batch_id: str) -> Path:
        return self._folder / f"batch-{batch_id}.lock"

    @contextmanager
    def alone(self, batch_id: str) -> Iterator[None]:
        """Keep other processes off a batch.

        Raises:
            BatchBusy: another process works on it.
        """
        descriptor = os.open(self._lock_file(batch_id), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                raise BatchBusy(
                    f"another process works on batch {batch_id}",
                    field="batch_id",
                    remedy="wait for it; its progress can be asked for meanwhile",
                ) from problem
            yield
        finally:
            os.close(descriptor)


def _blocks(enquiries: Iterator[Enquiry], size: int) -> Iterator[list[Enquiry]]:
    block: list[Enquiry] = []
    for each in enquiries:
        block.append(each)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def batch_row(session: Session, batch_id: str) -> BatchRow:
    """A batch's row.

    Raises:
        BatchUnknown: there is none of this id.
    """
    row = session.get(BatchRow, batch_id)
    if row is None:
        raise BatchUnknown(
            f"there is no batch {batch_id[:64]}", field="batch_id", remedy="name one that this node was given"
        )
    return row


def _state(row: BatchRow) -> State:
    if row.finished_at is not None:
        return "finished"
    return "paused" if row.paused else "running"


def _same(known: BatchRow, source_sha256: str) -> str:
    if known.source_sha256 != source_sha256:
        raise BatchError(
            "the Idempotency-Key came before, with other merchants",
            field="Idempotency-Key",
            remedy="use a fresh key for each batch",
        )
    return known.batch_id


def _twice(row: int, earlier: int) -> BatchError:
    return BatchError(
        f"row {row}, column id: the merchant is already in row {earlier}",
        field=f"items.{row - 1}.id",
        remedy="name each merchant once: asking twice would use its consent twice",
    )


def _outcome(row: BatchItemRow) -> Outcome:
    answer = None if row.answer is None else ScoreAnswer.model_validate_json(row.answer)
    return Outcome(row.id, answer, row.code if row.state == DONE else row.state, row.detail)
