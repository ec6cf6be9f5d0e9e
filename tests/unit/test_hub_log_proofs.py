"""Proofs for those who wait on one event loop: looked up together, once there is news, and never in vain for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from crypto.wire.audit import InclusionProof
from hub.errors import CheckpointNotCosignedError
from hub.log import NewEntry
from hub.log_proofs import ProofDesk
from tests.hub_world import HubWorld


@pytest.fixture
def world(tmp_path: Path, database: str) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path)
    made.join(made.witness)
    made.settle()
    yield made
    made.hub.close()


class Looks:
    """How often the log was looked at, and for how many."""

    def __init__(self, world: HubWorld) -> None:
        self.sizes: list[int] = []
        self.hurried = 0
        self._honest: Callable[[Sequence[Sequence[int]]], list[list[InclusionProof] | None]] = world.hub.log._prove_each
        self.fails = False

    def prove(self, groups: Sequence[Sequence[int]]) -> list[list[InclusionProof] | None]:
        self.sizes.append(len(groups))
        if self.fails:
            raise RuntimeError("the disk is gone")
        return self._honest(groups)

    def hurry(self) -> None:
        self.hurried += 1


def append(world: HubWorld) -> list[int]:
    return world.hub.log.append_durably([NewEntry("query", "bank-01", bytes(32))])


def desk_of(world: HubWorld, looks: Looks) -> ProofDesk:
    return ProofDesk(world.hub.log._cosigner, looks.prove, looks.hurry)


def test_all_who_wait_are_looked_up_once_and_not_before_there_is_news(world: HubWorld) -> None:
    looks = Looks(world)

    async def run() -> list[list[InclusionProof]]:
        desk = desk_of(world, looks)
        seen = world.hub.log.generation
        waiting = [asyncio.create_task(desk.of(append(world), 30, seen)) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert looks.sizes == []
        await asyncio.to_thread(world.settle)
        return await asyncio.gather(*waiting)

    found = asyncio.run(run())
    assert looks.sizes == [5]
    assert looks.hurried >= 1
    assert len({proof.index for (proof,) in found}) == 5


def test_what_was_cosigned_between_is_not_waited_for(world: HubWorld) -> None:
    looks = Looks(world)
    seen = world.hub.log.generation
    ids = append(world)
    world.settle()
    (proof,) = asyncio.run(desk_of(world, looks).of(ids, 30, seen))
    (again,) = asyncio.run(desk_of(world, looks).of(ids, 30, None))
    assert proof == again
    assert looks.sizes == [1, 1]


def test_another_process_may_cosign(world: HubWorld) -> None:
    looks = Looks(world)

    async def run() -> list[InclusionProof]:
        ids, seen = append(world), world.hub.log.generation
        await asyncio.to_thread(world.settle)
        # As if nobody had told this process.
        world.hub.log._cosigner._generation = seen
        return await desk_of(world, looks).of(ids, 30, seen)

    assert len(asyncio.run(run())) == 1


def test_one_without_a_proof_holds_up_nobody(world: HubWorld) -> None:
    async def run() -> list[InclusionProof]:
        desk = desk_of(world, Looks(world))
        lost = asyncio.create_task(desk.of([10**6], 0.3, None))
        ids = append(world)
        await asyncio.to_thread(world.settle)
        found = await desk.of(ids, 30, None)
        with pytest.raises(TimeoutError):
            await lost
        return found

    assert len(asyncio.run(run())) == 1


def test_a_failure_reaches_those_who_wait_and_not_those_who_come_later(world: HubWorld) -> None:
    looks = Looks(world)
    ids = append(world)
    world.settle()

    async def run() -> list[InclusionProof]:
        desk = desk_of(world, looks)
        looks.fails = True
        with pytest.raises(RuntimeError):
            await desk.of(ids, 30, None)
        looks.fails = False
        return await desk.of(ids, 30, None)

    assert len(asyncio.run(run())) == 1


def test_the_log_says_that_the_witness_did_not_cosign(world: HubWorld) -> None:
    ids = append(world)
    with pytest.raises(CheckpointNotCosignedError):
        asyncio.run(world.hub.log.proofs(ids, 0.1, seen=world.hub.log.generation))
