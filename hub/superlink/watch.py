"""A campaign's process where the engine is a SuperLink: it submits runs, watches them, ends them (see `course`).

It holds the campaign's lock as any other; the campaign itself runs in the process that the SuperLink starts
(`hub.superlink_app`). A watcher that died is replaced by one that finds the run still going, and watches on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from hub.campaign_errors import SuperLinkError
from hub.campaign_plan import Progress
from hub.campaign_run import CampaignRun
from hub.campaign_services import CampaignServices
from hub.engines import GridLease
from hub.problem_details import describe
from hub.superlink.api import SuperLinkApi, SuperLinkAwayError
from hub.superlink.course import MAX_FAILURES, Act, Course, Seen
from models.stages import EngineName

_LOOK_S = 1.0
_logger = structlog.get_logger("hub.superlink")


class SuperLinkWatch:
    """One campaign on a SuperLink.

    Args:
        services: of the hub.
        campaign_id: an unfinished campaign.
        api: the SuperLink.
        hub_yaml: the hub's configuration, for the process that the SuperLink starts.
        stopping: set when the hub shuts down; the run goes on, and is found again.
    """

    def __init__(
        self,
        services: CampaignServices,
        campaign_id: str,
        *,
        api: SuperLinkApi,
        hub_yaml: Path,
        stopping: threading.Event,
    ) -> None:
        self._services = services
        self._book = services.book
        self._campaign_id = campaign_id
        self._api = api
        self._hub_yaml = hub_yaml.absolute()
        self._stopping = stopping
        self._course = Course()
        self._last_failure = ""
        self._told = ""

    def run(self) -> bool:
        """Watch to the end; False where this process was told to stop before."""
        while not self._stopping.wait(_LOOK_S):
            seen = self._look()
            act = self._course.next(seen)
            try:
                if self._do(act, seen):
                    return True
            except SuperLinkAwayError:
                continue  # the next look says so
        return False

    def _do(self, act: Act, seen: Seen) -> bool:
        """Do what is due; True where nothing is left to do."""
        if act == "submit":
            run = self._api.submit(self._campaign_id, self._hub_yaml)
            self._course.submitted(run, seen)
            self._tell(f"run {run} submitted to the SuperLink")
        elif act == "stop" and seen.run is not None:
            self._api.stop(seen.run)
            self._tell(f"run {seen.run} stopped")
        elif act == "watch" and not seen.reached:
            self._tell("the SuperLink is away; waiting for it")
        elif act == "end-aborted":
            return self._end_aborted()
        elif act == "give-up":
            self._give_up(seen)
            return True
        return act == "done"

    def _look(self) -> Seen:
        ended = self._campaign_id not in self._book.unfinished()
        run, reached = None, True
        try:
            runs = self._api.runs(self._campaign_id)
        except SuperLinkError:
            reached = False
        else:
            run = next((each.run_id for each in runs if each.alive), None)
            self._last_failure = next((each.detail for each in runs if each.detail), self._last_failure)
        return Seen(
            now=time.monotonic(),
            ended=ended,
            abort_asked=self._book.abort_asked(self._campaign_id),
            steps=self._steps(),
            run=run,
            reached=reached,
        )

    def _steps(self) -> int:
        """The newest step that a run took; that it was submitted, or waits, is none."""
        events = self._book.events(self._campaign_id)
        return max((number for number, event in events if event.step not in ("engine", "wait")), default=0)

    def _end_aborted(self) -> bool:
        """No run is there to do it: the campaign ends at its first step, before anybody is asked anything."""
        run = CampaignRun(
            self._services, self._campaign_id, engine=_NoNodes(), resumed=False, stopping=threading.Event()
        )
        return run.run()

    def _give_up(self, seen: Seen) -> None:
        why = (
            f"Its runs ended {MAX_FAILURES} times in a row without a step. {self._last_failure}".strip()
            if seen.reached
            else "The SuperLink does not come back."
        )
        failure = SuperLinkError(why, field="superlink", remedy="Read the SuperLink's log, then order it again.")
        self._book.end(self._campaign_id, "failed", failure=describe(failure))
        _logger.error("campaign-given-up", campaign=self._campaign_id, reason=why)

    def _tell(self, detail: str) -> None:
        if detail == self._told:
            return
        self._told = detail
        stage = self._book.get(self._campaign_id).order.stages[0]
        self._book.note(
            self._campaign_id,
            Progress(stage, f"{self._campaign_id}/start", "engine", done=0, total=0, seconds=0.0, detail=detail),
        )
        _logger.info("campaign-on-superlink", campaign=self._campaign_id, what=detail)


class _NoNodes:
    """An engine that reaches nobody."""

    name: EngineName = "superlink"

    def connected(self) -> frozenset[str]:
        """Nobody."""
        return frozenset()

    @contextmanager
    def open(self, parties: Collection[str]) -> Iterator[GridLease]:
        """Refuse: an aborted campaign opens no grid."""
        raise SuperLinkError("This campaign was aborted.", remedy="Order it again.")
        yield  # pragma: no cover  (makes it a generator)
