"""Proofs for those who wait on an event loop: all who wait are proved together, once the witness has cosigned.

Each look at the log is one read transaction for everybody whose entries may lie under a newer checkpoint than when they
were last looked for. Whoever has just appended passes the `generation` from before: nothing is looked up for it until a
checkpoint was cosigned since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crypto.wire.audit import InclusionProof
from hub.cosigning import Cosigner

LOOK_AGAIN_S = 1.0
"""Without news everybody is looked up this often: another process may have cosigned."""

Prove = Callable[[Sequence[Sequence[int]]], list[list[InclusionProof] | None]]


@dataclass(eq=False)
class _Waiting:
    ids: Sequence[int]
    seen: int | None
    proved: asyncio.Future[list[InclusionProof]]


class ProofDesk:
    """Proves entries for one event loop.

    Args:
        cosigner: says when a checkpoint was cosigned.
        prove: looks groups of entries up, in a thread.
        hurry: asks for a checkpoint now.
    """

    def __init__(self, cosigner: Cosigner, prove: Prove, hurry: Callable[[], None]) -> None:
        self._cosigner = cosigner
        self._prove = prove
        self._hurry = hurry
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def of(self, ids: Sequence[int], timeout: float, seen: int | None) -> list[InclusionProof]:
        """Wait for proofs of entries; TimeoutError where there are none in time.

        Args:
            ids: as `append` gave them.
            timeout: seconds.
            seen: the cosigner's `generation` from before they were appended; None where they may be old.
        """
        async with asyncio.timeout(timeout):
            generation = self._cosigner.generation
            if seen != generation:
                (found,) = await asyncio.to_thread(self._prove, [ids])
                if found is not None:
                    return found
            return await self._with_others(ids, generation)

    async def _with_others(self, ids: Sequence[int], seen: int) -> list[InclusionProof]:
        own = _Waiting(ids, seen, asyncio.get_running_loop().create_future())
        self._waiting.append(own)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        else:
            self._hurry()
        try:
            return await own.proved
        finally:
            if own in self._waiting:
                self._waiting.remove(own)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._round()
        except Exception as error:
            # Whoever waits learns why; those who come later try again.
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.proved.done():
                    each.proved.set_exception(error)

    async def _round(self) -> None:
        """Look up whom news may concern, else wait for news."""
        generation = self._cosigner.generation
        due = [each for each in self._waiting if each.seen != generation]
        if not due:
            self._hurry()
            if not await self._cosigner.wait_async(generation, LOOK_AGAIN_S):
                for each in self._waiting:
                    each.seen = None
            return
        found = await asyncio.to_thread(self._prove, [each.ids for each in due])
        for each, proofs in zip(due, found, strict=True):
            each.seen = generation
            if proofs is not None and each in self._waiting:
                self._waiting.remove(each)
                if not each.proved.done():
                    each.proved.set_result(proofs)
