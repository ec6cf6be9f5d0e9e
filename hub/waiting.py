"""What a campaign says while it waits for parties: how many are there, for whom it waits, and until when."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from crypto.wire.campaign import Stage
from hub.campaign_plan import Progress
from hub.clock import Clock

_MOMENT = "%H:%M:%S"


class Waiting:
    """Tells whoever watches, once for each change.

    Args:
        tell: takes the event.
        clock: the time.
        stage, attempt: of the event.
        seconds: how long is waited from now.
    """

    def __init__(
        self, tell: Callable[[Progress], None], clock: Clock, *, stage: Stage, attempt: str, seconds: float
    ) -> None:
        self._tell = tell
        self._stage: Stage = stage
        self._attempt = attempt
        self._until: datetime = clock() + timedelta(seconds=seconds)
        self._told: tuple[str, ...] | None = None

    def note(self, wanted: Collection[str], present: Collection[str]) -> None:
        """Say who is not there yet; nothing where that was said already.

        Args:
            wanted: parties that are waited for, or that are there.
            present: parties that the engine reaches.
        """
        absent = tuple(sorted(set(wanted) - set(present)))
        if not absent or absent == self._told:
            return
        self._told = absent
        self._tell(
            Progress(
                self._stage,
                self._attempt,
                "wait",
                done=len(set(wanted)) - len(absent),
                total=len(set(wanted)),
                seconds=0.0,
                detail=f"until {self._until.astimezone().strftime(_MOMENT)}: {', '.join(absent)}",
            )
        )
