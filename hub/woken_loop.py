"""Work in the background that is done when somebody asks for it, and otherwise every so often."""

from __future__ import annotations

import threading
from collections.abc import Callable

_STOP_S = 30.0


class WokenLoop:
    """Takes turns in a thread of its own.

    Args:
        name: of the thread.
        every_s: the longest time between turns.
        turn: gets whether somebody woke the loop; handles its own errors.
    """

    def __init__(self, name: str, every_s: float, turn: Callable[[bool], None]) -> None:
        self._name = name
        self._every_s = every_s
        self._turn = turn
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Let the next turn come now."""
        self._wake.set()

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the turn at hand."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=_STOP_S)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            woken = self._wake.wait(self._every_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            self._turn(woken)
