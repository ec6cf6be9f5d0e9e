"""What one process of the hub does for all: one replica leads, and another takes over when it ends.

The lead is a lock of an open connection to PostgreSQL, which the server gives back when its holder dies. A leader that
lost its connection notices within a second; until then two may lead, so each of the tasks bears being done by two.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import structlog
from sqlalchemy.exc import DBAPIError

from hub.campaign_locks import AdvisoryLocks
from hub.db import Database

_NAME = "of all: the lead"
"""No campaign has such an id."""
_LOOK_S = 1.0
_STOP_S = 40.0
_logger = structlog.get_logger("hub.replicas")


class Task(Protocol):
    """Something that only the leader does."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within seconds."""


class Leadership:
    """Runs tasks while this process leads.

    Args:
        db: on PostgreSQL.
        tasks: started in this order, stopped in the opposite one; more may be added before the start.
    """

    def __init__(self, db: Database, tasks: Sequence[Task]) -> None:
        self._locks = AdvisoryLocks(db)
        self.tasks: list[Task] = list(tasks)
        self._leads = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def leads(self) -> bool:
        """Say whether this process leads."""
        return self._leads.is_set()

    def start(self) -> None:
        """Begin to try."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let another lead."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._try()
            except DBAPIError:
                _logger.warning("lead-not-tried")
            self._stopping.wait(_LOOK_S)

    def _try(self) -> None:
        with self._locks.take(_NAME) as held:
            if held is None:
                return
            _logger.info("lead-taken")
            started: list[Task] = []
            self._leads.set()
            try:
                for task in self.tasks:
                    task.start()
                    started.append(task)
                while not self._stopping.wait(_LOOK_S) and held.still():
                    pass
            finally:
                self._leads.clear()
                for task in reversed(started):
                    task.stop()
                _logger.info("lead-left")
