"""A federation of real processes on loopback that die where a test says, and are started again on the same folders.

Set up in the test's process by `tests.served_world`, then every party runs as its owner would run it: `digua-hub
serve`, `digua-hub worker` and `digua-node run`, each with its own configuration and data folder.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray

from hub.config import load_config
from hub.services import Hub
from hub.simulation import NodeData
from nodes.config import key_to_text
from nodes.journal import Journal
from nodes.ledger import Charge, Ledger
from nodes.store import Store
from nodes.witness_attempts import WitnessAttemptStore, WitnessRecord
from tests.faults.cells import WATCHED, Cell, points
from tests.faults.relay import Relay
from tests.served_world import ServedWorld, free_port

HOOK = Path(__file__).parent / "killing"
NODES = {"bank": 2, "tax": 2, "utility": 1}
PARTIES = ("witness", "bank-1", "bank-2", "tax-1", "tax-2", "utility-1")
REQUESTER = "bank-1"
CALLER = "caller"
"""Whoever calls the hub's API from this process, in the names of relays."""
PATIENCE_S = 600.0
CLOCKS = ("hub.clock:utc_now", "nodes.clock:system_clock")
HUB_YAML = yaml.safe_dump(
    {
        "campaigns": {"worker": "external", "trip_timeout_s": 30, "reconnect_s": 60},
        "feed_heartbeat_s": 1.0,
    }
)
T = TypeVar("T")


