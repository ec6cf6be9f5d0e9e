"""Until when answers may be kept: by the consent under which each was received (docs/consent.md, 2).

Months and years are those of the calendar, cut to the month's last day, so that nothing is kept longer than the consent
says in plain words. (For limits on *asking*, `nodes.policy.period` reads the same words the other way: longer.)
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.orm import Session

from crypto.jws import peek_payload
from crypto.wire.consent import ConsentRecord, DataLife
from crypto.wire.scoring import ScoreAnswer, ScoreRequest
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore
from nodes.store import Store
from nodes.tables.data_life import ReceivedRow

_HOURS = {"hour": 1, "day": 24, "week": 7 * 24}


@dataclass(frozen=True)
class Kept:
    """The consent that an answer was received under, and until when it may be kept (seconds since 1970)."""

    record_id: str
    keep_until: int


class KeptAnswers:
    """Looks up how long answers may be kept, and notes that some were received."""

    def __init__(self, store: Store, consents: ConsentStore, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._consents = consents
        self._clock = clock

    def limits(self, token: str) -> list[Kept]:
        """For each item of a signed request of this node, in order; one whose consent is not held ends at once."""
        return self.limits_of(ScoreRequest.model_validate_json(peek_payload(token)))

    def limits_of(self, request: ScoreRequest) -> list[Kept]:
        """As `limits`, of what was signed."""
        now = self._clock()
        held = self._consents.get_all([item.consent_id for item in request.items], now)
        found: list[Kept] = []
        for item in request.items:
            consent = held.get(item.consent_id)
            end = now if consent is None else keep_until(consent.record, now)
            found.append(Kept(item.consent_id, int(end.timestamp())))
        return found

    def received(self, request: ScoreRequest, answers: Sequence[ScoreAnswer]) -> Callable[[Session], object]:
        """What notes, before they are handed out, which consents these answers' scores were received under."""
        scored = [each.score is not None for each in answers]
        limits = self.limits_of(request) if any(scored) else []
        kept = [limit for limit, has in zip(limits, scored, strict=False) if has]
        rows = [{"record_id": each.record_id, "keep_until": each.keep_until} for each in kept]

        def write(session: Session) -> None:
            if rows:
                session.connection().execute(_NEWEST, rows)

        return write


def _newest_end() -> Insert:
    statement = insert(ReceivedRow)
    newest = func.max(ReceivedRow.keep_until, statement.excluded.keep_until)
    return statement.on_conflict_do_update(index_elements=["record_id"], set_={"keep_until": newest})


_NEWEST = _newest_end()


def keep_until(consent: ConsentRecord, received: datetime) -> datetime:
    """The end of an answer's life: of its data life or of the consent, whichever comes first."""
    return min(life_end(received, consent.data_life), consent.valid_until)


def life_end(start: datetime, life: DataLife) -> datetime:
    """The moment a data life after another one."""
    hours = _HOURS.get(life.unit)
    if hours is not None:
        return start + timedelta(hours=hours * life.value)
    months = life.value * (12 if life.unit == "year" else 1)
    year, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + year, month + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))
