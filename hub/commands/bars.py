"""Progress of a campaign on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hub import console


class Bars:
    """One progress bar per step of an attempt.

    Args:
        hidden: show nothing, for output that programs read.
    """

    def __init__(self, *, hidden: bool) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=hidden,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, stage: str, attempt: str, step: str, done: int, total: int, detail: str = "") -> None:
        """Move the bar of an attempt's step."""
        text = f"{stage} {attempt.rpartition('/')[2]}: {console.text(step)} {detail}".rstrip()
        key = (attempt, step)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(text, total=total)
        self._bars.update(self._tasks[key], completed=done, total=total, description=text)
