"""Steps of a demo as they are shown: what is done, how far it is, what it took; and the folder that they work in."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hub.demo.errors import DemoError

_MARK = ".digua-demo"
_LINES = 5
"""So many lines tell how far a counted step is where no bar can be drawn."""


@contextlib.contextmanager
def own_folder(out: Path) -> Iterator[None]:
    """Take away an earlier run's files, and nobody else's; the folder is this run's alone until it ends.

    Raises:
        DemoError: it holds files that a demo did not make, or a demo that still runs uses it.
    """
    mark = out / _MARK
    if not mark.exists() and out.exists() and any(out.iterdir()):
        raise DemoError(
            f"{out} holds files that the demo did not make",
            field="out",
            remedy="name an empty folder with --out",
        )
    out.mkdir(parents=True, exist_ok=True)
    with mark.open("a", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except BlockingIOError as busy:
            raise DemoError(
                f"a demo that still runs uses {out}",
                field="out",
                remedy="end it with Ctrl-C, or name another folder with --out",
            ) from busy
        for each in out.iterdir():  # all but the mark: a run that is cut off here leaves a folder that is still ours
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            elif each != mark:
                each.unlink()
        held.truncate(0)
        held.write("Made by digua-hub demo, which empties this folder when it runs again.\n")
        held.flush()
        yield


@dataclass
class Steps:
    """Shows steps on a console.

    Attributes:
        seconds: title → what it took, filled as steps end.
    """

    console: Console
    seconds: dict[str, float]

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """A step of unknown length: spinner, then its seconds."""
        start = time.monotonic()
        with self.console.status(title) as status:
            yield lambda text: status.update(f"{title} · {text}")
        self._finish(title, start)

    @contextlib.contextmanager
    def counted(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A step with a count: a bar (lines where the console is no terminal), then its seconds."""
        start, done = time.monotonic(), 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total)

            def advance(count: int) -> None:
                nonlocal done
                before, done = done, done + count
                progress.advance(task, count)
                if not self.console.is_terminal and before * _LINES // total < done * _LINES // total < _LINES:
                    self.console.print(f"  {title} {done:,}/{total:,}")

            yield advance
        self._finish(title, start)

    def _finish(self, title: str, start: float) -> None:
        seconds = time.monotonic() - start
        self.seconds[title] = round(seconds, 1)
        self.console.print(f"[green]✓[/green] {title} [dim]{seconds:.1f} s[/dim]")
