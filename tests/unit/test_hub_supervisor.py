"""The supervisor with processes that end as they are told, on a clock of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.campaign_locks import campaign_locks
from hub.campaign_plan import Progress
from hub.supervisor import INTERRUPTED, MAX_FAILURES, TAKEN, Supervisor
from models.campaign_file import CampaignFile
from tests.federation import small_schema
from tests.hub_world import HubWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path)
    yield made
    made.hub.close()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def order(world: HubWorld, campaign_id: str) -> str:
    file = CampaignFile(name="small", schema_path=Path("small"), stages=("scorecard",), epsilon=1.0)
    world.hub.campaigns.book.create(file, small_schema(), campaign_id)
    return campaign_id


def process(code: int) -> list[str]:
    """A campaign's process that ends with a code once it has been given an id."""
    return [sys.executable, "-c", f"import sys; name = sys.stdin.readline(); sys.exit({code} if name else 0)"]


def staying() -> list[str]:
    """One that goes on until its leash is let go."""
    return [sys.executable, "-c", "import sys; sys.stdin.read()"]


@contextmanager
def supervising(world: HubWorld, command: list[str], clock: Clock, *, parallel: int = 2) -> Iterator[Supervisor]:
    locks = campaign_locks(world.hub.db)
    made = Supervisor(world.hub.campaigns.book, locks, command, parallel=parallel, beat=lambda: None, monotonic=clock)
    try:
        yield made
    finally:
        clock.now += 1e6
        made.stop()


def ended(supervisor: Supervisor, campaign_id: str) -> None:
    """Wait for the process, without looking."""
    supervisor.running[campaign_id].process.wait(120)


def test_a_campaign_whose_process_keeps_dying_is_given_up_with_a_remedy(world: HubWorld) -> None:
    campaign_id, clock, book = order(world, "c-1"), Clock(), world.hub.campaigns.book
    pauses: list[float] = []
    with supervising(world, process(1), clock) as supervisor:
        for _ in range(MAX_FAILURES):
            if campaign_id not in supervisor.running:
                supervisor.look()
            ended(supervisor, campaign_id)
            supervisor.look()
            assert campaign_id not in supervisor.running
            began = clock.now
            while campaign_id not in supervisor.running and book.get(campaign_id).status == "queued":
                clock.now += 0.5
                supervisor.look()
            pauses.append(clock.now - began)
    campaign = book.get(campaign_id)
    assert campaign.status == "failed"
    assert campaign.failure is not None
    assert (campaign.failure.code, bool(campaign.failure.remedy)) == ("internal-error", True)
    assert pauses[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_step_in_between_begins_the_count_anew(world: HubWorld) -> None:
    campaign_id, clock, book = order(world, "c-1"), Clock(), world.hub.campaigns.book
    with supervising(world, process(1), clock) as supervisor:
        for number in range(MAX_FAILURES + 3):
            supervisor.look()
            book.note(campaign_id, Progress("scorecard", f"c-1/scorecard/{number}", "accept", 1, 1, 0.1, ""))
            ended(supervisor, campaign_id)
            supervisor.look()
            clock.now += 1.0
        assert book.get(campaign_id).status == "queued"


@pytest.mark.parametrize("code", [INTERRUPTED, TAKEN])
def test_an_interrupted_campaign_goes_on_for_ever(world: HubWorld, code: int) -> None:
    campaign_id, clock = order(world, "c-1"), Clock()
    with supervising(world, process(code), clock) as supervisor:
        for _ in range(MAX_FAILURES + 2):
            supervisor.look()
            ended(supervisor, campaign_id)
            supervisor.look()
            clock.now += 1.0
    assert world.hub.campaigns.book.get(campaign_id).status == "queued"


def test_no_more_than_allowed_run_at_a_time_and_none_that_another_holds(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.supervisor.STOP_S", 120.0)
    clock = Clock()
    names = [order(world, f"c-{number}") for number in range(4)]
    with campaign_locks(world.hub.db).take(names[0]) as held, supervising(world, staying(), clock) as supervisor:
        assert held is not None
        supervisor.look()
        assert set(supervisor.running) == set(names[1:3])
        processes = [each.process for each in supervisor.running.values()]
    assert all(each.returncode not in (None, -signal.SIGKILL) for each in processes)  # they heed the leash
