"""Calls that change something take effect once: key, body and answer are written in the change's own transaction.

So there is no moment at which a change is made and its answer is not known: whoever lost the answer, for whatever
reason, sends the same body under the same key and gets the same answer. Refusals are not kept: their cause may go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.orm import Session

from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import IdempotencyKeyMissingError, IdempotencyKeyReusedError, RequestError
from hub.platform.callers import Caller
from hub.platform.tables.callers import AnsweredCallRow

HEADER = "Idempotency-Key"
LIFE_S = 30 * 24 * 3600
_MAX_KEY = 128


@dataclass(frozen=True)
class Answered:
    """An answer as it goes out; `replayed` where it was made before."""

    status: int
    body: str
    replayed: bool


class AnsweredCalls:
    """Answers by key, kept for `LIFE_S`."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def once(
        self,
        caller: Caller,
        path: str,
        key: str | None,
        body: bytes,
        change: Callable[[Session], BaseModel],
        *,
        status: int = 200,
    ) -> Answered:
        """Make a change, or give the answer that it got before.

        Args:
            caller, path: a key belongs to one caller and one path.
            key: of the header.
            body: exact bytes of the request.
            change: makes it in this transaction, and returns the answer.
            status: of a success.

        Raises:
            IdempotencyKeyMissingError, RequestError: there is no key, or it is malformed.
            IdempotencyKeyReusedError: the key came with another body.
        """
        if not key:
            raise IdempotencyKeyMissingError(
                "Every call that changes something needs an Idempotency-Key header.",
                field=HEADER,
                remedy="Send a fresh random key with each new call, and the same one when you repeat it.",
            )
        if len(key) > _MAX_KEY or not key.isascii() or not key.isprintable():
            raise RequestError(
                f"An idempotency key is 1 to {_MAX_KEY} printable ASCII characters.",
                field=HEADER,
                remedy="Use a UUID or 32 hex digits.",
            )
        scope = hashlib.sha256("\x00".join((caller.actor, path, key)).encode()).digest()
        body_sha256, now = hashlib.sha256(body).digest(), seconds(self._clock())
        with self._db.session() as session:
            row = session.get(AnsweredCallRow, scope)
            if row is not None and row.at >= now - LIFE_S:
                if row.body_sha256 != body_sha256:
                    raise IdempotencyKeyReusedError(
                        "The key came before, with another body.",
                        field=HEADER,
                        remedy="Use a fresh key for each call.",
                    )
                return Answered(row.status, row.answer, replayed=True)
            session.execute(delete(AnsweredCallRow).where(AnsweredCallRow.at < now - LIFE_S))
            answer = change(session).model_dump_json()
            session.add(AnsweredCallRow(scope=scope, body_sha256=body_sha256, status=status, answer=answer, at=now))
        return Answered(status, answer, replayed=False)
