"""A federation of processes with a released model and merchants who consented: hub, witness, bank, tax, utility.

It is made once in a folder, through the product's own enrolment, consents, campaign and release (`tests.served_world`);
each run works on a copy, so that runs before and after a change begin alike. The requester is the bank, which is a
source as well, as the product means it: its own agent is its gateway.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.load.client import Target
from hub.config import load_config
from hub.db import open_database
from hub.migrations.runner import migrate
from nodes.config import GatewayConfig, key_to_text, load_node_config
from nodes.gateway import gateway_token
from tests.assessments import submission
from tests.served_world import ServedWorld, free_port

NODES = {"bank": 1, "tax": 1, "utility": 1}
REQUESTER = "bank-1"
PROCESSES = ("hub", "witness", *(f"{kind}-1" for kind in NODES))
USES = 100_000
PATIENCE_S = 120.0
_FILE = "load.json"
_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}


def make(folder: Path, merchants: int) -> None:
    """Make the federation in a folder; nothing of it runs afterwards."""
    world = ServedWorld(folder, merchants=merchants, nodes=NODES, scores=USES)
    try:
        campaign_id = world.start(noise="off", holdout=0.3)
        state = world.ended(campaign_id, seconds=300)
        if state["status"] != "succeeded":
            raise SystemExit(f"the campaign did not succeed: {state['failure']}")
        key = {"Idempotency-Key": os.urandom(16).hex()}
        assessed = submission(campaign_id).model_dump(mode="json")
        world.http.post("/v1/assessments", json=assessed, headers=key).raise_for_status()
        release = f"/v1/models/{state['model_id']}/release"
        world.http.post(release, json={"scope": "release"}, headers={"Idempotency-Key": os.urandom(16).hex()})
        _settle(world)
        asked = [
            {"id": world.ids[row], "consent_id": world.records[row], "model_id": state["model_id"]}
            for row in range(len(world.ids))
            if world.lets_score(row) and all(world.sources[kind][row] is not None for kind in NODES)
        ]
        ports = {name: free_port() for name in ("gateway", "echo")}
        for party, agent in world.agents.items():
            fields = agent.config.model_dump(mode="json", by_alias=True, exclude_none=True)
            trust = agent.config.require_trust()
            fields["trust"] |= {
                "hub_sign_key": key_to_text(trust.hub_sign_key),
                "witness_sign_key": key_to_text(trust.witness_sign_key),
            }
            if party == REQUESTER:
                gateway = GatewayConfig(port=ports["gateway"], token_file=folder / party / "gateway.token")
                gateway_token(gateway)
                fields["gateway"] = gateway.model_dump(mode="json")
            (folder / party / "node.yaml").write_text(yaml.safe_dump(fields))
        found = {"url": world.url, "ports": ports, "asked": asked}
        (folder / _FILE).write_text(json.dumps(found))
    finally:
        world.close()


def _settle(world: ServedWorld) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(agent.runtime.feed_seq != world.hub.feed.end(party) for party, agent in world.agents.items()):
        if time.monotonic() > deadline:
            raise SystemExit("the release did not reach the nodes")
        time.sleep(0.05)


class Processes:
    """The federation's processes on a folder.

    Attributes:
        asked: bodies of requests to the gateway, one per merchant.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = json.loads((folder / _FILE).read_text())
        self.asked: list[dict[str, str]] = found["asked"]
        self._ports: dict[str, int] = found["ports"]
        self._url: str = found["url"]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def floor_ms(self) -> int:
        """The least time that a source takes for an answer."""
        return load_node_config(self._folder / REQUESTER / "node.yaml").answer_time_floor_ms

    @property
    def gateway(self) -> str:
        """The requester's gateway."""
        return f"http://127.0.0.1:{self._ports['gateway']}"

    @property
    def token(self) -> dict[str, str]:
        """The headers that open the gateway."""
        token = (self._folder / REQUESTER / "gateway.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    def scores(self) -> Target:
        """Scores at the gateway, a merchant after another."""
        bodies = [json.dumps(each).encode() for each in self.asked]
        return Target(f"{self.gateway}/score", self.token, itertools.cycle(bodies))

    def echoes(self) -> Target:
        """The same bodies at the echo."""
        scores = self.scores()
        return Target(f"http://127.0.0.1:{self._ports['echo']}/score", scores.headers, scores.bodies)

    def start(self) -> None:
        """Start all, the echo too, and wait until scores are answered."""
        hub = [sys.executable, "-m", "hub.cli", "serve", "--config", str(self._folder / "hub" / "hub.yaml")]
        self._spawn("hub", hub)
        for party in PROCESSES[1:]:
            node = [sys.executable, "-m", "nodes.cli", "run", "--config", str(self._folder / party / "node.yaml")]
            self._spawn(party, node)
        self._spawn("echo", [sys.executable, "-m", "benchmarks.load.echo", str(self._ports["echo"])])
        for target in (self.scores(), self.echoes()):
            self._until_answered(target)

    def stop(self) -> None:
        """End them as an operator would."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pid(self, name: str) -> int:
        """The process of a party, or of the echo."""
        return self._running[name].pid

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each process so far; the hub's campaign worker, its child, is a line of its own."""
        found = {}
        for name, process in self._running.items():
            own = psutil.Process(process.pid)
            found[name] = _cpu(own)
            if children := own.children(recursive=True):
                found[f"{name}'s worker"] = sum(map(_cpu, children))
        return found

    def batch(self, items: list[dict[str, str]]) -> float:
        """Have the gateway score a batch; seconds from handing it in to its end.

        Raises:
            SystemExit: not every merchant of it got a score.
        """
        body = {
            "items": [{"id": each["id"], "consent_id": each["consent_id"]} for each in items],
            "model_id": items[0]["model_id"],
        }
        key = {"Idempotency-Key": os.urandom(16).hex()}
        with httpx.Client(base_url=self.gateway, headers=self.token, trust_env=False, timeout=60) as http:
            began = time.perf_counter()
            made = http.post("/batches", json=body, headers=key).raise_for_status().json()
            while (state := http.get(f"/batches/{made['batch_id']}").raise_for_status().json())["state"] != "finished":
                time.sleep(0.05)
            seconds = time.perf_counter() - began
        if state["scored"] != len(items):
            raise SystemExit(f"of {len(items)} merchants {state['scored']} have a score: {state['refused']}")
        return seconds

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603  (our own programs)
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | _THREADS
            )

    def _until_answered(self, target: Target) -> None:
        deadline = time.monotonic() + PATIENCE_S
        said: Any = None
        while time.monotonic() < deadline:
            self._check()
            try:
                headers = {"Content-Type": "application/json", **target.headers}
                response = httpx.post(target.url, content=next(target.bodies), headers=headers, trust_env=False)
            except (httpx.TransportError, OSError) as problem:
                said = problem
            else:
                if response.is_success:
                    return
                said = response.text
            time.sleep(0.3)
        raise SystemExit(f"no score within {PATIENCE_S:.0f} s: {said}")

    def _check(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                tail = (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise SystemExit(f"{name} ended with {process.returncode}:\n{tail}")


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def make_kept(made: Path, merchants: int) -> None:
    """Make a federation in `made`; a run that was cut off leaves nothing there."""
    home = made.with_name(f"{made.name}-running")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    make(home, merchants)
    home.rename(made)


@contextmanager
def running(made: Path, *, floor_ms: int | None = None) -> Iterator[Processes]:
    """The processes of a federation, on a copy of it where it was made.

    Args:
        made: by `make_kept`.
        floor_ms: the sources' `answer_time_floor_ms`; what they have by default where it is None.
    """
    home = made.with_name(f"{made.name}-running")
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(made, home)
    for kind in NODES:
        file = home / f"{kind}-1" / "node.yaml"
        fields = yaml.safe_load(file.read_text())
        if floor_ms is not None:
            fields["answer_time_floor_ms"] = floor_ms
        file.write_text(yaml.safe_dump(fields))
    db = open_database(load_config(home / "hub" / "hub.yaml"))
    migrate(db)  # it may have been made by an earlier version
    db.close()
    processes = Processes(home)
    try:
        processes.start()
        yield processes
    finally:
        processes.stop()
