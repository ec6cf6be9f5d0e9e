"""A worker's pulse: written as it looks for campaigns, read by its health check."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.campaign_locks import campaign_locks
from hub.cli import app
from hub.clock import utc_now
from hub.commands.worker import LATE_S
from hub.errors import StateError
from hub.supervisor import Supervisor
from hub.worker_pulse import BEAT_S, WorkerPulse
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


def pulse(world: HubWorld, machine: str, steady: Clock, *, later: float = 0.0) -> WorkerPulse:
    return WorkerPulse(
        world.hub.db, clock=lambda: utc_now() + timedelta(seconds=later), machine=machine, monotonic=steady
    )


def test_each_machine_has_its_own_pulse(world: HubWorld) -> None:
    steady = Clock()
    pulse(world, "one", steady).beat()
    assert pulse(world, "one", steady, later=40).age() in (40, 41)
    assert pulse(world, "two", steady).age() is None


def test_a_beat_is_written_every_few_seconds_only(world: HubWorld) -> None:
    steady, moved = Clock(), [0.0]
    made = WorkerPulse(
        world.hub.db, clock=lambda: utc_now() + timedelta(seconds=moved[0]), machine="one", monotonic=steady
    )
    made.beat()
    moved[0] = 20.0
    made.beat()
    assert made.age() in (20, 21)
    steady.now += BEAT_S
    made.beat()
    assert made.age() in (0, 1)


def test_machines_that_are_gone_are_forgotten(world: HubWorld) -> None:
    pulse(world, "old", Clock()).beat()
    pulse(world, "new", Clock(), later=86_500).beat()
    assert pulse(world, "old", Clock()).age() is None


def test_the_health_check_fails_without_a_worker_and_with_one_that_hangs(world: HubWorld) -> None:
    config = world.hub.config.file
    run = CliRunner()
    asked = ["worker-health", "--json", "--config", str(config)]
    nobody = run.invoke(app, asked)
    assert isinstance(nobody.exception, StateError)
    assert nobody.exception.field == "campaigns.worker"
    stopping = threading.Event()
    supervisor = Supervisor(
        world.hub.campaigns.book,
        campaign_locks(world.hub.db),
        ["/bin/cat"],
        parallel=1,
        beat=WorkerPulse(world.hub.db, clock=utc_now).beat,
    )
    thread = threading.Thread(target=supervisor.run, args=(stopping,))
    thread.start()
    deadline = time.monotonic() + 30
    while run.invoke(app, asked).exit_code != 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    stopping.set()
    thread.join()
    answered = run.invoke(app, asked)
    assert answered.exit_code == 0
    assert json.loads(answered.stdout)["pulse_age_s"] < LATE_S
    WorkerPulse(world.hub.db, clock=lambda: utc_now() - timedelta(seconds=LATE_S + 1)).beat()
    late = run.invoke(app, asked)
    assert isinstance(late.exception, StateError)
    assert "last looked" in str(late.exception)
