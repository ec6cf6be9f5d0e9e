"""Batches of scoring queries: durable, resumable, and nothing is asked twice (docs/protocol.md, 7).

B1  A batch is stored whole before anything is asked: its merchants in order, the purpose, the model.
B2  Up to 500 merchants at a time are turned into signed requests; these are stored, and their merchants marked as
    asked, in one transaction, before the first of them is sent.
B3  A request's answers and its end are one transaction. After a crash a stored request is sent again as it is: the hub
    and the sources answer the same bytes, and it counts as one use.
    A model that is withdrawn or rolled back meanwhile gives no more scores: merchants that are left are refused so.
B4  A request that expired before its answers came is never made anew by itself: what the sources answered has used the
    consents. Its merchants are `answer-expired`; the owner may have them asked again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import cast

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from crypto.wire.consent import Purpose
from nodes.batch_book import ASKED, DONE, EXPIRED, WAITING, BatchBook, BatchProgress, batch_row
from nodes.enquiries import Enquiry, Outcome
from nodes.errors import PeerError, PolicyRefusal
from nodes.kept_answers import Kept
from nodes.requester import MAX_ITEMS
from nodes.tables.batches import BatchItemRow, BatchRequestRow

Progress = Callable[[BatchProgress], None]
DEFINITE = frozenset(
    {
        "answer-expired",
        "consent-unknown",
        "mixed-sources",
        "model-not-released",
        "model-rolled-back",
        "nonce-reused",
        "query-refused",
        "recipient-not-consented",
        "request-expired",
        "source-not-consented",
        "too-few-sources",
    }
)
"""The hub's refusals of a request that it would repeat; after any other failure the same request may get its answers
later."""


class Batches(BatchBook):
    """The node's batches, and how they are asked."""

    def run(
        self, batch_id: str, progress: Progress = lambda _: None, *, stopping: threading.Event | None = None
    ) -> BatchProgress:
        """B2–B4 to the end or to a pause, from wherever it stands.

        Args:
            progress: told after each request.
            stopping: set to stop before the next request; the batch goes on when `run` is called again.

        Raises:
            BatchUnknown: there is none of this id.
            BatchBusy: another process runs it.
            PeerError: the hub is out of reach; nothing is lost, and `run` goes on from here.
            ProofError: answers are not proved to be logged.
        """
        self.progress(batch_id)
        with self.alone(batch_id):
            now = self.progress(batch_id)
            while now.state == "running" and not (stopping is not None and stopping.is_set()):
                self._finish_requests(batch_id)
                if not self._ask_next(batch_id):
                    self._end(batch_id)
                now = self.progress(batch_id)
                progress(now)
            if now.state == "paused":
                self._finish_requests(batch_id)  # what is signed and not sent would expire in the pause
                now = self.progress(batch_id)
            return now

    def _finish_requests(self, batch_id: str) -> None:
        """B3, B4."""
        query = select(BatchRequestRow).where(BatchRequestRow.batch_id == batch_id).order_by(BatchRequestRow.id)
        with self.store.reading() as session:
            under_way = session.scalars(query).all()
            model_id = batch_row(session, batch_id).model_id
        for row in under_way:
            places: list[int] = json.loads(row.places)
            try:
                answers = self.enquiries.send(row.token, self.enquiries.open_model(model_id))
            except PolicyRefusal as refusal:
                found = [Outcome("", None, refusal.reason, refusal.message)] * len(places)
            except PeerError as refusal:
                expired = self.now() >= row.expires_at
                if not expired and refusal.peer_code not in DEFINITE:
                    raise
                code = EXPIRED if expired else refusal.peer_code
                found = [Outcome("", None, code, refusal.message)] * len(places)
            else:
                found = [Outcome("", answer) for answer in answers]
            limits = self.enquiries.kept.limits(row.token)
            with self.store.session() as session:
                _keep(session, batch_id, zip(places, found, limits, strict=True))
                session.execute(delete(BatchRequestRow).where(BatchRequestRow.id == row.id))

    def _ask_next(self, batch_id: str) -> bool:
        """B2; False when nobody waits."""
        query = select(BatchItemRow).where(BatchItemRow.batch_id == batch_id, BatchItemRow.state == WAITING)
        with self.store.reading() as session:
            row = batch_row(session, batch_id)
            items = session.scalars(query.order_by(BatchItemRow.place).limit(MAX_ITEMS)).all()
        if not items:
            return False
        try:
            plan = self.enquiries.plan(
                [Enquiry(each.id, each.consent_id) for each in items],
                purpose=cast("Purpose", row.purpose),
                model=self.enquiries.open_model(row.model_id),
            )
        except PolicyRefusal as refusal:
            self._refuse_waiting(batch_id, refusal)
            return True
        with self.store.session() as session:
            _keep(session, batch_id, ((items[at].place, outcome, None) for at, outcome in plan.outcomes.items()))
            for prepared in plan.requests:
                places = [items[at].place for at in prepared.places]
                session.add(
                    BatchRequestRow(
                        batch_id=batch_id,
                        token=prepared.token,
                        places=json.dumps(places),
                        expires_at=int(prepared.expires_at.timestamp()),
                    )
                )
                asked = update(BatchItemRow).where(BatchItemRow.batch_id == batch_id, BatchItemRow.place.in_(places))
                session.execute(asked.values(state=ASKED))
        return True

    def _refuse_waiting(self, batch_id: str, refusal: PolicyRefusal) -> None:
        waiting = update(BatchItemRow).where(BatchItemRow.batch_id == batch_id, BatchItemRow.state == WAITING)
        with self.store.session() as session:
            session.execute(waiting.values(state=DONE, code=refusal.reason, detail=refusal.message))

    def _end(self, batch_id: str) -> None:
        """The batch is finished, unless its owner has had merchants asked again meanwhile."""
        left = select(func.count()).where(BatchItemRow.batch_id == batch_id, BatchItemRow.state != DONE)
        with self.store.session() as session:
            if session.scalar(left) == 0:
                batch_row(session, batch_id).finished_at = self.now()


def _keep(session: Session, batch_id: str, found: Iterable[tuple[int, Outcome, Kept | None]]) -> None:
    rows: list[dict[str, object]] = []
    for place, outcome, limit in found:
        answer = outcome.answer
        code = outcome.code if answer is None else next(iter(answer.refusals.values()), None)
        if answer is not None and answer.score is None and code is None:
            code = "score-unavailable"
        kept = limit if answer is not None else None
        rows.append(
            {
                "batch_id": batch_id,
                "place": place,
                "state": DONE,
                "code": code,
                "detail": outcome.detail,
                "answer": None if answer is None else answer.model_dump_json(),
                "record_id": None if kept is None else kept.record_id,
                "keep_until": None if kept is None else kept.keep_until,
            }
        )
    if rows:
        session.execute(update(BatchItemRow), rows)  # by their keys, all in one statement
