"""Group commit: one transaction for those that wait, a result only after it, and nobody falls for another's fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.log import NewEntry
from hub.tables.log import LogPendingRow
from models.group_commit import GroupCommit
from tests.hub_world import HubWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path)
    world.join(world.witness)
    world.settle()
    yield world
    world.hub.close()


class Transactions:
    """Runs groups; the first one only ends when all others wait."""

    def __init__(self, others: int) -> None:
        self.groups: list[list[int]] = []
        self.first = threading.Event()
        self.others = others
        self.commit: GroupCommit[int, int] = GroupCommit(self.run, most=others)

    def run(self, items: Sequence[int]) -> list[int]:
        if not self.groups:
            self.groups.append(list(items))
            self.first.set()
            while len(self.commit._queue) < self.others:
                threading.Event().wait(0.001)
        else:
            self.groups.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError(str(items))
        return [10 * item for item in items]

    def submit(self, items: Sequence[int]) -> dict[int, object]:
        """One first, the rest while it runs; what each got."""
        got: dict[int, object] = {}

        def work(item: int) -> None:
            try:
                got[item] = self.commit.submit(item)
            except ValueError as error:
                got[item] = str(error)

        threads = [threading.Thread(target=work, args=(item,)) for item in items]
        threads[0].start()
        self.first.wait()
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        return got


def test_those_who_come_meanwhile_go_together() -> None:
    transactions = Transactions(9)
    assert transactions.submit(range(10)) == {item: 10 * item for item in range(10)}
    assert transactions.groups[0] == [0]
    assert sorted(transactions.groups[1]) == list(range(1, 10))
    assert len(transactions.groups) == 2
    assert transactions.commit.submit(77) == 770  # and the lead is free again


def test_only_who_is_at_fault_fails() -> None:
    transactions = Transactions(4)
    got = transactions.submit([0, 1, 2, -3, 4])
    assert got == {0: 0, 1: 10, 2: 20, -3: "[-3]", 4: 40}
    assert [len(group) for group in transactions.groups] == [1, 4, 1, 1, 1, 1]


def test_a_group_has_its_limit() -> None:
    transactions = Transactions(6)
    transactions.commit = GroupCommit(transactions.run, most=4)
    assert len(transactions.submit(range(7))) == 7
    assert [len(group) for group in transactions.groups] == [1, 4, 2]


def test_many_writers_lose_nothing_and_find_it_written_when_they_return(world: HubWorld) -> None:
    missing: list[int] = []

    def write(writer: int) -> None:
        for item in range(20):
            facts = {"request_hash": f"{writer:032d}{item:032d}"}
            (own,) = world.hub.log.append_durably([NewEntry("query", "bank-01", b"p" * 32, facts)])
            with world.hub.db.reading() as session:  # another connection
                leaf = session.scalar(select(LogPendingRow.leaf).where(LogPendingRow.id == own))
            if leaf is None or facts["request_hash"].encode() not in leaf:
                missing.append(own)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(world.hub.log.reader.of_merchant(b"p" * 32)) == 240
    world.settle()
    world.hub.log.check()
    assert world.hub.log.reader.size() == 244


def test_a_cause_that_fails_takes_its_entries_with_it(world: HubWorld) -> None:
    seen: list[Sequence[int]] = []

    def fail(session: Session, ids: Sequence[int]) -> None:
        seen.append(ids)
        assert session.get(LogPendingRow, ids[0]) is not None
        raise KeyError("no")

    with pytest.raises(KeyError):
        world.hub.log.append_durably([NewEntry("query", "bank-01", b"p" * 32)] * 2, fail)
    assert len(seen[0]) == 2
    assert world.hub.log.reader.of_merchant(b"p" * 32) == []
    (first, second) = world.hub.log.append_durably([NewEntry("query", "bank-01", b"p" * 32)] * 2)
    assert second == first + 1
