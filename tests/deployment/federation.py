"""The compose file's federation brought up as docs/operations.md says, with `run` standing for `docker compose run`."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import yaml

from tests.deployment.compose_file import Compose
from tests.deployment.sandbox import REPOSITORY, Sandboxes, user_of
from tests.deployment.topology import Topology

HUB_URL = "https://hub.digua.example:8443"
SUPERLINK = "superlink.digua.example:9092"
HUB_YAML = "/etc/digua/hub.yaml"
NODE_YAML = "/var/lib/digua/node.yaml"
CA = "/run/secrets/ca"
SCHEMA = REPOSITORY / "configs" / "give-me-some-credit.yaml"
KINDS = {"bank-a": "bank", "bank-b": "bank", "tax": "tax", "utility": "utility", "platform": "client"}


def write_secrets(compose: Compose, folder: Path) -> None:
    """Every secret that the file names: certificates of a private authority, and the database's password."""
    folder.mkdir(mode=0o755)
    authority = trustme.CA()
    proxy = authority.issue_cert("hub.digua.example")
    superlink = authority.issue_cert("superlink.digua.example", "superlink-control")
    password = secrets.token_urlsafe(24).encode()
    content = {
        "postgres_password": password,
        "database_password": password,
        "proxy_certificate": b"".join(blob.bytes() for blob in proxy.cert_chain_pems),
        "proxy_key": proxy.private_key_pem.bytes(),
        "superlink_certificate": b"".join(blob.bytes() for blob in superlink.cert_chain_pems),
        "superlink_key": superlink.private_key_pem.bytes(),
        "ca": authority.cert_pem.bytes(),
    }
    for name, file in compose.secrets.items():
        path = folder / Path(file).name
        path.write_bytes(content[name])
        readers = {user_of(each) for each in compose.services.values() if name in each.secrets.values()}
        if name == "ca":
            path.chmod(0o644)
            continue
        (uid, gid), *others = readers
        if others:
            raise ValueError(f"secret {name} has readers of several users: {readers}")
        path.chmod(0o600)
        os.chown(path, uid, gid)


@dataclass
class Deployment:
    """A running federation.

    Attributes:
        sandboxes, topology: its containers and services.
        tables: party → its CSV, for parties with data.
    """

    sandboxes: Sandboxes
    topology: Topology
    tables: dict[str, Path]
    hub_key: str = ""
    witness_key: str = ""
    fingerprints: dict[str, str] = field(default_factory=dict)

    def bring_up(self) -> None:
        """From nothing to a federation that waits for merchants."""
        self.topology.start(["postgres"])
        self.hub_key = self.hub("init", "--config", HUB_YAML)["sign_key"]
        self.topology.start(["hub", "superlink", "proxy"])
        self.witness_key = self._init("witness", "witness")["sign_key"]
        self._enrol("witness", "witness")
        self.topology.start(["witness"])
        for party, kind in KINDS.items():
            self.fingerprints[party] = self._init(party, kind)["fingerprint"]
            self._enrol(party, kind)
            self.node("witness", "witness", "approve", party, self.fingerprints[party])
        self.topology.start([*KINDS, "worker"])

    def hub(self, *arguments: str, service: str = "hub", timeout: float = 180.0) -> Any:
        """One `digua-hub … --json` in the hub's container."""
        return self._json(service, "digua-hub", *arguments, "--json", timeout=timeout)

    def operator(self, *arguments: str, timeout: float = 180.0) -> Any:
        """One command of the operator against the running hub, through the proxy."""
        return self.hub(*arguments, "--config", HUB_YAML, "--ca-file", CA, timeout=timeout)

    def node(self, party: str, *arguments: str, timeout: float = 180.0) -> Any:
        """One `digua-node … --json` in a party's container."""
        return self._json(party, "digua-node", *arguments, "--config", NODE_YAML, "--json", timeout=timeout)

    def put(self, party: str, name: str, text: str) -> str:
        """A file in a party's volume, as `docker compose cp` does; its path in the container."""
        path = self.sandboxes.volume(party) / name
        path.write_text(text, encoding="utf-8")
        os.chown(path, *user_of(self.sandboxes.compose.services[party]))
        return f"/var/lib/digua/{name}"

    def _init(self, party: str, kind: str) -> Any:
        self.sandboxes.command(party)  # makes the volume
        arguments = ["init", "--dir", "/var/lib/digua", "--party-id", party, "--kind", kind, "--region", "浙江"]
        arguments += ["--hub-url", HUB_URL, "--ca-file", CA, "--epsilon", "60"]
        if party in self.tables:
            schema = self.put(party, SCHEMA.name, SCHEMA.read_text(encoding="utf-8"))
            table = self.put(party, "customers.csv", self.tables[party].read_text(encoding="utf-8"))
            arguments += ["--dataset", f"{schema}={table}"]
        made = self._json(party, "digua-node", *arguments, "--json")
        if kind in ("bank", "client"):
            self._append(party, {"gateway": {"port": 8090, "token_file": "gateway.token"}})
        if kind != "client":
            self._append(party, {"superlink": {"address": SUPERLINK, "root_certificates": CA}})
        return made

    def _enrol(self, party: str, kind: str) -> None:
        token = self.hub("enrol-token", "--config", HUB_YAML, "--kind", kind, "--party", party)["token"]
        arguments = ["enrol", "--token", token, "--hub-key", self.hub_key]
        if kind != "witness":
            arguments += ["--witness-key", self.witness_key, "--witness-id", "witness"]
        self.node(party, *arguments)

    def _append(self, party: str, section: dict[str, Any]) -> None:
        path = self.sandboxes.volume(party) / "node.yaml"
        with path.open("a", encoding="utf-8") as config:
            config.write(yaml.safe_dump(section))

    def _json(self, service: str, *command: str, timeout: float = 180.0) -> Any:
        done = self.sandboxes.run(service, *command, timeout=timeout)
        if done.returncode != 0:
            raise AssertionError(f"{service}: {' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
        return json.loads(done.stdout)
