"""What is due next for a campaign on a SuperLink: its state, without I/O.

S1  No run of the campaign is alive: submit one. The hub's database says where it goes on.
S2  One is alive: watch it.
S3  The SuperLink was away while it ran: runs do not outlive it, whatever it says of them. Stop that one, back to S1.
S4  The operator ends the campaign: the run does so at its next step. If it does not in time it is stopped, and the
    campaign is ended here.
S5  The campaign has ended: a run that is left over is stopped.
S6  Runs end again and again without a step of the campaign in between: give it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_FAILURES = 5
ABORT_S = 45.0
AWAY_S = 600.0
LINGER_S = 10.0
_LONGEST_PAUSE_S = 30.0

Act = Literal["submit", "watch", "stop", "end-aborted", "give-up", "done"]


@dataclass(frozen=True)
class Seen:
    """One look.

    Attributes:
        now: seconds of a clock that only goes forward.
        ended: the campaign has ended.
        abort_asked: the operator wants it to.
        steps: number of the campaign's newest step.
        run: the newest run that is alive; None where none is.
        reached: the SuperLink answered; where it did not, nothing is known of runs.
    """

    now: float
    ended: bool
    abort_asked: bool
    steps: int
    run: int | None
    reached: bool = True


class Course:
    """Decides from look to look; the caller does what is decided."""

    def __init__(self) -> None:
        self.failures = 0
        self._submitted_steps: int | None = None
        self._not_before = 0.0
        self._away_since: float | None = None
        self._suspect: int | None = None
        self._last_run: int | None = None
        self._abort_since: float | None = None
        self._ended_since: float | None = None

    def next(self, seen: Seen) -> Act:
        """Say what is due."""
        if not seen.reached:
            return self._away(seen)
        if self._away_since is not None:
            self._away_since = None
            self._suspect = self._last_run
        if seen.run is not None:
            self._last_run = seen.run
        if seen.ended:
            return self._ending(seen)
        if seen.run is not None and seen.run == self._suspect:  # S3
            return "stop"
        if seen.abort_asked:
            return self._aborting(seen)
        if seen.run is not None:
            return "watch"
        return self._submission(seen)

    def submitted(self, run: int, seen: Seen) -> None:
        """Note a run that was submitted."""
        self._last_run, self._submitted_steps = run, seen.steps

    def _away(self, seen: Seen) -> Act:
        if self._away_since is None:
            self._away_since = seen.now
        if seen.ended:
            return "done"
        if seen.abort_asked:
            return "end-aborted"
        return "give-up" if seen.now - self._away_since > AWAY_S else "watch"

    def _ending(self, seen: Seen) -> Act:
        if seen.run is None:
            return "done"
        if self._ended_since is None:
            self._ended_since = seen.now
        return "stop" if seen.now - self._ended_since > LINGER_S else "watch"

    def _aborting(self, seen: Seen) -> Act:
        if seen.run is None:
            return "end-aborted"
        if self._abort_since is None:
            self._abort_since = seen.now
        return "stop" if seen.now - self._abort_since > ABORT_S else "watch"

    def _submission(self, seen: Seen) -> Act:
        if self._submitted_steps is not None:
            moved = seen.steps > self._submitted_steps
            self.failures = 1 if moved else self.failures + 1
            self._not_before = seen.now + min(_LONGEST_PAUSE_S, 2.0 ** (self.failures - 1))
            self._submitted_steps = None
        if self.failures >= MAX_FAILURES:
            return "give-up"
        return "submit" if seen.now >= self._not_before else "watch"