def script(name: str) -> str:
    """A console script beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


class FaultWorld:
    """Hub, worker, witness and nodes as processes.

    Attributes:
        made: the merchants and what they hold; its own agents are closed.
        data: party → its table, for comparing with a campaign that nothing disturbs.
        withdrawn: rows of merchants who revoked their consent.
        deaths: how often each process was started again.
        gone: processes that are not started again.
        relays: through which each node, and `CALLER`, reaches the hub.
    """

    hub_yaml = HUB_YAML

    def __init__(self, base: Path) -> None:
        self.base = base
        budgets = dict.fromkeys(PARTIES, 99.0)
        self.made = ServedWorld(base, merchants=300, nodes=NODES, budgets=budgets, scores=60, hub_yaml=self.hub_yaml)
        self.data = {
            party: NodeData(party, party.partition("-")[0], self.made.training_data(party)) for party in PARTIES[1:]
        }
        self.withdrawn: set[int] = set()
        self.gone: set[str] = set()
        self.relays = {party: Relay(self.made.hub.config.listen.port) for party in (CALLER, *self.made.agents)}
        self.gateway = f"http://127.0.0.1:{self._configure()}"
        self.made.close()
        self.folder = base / "faults"
        self.folder.mkdir()
        wrapped = {"points": points(), "watched": list(WATCHED), "clocks": CLOCKS}
        (self.folder / "points.json").write_text(json.dumps(wrapped))
        hub_yaml = str(base / "hub" / "hub.yaml")
        self._commands = {
            "hub": [script("digua-hub"), "serve", "--config", hub_yaml],
            "worker": [script("digua-hub"), "worker", "--config", hub_yaml],
        } | {
            party: [script("digua-node"), "run", "--config", str(base / party / "node.yaml")]
            for party in self.made.agents
        }
        self._commands = self._more_commands() | self._commands
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.deaths = dict.fromkeys(self._commands, 0)
        self.hub = Hub.open(load_config(Path(hub_yaml)))  # to look at its database; nothing runs in it
        token = (base / "hub" / "admin.token").read_text().strip()
        self._http = httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60.0)
        for name in self._commands:
            self._start(name)
        self.until(self.connected, what="all links")

    def _configure(self) -> int:
        """Write every node's configuration; the requester's gateway gets a port of its own."""
        port = free_port()
        for party, agent in self.made.agents.items():
            fields = agent.config.model_dump(mode="json", by_alias=True, exclude_none=True)
            trust = agent.config.require_trust()
            fields["hub"]["url"] = f"http://127.0.0.1:{self.relays[party].port}"
            fields["trust"] |= {
                "hub_sign_key": key_to_text(trust.hub_sign_key),
                "witness_sign_key": key_to_text(trust.witness_sign_key),
            }
            if party == REQUESTER:
                fields["gateway"] = {"port": port, "token_file": str(self.base / party / "gateway.token")}
            (self.base / party / "node.yaml").write_text(yaml.safe_dump(fields))
        return port

    def _more_commands(self) -> dict[str, list[str]]:
        """Processes of worlds that have others too; started first."""
        return {}

    def consenting(self) -> NDArray[np.bool_]:
        """(n,) merchants whose consent stands."""
        return np.array([row not in self.withdrawn for row in range(len(self.made.ids))])

    # Processes

    def _start(self, name: str) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(HOOK),
            "DIGUA_FAULTS": str(self.folder),
            "DIGUA_PARTY": name,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
        }
        with (self.base / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def revive(self) -> None:
        """Start again what was killed; a process that ended otherwise is a failure."""
        for name, process in list(self.processes.items()):
            code = process.poll()
            if code is None or name in self.gone:
                continue
            tail = (self.base / f"{name}.log").read_text(errors="replace")[-3000:]
            assert code == -signal.SIGKILL, f"{name} ended with {code}:\n{tail}"
            self.deaths[name] += 1
            self._start(name)

    def until(self, ready: Callable[[], T], *, what: str, seconds: float = PATIENCE_S) -> T:
        """Wait for something true, starting again what is killed meanwhile; the hub may be away."""
        deadline = time.monotonic() + seconds
        while True:
            self.revive()
            try:
                found = ready()
            except httpx.TransportError:
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s; logs: {self.base}"
            time.sleep(0.05)

    def order_kills(self, cells: Iterable[Cell]) -> None:
        """Tell each process where to die next; in order."""
        by_party: dict[str, list[dict[str, Any]]] = {name: [] for name in self.processes}
        for cell in cells:
            by_party.setdefault(cell.process, []).append(asdict(cell) | {"name": cell.name})
        for party, orders in by_party.items():
            fresh = self.folder / f"{party}.fresh"
            fresh.write_text(json.dumps(orders))
            fresh.replace(self.folder / f"{party}.orders")

    def killed(self) -> list[str]:
        """Names of the cells whose process was killed, in order."""
        file = self.folder / "killed"
        return file.read_text().splitlines() if file.exists() else []

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for relay in self.relays.values():
            relay.close()
        self._http.close()
        self.hub.close()

    # What a machine does to a process

    def fill_disk(self, name: str) -> None:
        """Let a process write nothing more to any file: each write is refused, as on a full disk."""
        resource.prlimit(self.processes[name].pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free_disk(self, name: str) -> None:
        """Let it write again."""
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self.processes[name].pid, resource.RLIMIT_FSIZE, unlimited)

    def set_clock(self, name: str, seconds: int) -> None:
        """Have a process's clock run ahead by so many seconds; behind, where they are negative."""
        fresh = self.folder / f"{name}.clock.fresh"
        fresh.write_text(str(seconds))
        fresh.replace(self.folder / f"{name}.clock")

    def take_away(self, name: str) -> None:
        """Kill a process for good, until `bring_back`."""
        self.gone.add(name)
        self.processes[name].kill()
        self.processes[name].wait()

    def bring_back(self, name: str) -> None:
        """Start it again."""
        self.gone.discard(name)
        self.revive()

    # HTTP

    def attempt(self, path: str, body: Any, key: str, *, gateway: bool = False) -> httpx.Response:
        """One try of a call under a key, through the caller's relay or at the requester's gateway."""
        headers = {"Idempotency-Key": key} | (self._gateway_headers() if gateway else {})
        url = self.gateway if gateway else f"http://127.0.0.1:{self.relays[CALLER].port}"
        if body is None:
            return self._http.get(url + path)
        return self._http.post(url + path, json=body, headers=headers)

    def get(self, path: str) -> Any:
        """GET from the hub; its answer, once there is one."""

        def ask() -> httpx.Response | None:
            response = self._http.get(self.made.url + path)
            return response if response.is_success else None

        return self.until(ask, what=path).json()

    def post(self, path: str, body: Any = None, *, url: str | None = None, token: str | None = None) -> Any:
        """POST under one Idempotency-Key, again and again until it is answered, as a client does."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        refused: list[str] = []

        def send() -> httpx.Response | None:
            response = self._http.post((url or self.made.url) + path, json=body, headers=headers)
            if not response.is_success:
                refused.append(response.text)
                time.sleep(0.2)
            return response if response.is_success else None

        try:
            answer = self.until(send, what=path)
        except AssertionError as problem:
            raise AssertionError(f"{problem}; last refusal: {refused[-1:]}") from problem
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def connected(self) -> bool:
        """Whether every party's link is up."""
        found = self._http.get(f"{self.made.url}/v1/parties").json()["parties"]
        return set(PARTIES) <= {each["party_id"] for each in found if each["connected"]}

    def ask_gateway(self, path: str, body: Any) -> Any:
        """POST to the requester's own gateway."""
        token = (self.base / REQUESTER / "gateway.token").read_text().strip()
        return self.post(path, body, url=self.gateway, token=token)

    def get_gateway(self, path: str) -> Any:
        """GET from the requester's own gateway."""
        return self.until(lambda: self._from_gateway("GET", path, None), what=path)

    def refused_by_gateway(self, path: str, body: Any) -> Any:
        """The problem with which the requester's gateway refuses."""
        response = self._http.post(self.gateway + path, json=body, headers=self._gateway_headers())
        assert response.is_error, response.text
        return response.json()

    def _from_gateway(self, method: str, path: str, body: Any) -> Any:
        response = self._http.request(method, self.gateway + path, json=body, headers=self._gateway_headers())
        return response.json() if response.is_success else None

    def _gateway_headers(self) -> dict[str, str]:
        token = (self.base / REQUESTER / "gateway.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    # What is on disk

    def charges(self, party: str) -> tuple[Charge, ...]:
        """A party's ledger."""
        store = self.store(party)
        try:
            return Ledger(store, 99.0, 1e-5).charges()
        finally:
            store.engine.dispose()

    def store(self, party: str) -> Store:
        """A party's store."""
        return Store.open(self.base / party / "data" / "node.db")

    def cosigned(self, campaign_id: str) -> dict[str, WitnessRecord]:
        """The witness's attempts of a campaign."""
        store = self.store("witness")
        try:
            attempts = WitnessAttemptStore(store)
            found = {each: attempts.load(each) for each in attempts.attempts(campaign_id)}
            return {each: record for each, record in found.items() if record is not None}
        finally:
            store.engine.dispose()

    def journal(self, party: str, out: Path) -> Path:
        """A party's journal, exported."""
        store = self.store(party)
        try:
            Journal(store, party).export(out)
        finally:
            store.engine.dispose()
        return out

    def answers(self, party: str) -> list[dict[str, str]]:
        """What a party answered in steps that are watched, sent or not."""
        file = self.folder / f"{party}.answers"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
