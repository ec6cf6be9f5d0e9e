"""Events for banks' core systems: written with the change that they tell of, and sent afterwards.

What is sent is a compact JWS of type `platform-event` by the platform's key. The receiver verifies it, refuses one that
was sent more than some minutes ago (`sent_at`), and leaves aside an event that it has seen (`event_id`): an answer may
be lost, and the event comes again. Events of one financing carry its version, for one may overtake another.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import JsonValue
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.platform.lending_errors import WebhookUnknownError
from hub.platform.tables.webhooks import WebhookEventRow

DeliveryState: TypeAlias = Literal["waiting", "delivered", "dead"]
_CLAIM_SECONDS = 120
"""So long a worker may take for one try before another takes it over."""


@dataclass(frozen=True)
class Event:
    """An event and how its delivery stands.

    Attributes:
        tries: so far.
        due_at: of the next try.
        last_failure: in short; None where none failed.
    """

    event_id: str
    bank: str
    body: str
    state: DeliveryState
    tries: int
    made_at: datetime
    due_at: datetime
    last_failure: str | None


class WebhookBox:
    """The outbox.

    Args:
        db: the platform's.
        clock: the time.
        banks: those that want to be told; others' events are not kept.
    """

    def __init__(self, db: Database, clock: Clock, banks: Collection[str]) -> None:
        self._db = db
        self._clock = clock
        self._banks = frozenset(banks)

    def add(self, session: Session, bank: str, kind: str, facts: Mapping[str, JsonValue]) -> None:
        """Write an event in the transaction of the change that it tells of."""
        if bank not in self._banks:
            return
        event_id, now = secrets.token_hex(16), self._clock()
        body = canonical_bytes(
            {"event_id": event_id, "bank": bank, "kind": kind, "made_at": _written(now), "facts": dict(facts)}
        )
        session.add(
            WebhookEventRow(
                event_id=event_id,
                bank=bank,
                body=body.decode(),
                state="waiting",
                tries=0,
                made_at=seconds(now),
                due_at=seconds(now),
            )
        )

    def claim(self, limit: int) -> list[Event]:
        """Take events that are due, the oldest first; nobody else takes them for a while."""
        now = seconds(self._clock())
        with self._db.session() as session:
            rows = session.scalars(
                select(WebhookEventRow)
                .where(WebhookEventRow.state == "waiting", WebhookEventRow.due_at <= now)
                .order_by(WebhookEventRow.number)
                .limit(limit)
            ).all()
            found = [_event(row) for row in rows]
            for row in rows:
                row.due_at = now + _CLAIM_SECONDS
        return found

    def delivered(self, event_id: str) -> None:
        """The bank took it."""
        self._set(event_id, state="delivered", tries=WebhookEventRow.tries + 1, last_failure=None)

    def failed(self, event_id: str, failure: str, *, again_in: float | None) -> None:
        """A try failed; the event waits for so many seconds, or is dead where none are given."""
        due = seconds(self._clock()) + int(again_in or 0)
        state = "waiting" if again_in is not None else "dead"
        self._set(event_id, state=state, tries=WebhookEventRow.tries + 1, due_at=due, last_failure=failure[:200])

    def retry(self, event_id: str, *, bank: str | None = None) -> Event:
        """Have a dead event tried again at once, from the beginning.

        Raises:
            WebhookUnknownError: there is no such dead event, or it is another bank's.
        """
        with self._db.session() as session:
            return self.retry_in(session, event_id, bank=bank)

    def retry_in(self, session: Session, event_id: str, *, bank: str | None = None) -> Event:
        """As `retry`, in a transaction of the caller's."""
        row = session.scalars(select(WebhookEventRow).where(WebhookEventRow.event_id == event_id)).first()
        if row is None or row.state != "dead" or bank not in (None, row.bank):
            raise WebhookUnknownError(
                f"There is no dead event {event_id}.",
                field="event_id",
                remedy="List the events whose delivery was given up.",
            )
        row.state, row.tries, row.due_at = "waiting", 0, seconds(self._clock())
        return _event(row)

    def events(self, *, bank: str | None = None, state: DeliveryState | None = None, limit: int = 100) -> list[Event]:
        """Return events, the newest first."""
        query = select(WebhookEventRow).order_by(WebhookEventRow.number.desc()).limit(limit)
        if bank is not None:
            query = query.where(WebhookEventRow.bank == bank)
        if state is not None:
            query = query.where(WebhookEventRow.state == state)
        with self._db.reading() as session:
            return [_event(row) for row in session.scalars(query).all()]

    def counts(self) -> Mapping[str, int]:
        """How many events there are in each state."""
        query = select(WebhookEventRow.state, func.count()).group_by(WebhookEventRow.state)
        with self._db.reading() as session:
            found = session.execute(query).all()
        return {row[0]: row[1] for row in found}

    def _set(self, event_id: str, **values: object) -> None:
        with self._db.session() as session:
            session.execute(update(WebhookEventRow).where(WebhookEventRow.event_id == event_id).values(**values))


def _event(row: WebhookEventRow) -> Event:
    state: DeliveryState = "waiting" if row.state == "waiting" else "delivered" if row.state == "delivered" else "dead"
    return Event(
        event_id=row.event_id,
        bank=row.bank,
        body=row.body,
        state=state,
        tries=row.tries,
        made_at=moment(row.made_at),
        due_at=moment(row.due_at),
        last_failure=row.last_failure,
    )


def _written(at: datetime) -> str:
    return at.replace(microsecond=0).isoformat().replace("+00:00", "Z")
