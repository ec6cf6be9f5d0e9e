"""Idempotency-Key at the gateway: a score that is asked for again under its key is asked of the sources once.

The signed request is stored before it is sent. After a lost answer or a crash the same key sends the same request,
which the hub and the sources answer with the same bytes until it expires; a stored answer is given back for a day.
"""

from __future__ import annotations

import threading
from datetime import timedelta

from sqlalchemy import delete

from crypto.jws import peek_payload
from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer, ScoreRequest
from nodes.clock import Clock, system_clock
from nodes.enquiries import Enquiries, Enquiry
from nodes.errors import GatewayError
from nodes.store import Store
from nodes.tables.batches import GatewayKeyRow

LIFE = timedelta(hours=24)
HEADER = "Idempotency-Key"


class KeyedScores:
    """Scores under the caller's keys. One process serves the gateway, so locks of this process are enough."""

    def __init__(self, store: Store, enquiries: Enquiries, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._enquiries = enquiries
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[str] = set()

    def score(
        self, key: str, body_sha256: str, enquiry: Enquiry, *, purpose: Purpose, model_id: str | None
    ) -> ScoreAnswer:
        """The score under a key; raises as `nodes.enquiries.Enquiries.score`.

        Raises:
            GatewayError: the key came with another body, or its first request has not ended.
        """
        with self._lock:
            if key in self._running:
                raise GatewayError(
                    "the first request under this key has not ended", field=HEADER, remedy="wait, then send it again"
                )
            self._running.add(key)
        try:
            return self._score(key, body_sha256, enquiry, purpose, model_id)
        finally:
            with self._lock:
                self._running.discard(key)

    def request_of(self, key: str) -> ScoreRequest | None:
        """What was asked under a key: which consent, of whom, when; None where nobody was asked or a day has passed."""
        with self._store.reading() as session:
            row = session.get(GatewayKeyRow, key)
        if row is None or row.token is None:
            return None
        return ScoreRequest.model_validate_json(peek_payload(row.token))

    def _score(
        self, key: str, body_sha256: str, enquiry: Enquiry, purpose: Purpose, model_id: str | None
    ) -> ScoreAnswer:
        now = int(self._clock().timestamp())
        with self._store.session() as session:
            session.execute(delete(GatewayKeyRow).where(GatewayKeyRow.created_at < now - LIFE.total_seconds()))
            row = session.get(GatewayKeyRow, key)
        if row is not None and row.body_sha256 != body_sha256:
            raise GatewayError(
                "the key came before, with another body", field=HEADER, remedy="use a fresh key for each request"
            )
        if row is not None and row.answer is not None:
            return ScoreAnswer.model_validate_json(row.answer)

        def keep(token: str, answer: ScoreAnswer | None = None) -> None:
            text = None if answer is None else answer.model_dump_json()
            limit = self._enquiries.kept.limits(token)[0] if token and answer is not None else None
            with self._store.session() as session:
                session.merge(
                    GatewayKeyRow(
                        key=key,
                        body_sha256=body_sha256,
                        token=token or None,
                        answer=text,
                        record_id=None if limit is None else limit.record_id,
                        keep_until=None if limit is None else limit.keep_until,
                        created_at=now,
                    )
                )

        sent = "" if row is None else row.token or ""
        if sent:
            answer = self._enquiries.score_of(sent)
        else:

            def note(token: str) -> None:
                nonlocal sent
                sent = token
                keep(token)

            answer = self._enquiries.score(enquiry, purpose=purpose, model_id=model_id, keep=note)
        keep(sent, answer)
        return answer
