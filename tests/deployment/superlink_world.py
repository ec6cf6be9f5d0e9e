"""A served hub with a SuperLink of its own, real processes with TLS, and nodes that join it by their keys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import trustme
import yaml

from nodes.supernode import SuperNode
from tests.served_world import Agent, ServedWorld, free_port, wait_until

NODES = {"bank": 3, "tax": 1, "utility": 1}
BUDGETS = dict.fromkeys(("witness", "bank-1", "bank-2", "bank-3", "tax-1", "utility-1"), 95.0)


class SuperLinkWorld(ServedWorld):
    """`ServedWorld` on a SuperLink.

    Attributes:
        address, root: of the SuperLink.
        supernodes: party → its presence there, of agents in this process.
        processes: party → `digua-node run`, of agents that were moved into a process.
    """

    def __init__(
        self,
        base: Path,
        *,
        nodes: Mapping[str, int] = NODES,
        budgets: Mapping[str, float] = BUDGETS,
        campaigns: Mapping[str, Any] | None = None,
    ):
        base.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self.root = base / "root.pem"
        authority.cert_pem.write_to_path(self.root)
        certificate.private_key_pem.write_to_path(base / "superlink.key")
        (base / "superlink.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.supernodes: dict[str, SuperNode] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        sections = {
            "campaigns": {"engines": ["agent", "superlink"], "trip_timeout_s": 20, "reconnect_s": 180}
            | dict(campaigns or {}),
            "superlink": {
                "managed": True,
                "listen": {"port": port},
                "tls": {"certificate": str(base / "superlink.pem"), "key": str(base / "superlink.key")},
            },
        }
        super().__init__(
            base,
            nodes=nodes,
            hub_yaml=yaml.safe_dump(sections),
            budgets=budgets,
            scores=30,
        )
        for party in self.agents:
            self.join(party)
        self.wait_joined()

    def join(self, party: str) -> SuperNode:
        """An agent of this process joins the SuperLink."""
        services = self.agents[party].services
        training = services.runtime.keys.training
        assert training is not None
        assert services.desk is not None
        node = SuperNode(self.address, self.root, training.private_key, services.desk.reply, poll_seconds=0.1)
        node.start()
        self.supernodes[party] = node
        return node

    def wait_joined(self) -> None:
        wait_until(
            lambda: all(node.connected for node in self.supernodes.values()),
            what="all nodes at the SuperLink",
            seconds=90,
        )

    def move_to_process(self, party: str) -> subprocess.Popen[bytes]:
        """Close an agent of this process and run the same node as `digua-node run`."""
        self.supernodes.pop(party).stop()
        agent = self.agents[party]
        agent.close()
        fields = agent.config.model_dump(mode="json", by_alias=True, exclude_none=True)
        fields["superlink"] = {"address": self.address, "root_certificates": str(self.root), "poll_seconds": 0.1}
        trust = agent.config.require_trust()
        from nodes.config import key_to_text

        fields["trust"] |= {
            "hub_sign_key": key_to_text(trust.hub_sign_key),
            "witness_sign_key": key_to_text(trust.witness_sign_key),
        }
        path = self.base / party / "node.yaml"
        path.write_text(yaml.safe_dump(fields))
        log = (self.base / f"{party}.log").open("ab")
        command = [str(Path(sys.executable).parent / "digua-node"), "run", "--config", str(path)]
        self.processes[party] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(
            lambda: b"superlink-up" in (self.base / f"{party}.log").read_bytes(),
            what=f"{party} at the SuperLink",
            seconds=60,
        )
        return self.processes[party]

    def take_back(self, party: str) -> None:
        """The agent in this process again, on the files that its process left."""
        process = self.processes.pop(party)
        if process.poll() is None:
            process.terminate()
            process.wait(20)
        agent = Agent.open(self.agents[party].config)
        agent.connect()
        self.agents[party] = agent
        self.join(party)
        self.wait_joined()

    def superlink_pid(self) -> int:
        """The process of the managed SuperLink."""
        for child in psutil.Process().children(recursive=True):
            if "superlink" in child.cmdline() and "hub.cli" in child.cmdline():
                return child.pid
        raise AssertionError("no SuperLink runs")

    def kill_superlink(self) -> None:
        pid = self.superlink_pid()
        os.kill(pid, signal.SIGKILL)

    def kill_worker(self) -> None:
        """Kill the worker; a campaign's process of its notices by its leash."""
        worker = next(each for each in psutil.Process().children() if "worker" in _command_of(each))
        worker.kill()
        worker.wait(10)

    def processes_for(self, word: str) -> int:
        """How many processes of this world have a word in their command, or in the name of their program."""
        return sum(any(word in part for part in _command_of(each)) for each in self._own())

    def stray(self) -> list[str]:
        """Commands of processes that speak of this world's folder or SuperLink."""
        return [" ".join(_command_of(each)) for each in self._own()]

    def _own(self) -> list[psutil.Process]:
        words = (str(self.base), self._inner())
        return [
            each
            for each in psutil.process_iter()
            if each.pid != os.getpid() and any(word and word in part for part in _command_of(each) for word in words)
        ]

    def _inner(self) -> str:
        """Host and port by which Flower's processes know the SuperLink."""
        path = self.base / "hub" / "superlink" / "control.address"
        return path.read_text().strip() if path.exists() else ""

    def steps(self, campaign_id: str) -> list[tuple[str, str, str]]:
        return [(each["attempt"], each["what"], each["detail"]) for each in self.state(campaign_id)["progress"]]

    def close(self) -> None:
        for node in self.supernodes.values():
            node.stop()
        for process in self.processes.values():
            process.kill()
            process.wait()
        super().close()


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.NoSuchProcess:
        return []
