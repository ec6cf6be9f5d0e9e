"""Group commit: those who wait for the disk at the same time wait for it once.

G1  Whoever comes while nobody leads, leads: it takes all that wait with it through one transaction.
G2  Whoever comes meanwhile waits. The leader gives each its result, after the commit, and hands the lead on.
G3  Where one of a group fails, nothing of the group was written; each is then tried alone, so that only who is at fault
    fails. So what is submitted must change nothing but the database.

A result is given after its transaction was committed, never before: what is acknowledged is on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.done = False
        self.called = threading.Event()


class GroupCommit(Generic[Item, Result]):
    """Runs items in groups.

    Args:
        run: carries items through one transaction, and returns a result for each, in order; it raises where nothing
            was written.
        most: items in one group.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], *, most: int = 1000) -> None:
        self._run = run
        self._most = most
        self._mutex = threading.Lock()
        self._queue: list[_Waiting[Item, Result]] = []
        self._led = False

    def submit(self, item: Item) -> Result:
        """Return the item's result once it is on disk; raise what its own transaction raised."""
        own: _Waiting[Item, Result] = _Waiting(item)
        with self._mutex:
            self._queue.append(own)
            leads, self._led = not self._led, True
        if not leads:
            own.called.wait()
        if not own.done:
            self._lead()
        if own.error is not None:
            raise own.error
        return own.result  # type: ignore[return-value]  # done without an error: there is one

    def _lead(self) -> None:
        """G1, G2: carry the first of those that wait, the leader among them, and hand the lead on."""
        with self._mutex:
            group, self._queue = self._queue[: self._most], self._queue[self._most :]
        try:
            self._carry(group)
        finally:
            for each in group:
                if not each.done and each.error is None:  # the leader was interrupted
                    each.error = RuntimeError("the group was not committed")
                each.done = True
            with self._mutex:
                following = self._queue[0] if self._queue else None
                self._led = following is not None
            for each in group:
                each.called.set()
            if following is not None:
                following.called.set()

    def _carry(self, group: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            for each, result in zip(group, self._run([each.item for each in group]), strict=True):
                each.result, each.done = result, True
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            for each in group:  # G3
                self._carry([each])
