"""Campaigns in processes of their own: who runs what, and what is left when the hub's processes are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from hub.campaign_locks import campaign_locks
from hub.config import load_config
from hub.db import open_database
from hub.embedded_worker import EmbeddedWorker
from hub.peers import HubAwayError
from hub.relayed_links import PREFIX, RelayedLinks
from tests.gates import Gate
from tests.served_world import ServedWorld, wait_until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    parties = ("witness", "bank-1", "bank-2", "bank-3", "tax-1", "tax-2", "utility-1", "utility-2")
    made = ServedWorld(tmp_path_factory.mktemp("worked"), budgets=dict.fromkeys(parties, 95.0))
    try:
        yield made
    finally:
        made.close()


def embedded(world: ServedWorld) -> EmbeddedWorker:
    return next(part for part in world.hub.parts if isinstance(part, EmbeddedWorker))


def spent(world: ServedWorld, party: str, campaign_id: str) -> list[bool]:
    """Whether each charge of a campaign was taken back."""
    charges = world.agents[party].runtime.ledger.charges()
    return [each.refunded for each in charges if each.campaign_id == campaign_id]


@pytest.mark.parametrize("step", ["train.accept", "train.exchange", "train.share", "query.release"])
def test_a_killed_campaign_is_taken_up_again_and_charged_once(world: ServedWorld, step: str) -> None:
    holder = world.witness if step.startswith("query") else world.agents["bank-2"]
    with Gate(holder, step) as gate:
        campaign_id = world.start(noise="off", nodes=["bank-1", "bank-2", "tax-1", "utility-1"])
        assert gate.reached.wait(120)
        world.kill_campaign(campaign_id)
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    # The attempt that was cut off is voided and taken back; where the witness had all it needed it counts.
    charged = spent(world, "bank-1", campaign_id)
    assert charged.count(False) == 1
    assert len(charged) <= int(state["progress"][-1]["attempt"].rpartition("/")[2])


def test_the_serving_process_can_be_replaced_under_a_campaign(world: ServedWorld) -> None:
    with Gate(world.agents["bank-1"], "train.round", skip=2) as gate:
        order = {"stages": ["encoder"], "noise": "off", "encoder": {"rounds": 5, "learning_rate": 2.0}}
        campaign_id = world.start(**order)
        assert gate.reached.wait(120)
        # A worker of another service: the serving process goes and comes without it.
        with outside_worker(world):
            world.kill_campaign(campaign_id)
            world.process.restart()
            gate.opened.set()
            state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    rounds = [each["done"] for each in state["progress"] if each["what"] == "round"]
    assert rounds == sorted(rounds)
    assert rounds[-1] == 5
    world.wait_connected()


def test_one_campaign_has_one_process_however_many_workers_look(world: ServedWorld) -> None:
    with outside_worker(world) as first, outside_worker(world) as second:
        with Gate(world.agents["bank-1"], "train.accept") as gate:
            campaign_id = world.start(noise="off")
            assert gate.reached.wait(120)
            time.sleep(1.0)  # all workers have looked meanwhile
            pid = world.campaign_pid(campaign_id)
            owners = [worker for worker in (first, second) if pid in children(worker.pid)]
            assert len(owners) + (pid in children(worker_pid(world))) == 1
        assert world.ended(campaign_id)["status"] == "succeeded"
        steps = [each["what"] for each in world.state(campaign_id)["progress"]]
        assert steps.count("open") == 1


def test_a_killed_supervisor_takes_its_campaigns_with_it_and_they_go_on(world: ServedWorld) -> None:
    with Gate(world.agents["bank-1"], "train.accept") as gate:
        campaign_id = world.start(noise="off")
        assert gate.reached.wait(120)
        pid, supervisor = world.campaign_pid(campaign_id), worker_pid(world)
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(pid), what="the end of its child")
    assert world.ended(campaign_id)["status"] == "succeeded"
    wait_until(lambda: worker_pid(world) != supervisor, what="another worker")


def test_an_order_waits_for_a_worker_and_says_so(world: ServedWorld) -> None:
    worker = embedded(world)
    worker.stop()
    try:
        campaign_id = world.start(noise="off")
        time.sleep(0.5)
        state = world.state(campaign_id)
        assert (state["status"], state["waits_for"], state["run_by"]) == ("queued", "worker", None)
        aborted = world.start(noise="off")
        world.http.post(f"/v1/campaigns/{aborted}/abort", headers={"Idempotency-Key": aborted}).raise_for_status()
    finally:
        worker.start()
    assert world.ended(campaign_id)["status"] == "succeeded"
    assert world.ended(aborted)["status"] == "aborted"
    assert world.state(campaign_id)["waits_for"] is None


def test_internal_paths_need_the_internal_token(world: ServedWorld) -> None:
    admin = world.http.headers["Authorization"]
    for authorization in (None, "Bearer", "Bearer x", admin):
        headers = {} if authorization is None else {"Authorization": authorization}
        for method, path in (("GET", "/links"), ("POST", "/links/bank-1/query"), ("POST", "/feeds")):
            answer = httpx.request(method, world.url + PREFIX + path, headers=headers, trust_env=False)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised")
            assert "Digua-Instance" not in answer.headers
    assert PREFIX not in httpx.get(f"{world.url}/v1/openapi.json", trust_env=False).text


def test_relayed_links_notice_that_the_serving_process_was_started_again(world: ServedWorld) -> None:
    with RelayedLinks(load_config(world.base / "hub" / "hub.yaml")) as links:
        assert set(world.agents) <= links.connected()
        world.process.restart()
        with pytest.raises(HubAwayError):
            links.connected()
    world.wait_connected()


def test_a_lock_dies_with_its_process(world: ServedWorld) -> None:
    config = world.base / "hub" / "hub.yaml"
    script = (
        "import sys, pathlib; from hub.campaign_locks import campaign_locks; from hub.config import load_config;"
        "from hub.db import open_database;"
        "db = open_database(load_config(pathlib.Path(sys.argv[1])));"
        "lock = campaign_locks(db).take('held'); print(lock.__enter__() is not None, flush=True); sys.stdin.read()"
    )
    db = open_database(load_config(config))
    locks = campaign_locks(db)
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(config)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "True"
    assert locks.taken("held")
    with locks.take("held") as held:
        assert held is None
    holder.kill()
    holder.wait()
    wait_until(lambda: not locks.taken("held"), what="the lock")
    with locks.take("held") as held:
        assert held is not None
        assert held.still()
    assert not locks.taken("held")
    db.close()


class outside_worker:  # noqa: N801  (reads as a function where it is used)
    """`digua-hub worker` as a service manager starts it."""

    def __init__(self, world: ServedWorld) -> None:
        self._command = [sys.executable, "-m", "hub.cli", "worker", "--config", str(world.base / "hub" / "hub.yaml")]
        self._world = world

    def __enter__(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        wait_until(lambda: bool(children(self.process.pid)), what="the worker's warm process")
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0


def children(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children()}
    except psutil.NoSuchProcess:
        return set()


def worker_pid(world: ServedWorld) -> int:
    process = embedded(world).process
    assert process is not None
    return process.pid
