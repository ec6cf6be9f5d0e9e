"""Until when answers may be kept: by the consent under which each was received (docs/consent.md, 2).

Months and years are those of the calendar, cut to the month's last day, so that nothing is kept longer than the consent
says in plain words. (For limits on *asking*, `nodes.policy.period` reads the same words the other way: longer.)
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlalchemy.dialects.sqlite import insert

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
        request = ScoreRequest.model_validate_json(peek_payload(token))
        now = self._clock()
        held = self._consents.get_all([item.consent_id for item in request.items], now)
        found: list[Kept] = []
        for item in request.items:
            consent = held.get(item.consent_id)
            end = now if consent is None else keep_until(consent.record, now)
            found.append(Kept(item.consent_id, int(end.timestamp())))
        return found

    def received(self, token: str, answers: Sequence[ScoreAnswer]) -> None:
        """Note, before they are handed out, which consents these answers' scores were received under."""
        limits = [kept for kept, answer in zip(self.limits(token), answers, strict=True) if answer.score is not None]
        if not limits:
            return
        rows = [{"record_id": kept.record_id, "keep_until": kept.keep_until} for kept in limits]
        statement = insert(ReceivedRow)
        newest = func.max(ReceivedRow.keep_until, statement.excluded.keep_until)
        with self._store.session() as session:
            session.execute(
                statement.on_conflict_do_update(index_elements=["record_id"], set_={"keep_until": newest}), rows
            )


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
