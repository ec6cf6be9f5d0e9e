"""What a campaign says while it waits for parties: how many are there, for whom it waits, and until when."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict

from crypto.wire.campaign import Stage
from hub.campaign_plan import Progress
from hub.clock import Clock


class Wait(BaseModel):
    """What a step `wait` is about; its `detail` is this as JSON, so that each reader has it in his own language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: datetime
    parties: tuple[str, ...]

    @classmethod
    def of(cls, event: Progress) -> Self | None:
        """Read it from a step; None for steps that wait for nobody."""
        return cls.model_validate_json(event.detail) if event.step == "wait" else None


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
        self._until: datetime = (clock() + timedelta(seconds=seconds)).replace(microsecond=0)
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
                detail=Wait(until=self._until, parties=absent).model_dump_json(),
            )
        )
