"""The federation of the fault tests with two replicas of the hub on PostgreSQL, behind nginx as it is shipped."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from hub.replica_links import LinkPlaces
from tests.faults.world import FaultWorld, script
from tests.served_world import free_port

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
LEASE_S = 4.0
REPLICAS = ("hub", "hub-2")
HUB_YAML = yaml.safe_dump(
    {
        "campaigns": {"worker": "external", "trip_timeout_s": 60, "reconnect_s": 120},
        "replicas": {"lease_s": LEASE_S},
        "feed_heartbeat_s": 1.0,
    }
)


def shipped_nginx(port: int, replicas: tuple[int, int], folder: Path) -> str:
    """The shipped configuration without TLS, on ports and folders of the test."""
    text = (ROOT / "configs" / "compose" / "nginx-replicas.conf").read_text(encoding="utf-8")
    text = re.sub(r"^\s*ssl_.*\n", "", text, flags=re.MULTILINE)
    text = text.replace("listen 8443 ssl;", f"listen 127.0.0.1:{port};").replace("/tmp/", f"{folder}/")
    text = text.replace("server hub:8440", f"server 127.0.0.1:{replicas[0]}")
    return text.replace("server hub-2:8440", f"server 127.0.0.1:{replicas[1]}")


class ReplicaWorld(FaultWorld):
    """Replicas `hub` and `hub-2`; all parties and requests go through `proxy`.

    Attributes:
        down: replicas that stay as they are when they were killed.
    """

    hub_yaml = HUB_YAML

    def __init__(self, base: Path) -> None:
        self.down: set[str] = set()
        self._port = free_port()
        super().__init__(base)

    def _configure(self) -> int:
        gateway = super()._configure()
        for party in self.made.agents:
            file = self.base / party / "node.yaml"
            fields = yaml.safe_load(file.read_text(encoding="utf-8"))
            fields["hub"]["url"] = f"http://127.0.0.1:{self._port}"
            file.write_text(yaml.safe_dump(fields), encoding="utf-8")
        return gateway

    def _more_commands(self) -> dict[str, list[str]]:
        folder = self.base / "hub"
        fields = yaml.safe_load((folder / "hub.yaml").read_text(encoding="utf-8"))
        ports = (fields["listen"]["port"], free_port())
        fields["listen"]["port"] = ports[1]
        (folder / "hub-2.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
        proxy = self.base / "nginx"
        proxy.mkdir()
        (proxy / "nginx.conf").write_text(shipped_nginx(self._port, ports, proxy), encoding="utf-8")
        self.made.url = f"http://127.0.0.1:{self._port}"
        return {
            "hub-2": [script("digua-hub"), "serve", "--config", str(folder / "hub-2.yaml")],
            "proxy": [
                NGINX,
                "-e",
                "stderr",
                "-c",
                str(proxy / "nginx.conf"),
                "-g",
                "daemon off; master_process off;",
            ],
        }

    def revive(self) -> None:
        held = {name: self.processes.pop(name) for name in self.down if name in self.processes}
        try:
            super().revive()
        finally:
            self.processes |= held

    def connected(self) -> bool:
        # Without a replica it is the proxy that answers.
        return self._http.get(f"{self.made.url}/v1/parties").is_success and super().connected()

    def places(self) -> dict[str, set[str]]:
        """Replica's address → parties whose links are there."""
        assert self.hub.replica_set is not None
        look: LinkPlaces = self.hub.replica_set.places
        found: dict[str, set[str]] = {each.address: set() for each in look.replicas()}
        for party in self.made.agents:
            place = look.find(party)
            if place is not None and place.replica is not None:
                found[place.replica.address].add(party)
        return found

    def address(self, replica: str) -> str:
        """Where a replica is reached."""
        fields = yaml.safe_load((self.base / "hub" / f"{replica}.yaml").read_text(encoding="utf-8"))
        return f"http://{fields['listen'].get('host', '127.0.0.1')}:{fields['listen']['port']}"

    def kill(self, replica: str) -> float:
        """Kill a replica for good; return when."""
        self.down.add(replica)
        os.kill(self.processes[replica].pid, signal.SIGKILL)
        self.processes[replica].wait()
        return time.monotonic()


@dataclass
class Answered:
    """One request until it was acknowledged.

    Attributes:
        refusals: status, code and Retry-After of each answer before that; status 0 where there was none.
    """

    record: str
    began: float
    ended: float = 0.0
    refusals: list[tuple[int, str, str | None]] = field(default_factory=list)


class Load:
    """Sends consents, each again and again under its key until it is acknowledged.

    Args:
        url: of the proxy.
        bodies: gives the next record id and body; used by all threads.
        threads: requests at a time.
    """

    def __init__(self, url: str, bodies: Any, threads: int) -> None:
        self._url = url
        self._bodies = bodies
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.done: list[Answered] = []
        self.failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Answered]:
        """Let each thread end its request, and return all."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        assert self.failed == []
        return self.done

    def _run(self) -> None:
        try:
            with httpx.Client(base_url=self._url, trust_env=False, timeout=60) as client:
                while not self._stopping.is_set():
                    with self._lock:
                        record, body = next(self._bodies)
                    self.done.append(self._send(client, record, body))
                    time.sleep(0.05)
        except BaseException as error:
            self.failed.append(error)
            raise

    @staticmethod
    def _send(client: httpx.Client, record: str, body: object) -> Answered:
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        sent = Answered(record, time.monotonic())
        while True:
            try:
                answer = client.post("/v1/consents", json=body, headers=headers)
            except httpx.TransportError as gone:
                sent.refusals.append((0, type(gone).__name__, None))
            else:
                if answer.is_success:
                    sent.ended = time.monotonic()
                    return sent
                problem = answer.json()
                sent.refusals.append((answer.status_code, problem["code"], answer.headers.get("Retry-After")))
                assert answer.headers.get("Retry-After") is not None, answer.text
            time.sleep(0.2)
