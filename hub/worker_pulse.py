"""A worker's pulse in the database: written while its loop goes round, read by its health check."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from sqlalchemy import delete

from hub.clock import Clock, seconds
from hub.db import Database
from hub.tables.workers import WorkerRow

BEAT_S = 5.0
_FORGET_S = 86_400
"""Machines that are gone are not kept: containers have new names each time."""


class WorkerPulse:
    """The pulse of this machine's worker.

    Args:
        db: of the hub.
        clock: the time.
        machine: its name; this one's if not given.
        monotonic: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        db: Database,
        *,
        clock: Clock,
        machine: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._clock = clock
        self._machine = (machine or socket.gethostname())[:255]
        self._monotonic = monotonic
        self._next = 0.0

    def beat(self) -> None:
        """Write the time down, unless that was done a moment ago."""
        if self._monotonic() < self._next:
            return
        now = seconds(self._clock())
        with self._db.session() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.at < now - _FORGET_S))
            session.merge(WorkerRow(machine=self._machine, at=now))
        self._next = self._monotonic() + BEAT_S

    def age(self) -> int | None:
        """Return how many seconds ago the last beat was; None where there was none."""
        with self._db.reading() as session:
            row = session.get(WorkerRow, self._machine)
        return None if row is None else max(0, seconds(self._clock()) - row.at)
