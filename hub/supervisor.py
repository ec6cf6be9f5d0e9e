"""The worker: takes up campaigns that nobody runs, each in a process of its own, and again when that dies (B3).

The database says what there is to do, the locks say what is being done: several workers may look at once, and none
needs to know of another. One process waits warm, so that an order begins at once.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from hub.campaign_book import CampaignBook
from hub.campaign_locks import CampaignLocks
from hub.errors import InternalError
from hub.problem_details import describe

LOOK_S = 0.25
STOP_S = 8.0
_AGAIN_S = 1.0
_LONGEST_PAUSE_S = 30.0
MAX_FAILURES = 8
"""So often in a row may a campaign's process die without a step in between, before the campaign is given up."""
DONE, TAKEN, INTERRUPTED = 0, 73, 75
"""Exit codes of a campaign's process; all others are failures of the process itself."""
_logger = structlog.get_logger("hub.campaigns")


@dataclass
class Worked:
    """A campaign's process.

    Attributes:
        steps: how many steps the campaign had when the process was started.
    """

    process: subprocess.Popen[bytes]
    steps: int


@dataclass
class _Failures:
    count: int = 0
    not_before: float = 0.0


class Supervisor:
    """Watches the database and its processes.

    Args:
        book, locks: of the hub's database.
        command: starts a campaign's process, which takes the id on standard input (see `hub.campaign_process`).
        parallel: processes at a time.
        beat: called after each look, for the health check (see `hub.worker_pulse`).
        monotonic: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        book: CampaignBook,
        locks: CampaignLocks,
        command: Sequence[str],
        *,
        parallel: int,
        beat: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._locks = locks
        self._command = list(command)
        self._parallel = parallel
        self._beat = beat
        self._monotonic = monotonic
        self._spare: subprocess.Popen[bytes] | None = None
        self._failures: dict[str, _Failures] = {}
        self.running: dict[str, Worked] = {}

    def run(self, stopping: threading.Event) -> None:
        """Look again and again until told to stop; campaigns under way stay unfinished."""
        try:
            while not stopping.wait(LOOK_S):
                try:
                    self.look()
                    self._beat()
                except DBAPIError:
                    _logger.exception("campaigns-not-read")
                    stopping.wait(_AGAIN_S)
        finally:
            self.stop()

    def look(self) -> None:
        """Look once: note which processes ended, start those that are due."""
        self._reap()
        if self._book.log.guard.held():
            return
        now = self._monotonic()
        for campaign_id in self._book.unfinished():
            if len(self.running) >= self._parallel:
                break
            if campaign_id in self.running or self._locks.taken(campaign_id):
                continue
            failures = self._failures.get(campaign_id)
            if failures is not None and failures.count >= MAX_FAILURES:
                self._give_up(campaign_id)
            elif failures is None or now >= failures.not_before:
                self._launch(campaign_id)
        if self._spare is None or self._spare.poll() is not None:
            self._spare = self._start()

    def stop(self) -> None:
        """End all processes: by their leash, then, for those that do not heed it, by force."""
        processes = [worked.process for worked in self.running.values()]
        if self._spare is not None:
            processes.append(self._spare)
        for process in processes:
            _let_go(process)
        deadline = self._monotonic() + STOP_S
        for process in processes:
            try:
                process.wait(max(0.1, deadline - self._monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()
        self._spare = None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE)  # noqa: S603

    def _launch(self, campaign_id: str) -> None:
        process, self._spare = self._spare or self._start(), None
        steps = self._book.last_step(campaign_id)
        self.running[campaign_id] = Worked(process, steps)
        _logger.info("campaign-process", campaign=campaign_id, pid=process.pid)
        if process.stdin is not None:
            try:
                process.stdin.write(f"{campaign_id}\n".encode())
                process.stdin.flush()
            except BrokenPipeError:  # it died while it waited; the next look finds it
                return

    def _reap(self) -> None:
        now = self._monotonic()
        for campaign_id, worked in list(self.running.items()):
            code = worked.process.poll()
            if code is None:
                continue
            _let_go(worked.process)
            del self.running[campaign_id]
            if code == DONE:
                self._failures.pop(campaign_id, None)
            elif code in (TAKEN, INTERRUPTED):
                self._failures[campaign_id] = _Failures(0, now + _AGAIN_S)
            else:
                self._note_failure(campaign_id, worked, code, now)

    def _note_failure(self, campaign_id: str, worked: Worked, code: int, now: float) -> None:
        failures = self._failures.setdefault(campaign_id, _Failures())
        moved = self._book.last_step(campaign_id) > worked.steps
        failures.count = 1 if moved else failures.count + 1
        pause = min(_LONGEST_PAUSE_S, _AGAIN_S * 2.0 ** (failures.count - 1))
        failures.not_before = now + pause
        _logger.warning("campaign-process-died", campaign=campaign_id, code=code, again_in_s=pause)

    def _give_up(self, campaign_id: str) -> None:
        with self._locks.take(campaign_id) as held:
            if held is None or campaign_id not in self._book.unfinished():
                return
            failure = InternalError(
                f"The campaign's process died {MAX_FAILURES} times in a row without a step.",
                remedy="Read the worker's log, then order the campaign again; what was sent stays charged.",
            )
            self._book.end(campaign_id, "failed", failure=describe(failure))
            del self._failures[campaign_id]
            _logger.error("campaign-given-up", campaign=campaign_id)


def process_command(config: Path) -> list[str]:
    """Return the command of a campaign's process, under this interpreter whatever the PATH."""
    return [sys.executable, "-m", "hub.cli", "campaign-process", "--config", str(config)]


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        try:
            process.stdin.close()
        except BrokenPipeError:
            return
