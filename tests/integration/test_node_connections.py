"""The table of connections in docs/operations.md is whole: by the configuration, by the code, and by a running node."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx
import psutil
import pytest
import trustme
from pydantic import BaseModel

from nodes.config import NodeConfig, key_to_text
from tests.connect_proxy import ConnectProxy
from tests.node_world import SignerWorld
from tests.served_world import free_port, wait_until
from tests.tls_hub import LOCAL, NAME, TlsHub
from tests.unit.test_nodes_runtime import SCHEMA, write_table

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"(^|_)(url|uri|address|host|port|server|endpoint|proxy)(_file)?$")
ABLE = frozenset(
    {
        "asyncio",
        "ftplib",
        "grpc",
        "http",
        "httpx",
        "imaplib",
        "opentelemetry",
        "psycopg",
        "requests",
        "smtplib",
        "socket",
        "socketserver",
        "ssl",
        "urllib3",
        "uvicorn",
        "websockets",
        "xmlrpc",
    }
)
"""Libraries that can open a connection; `create_engine` and `urllib.request` are looked for by name."""

# Loaded by the node before anything else: writes down where sockets go, where they listen, which names are looked up.
RECORDER = """
import json, os, sys
_sink = os.open(os.environ["CONNECTIONS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
def _record(event, arguments):
    if event in ("socket.connect", "socket.bind"):
        os.write(_sink, (json.dumps([event, arguments[1]], default=str) + "\\n").encode())
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        os.write(_sink, (json.dumps([event, arguments[0]], default=str) + "\\n").encode())
sys.addaudithook(_record)
"""


def table() -> list[dict[str, set[str]]]:
    """The rows of the documented table: code spans by column."""
    section = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split("\n## Connections\n")[1]
    lines = [line.strip("|").split("|") for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    heads = [head.strip() for head in lines[0]]
    return [
        {head: set(re.findall(r"`([^`]+)`", cell)) for head, cell in zip(heads, line, strict=True)}
        for line in lines[2:]
    ]


def documented(column: str) -> set[str]:
    return set().union(*(row[column] for row in table()))


def addresses(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Fields that say where to connect or listen, dotted."""
    for name, field in model.model_fields.items():
        inner = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
        models = [each for each in inner if issubclass(each, BaseModel)]
        for each in models:
            yield from addresses(each, f"{path}{name}.")
        if not models and ADDRESS.search(name):
            yield f"{path}{name}"


def openers(package: Path) -> Iterator[str]:
    """Modules that import a library which can open a connection."""
    for path in sorted(package.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(
                name.partition(".")[0] in ABLE or name.startswith(("urllib.request", "sqlalchemy.create_engine"))
                for name in names
            ):
                yield module
                break


def test_every_address_of_the_configuration_is_in_the_table() -> None:
    assert set(addresses(NodeConfig)) == documented("where it is written")


def test_every_module_that_can_open_a_connection_is_in_the_table() -> None:
    # the store is a file of SQLite; of a certificate only the context is made, which `nodes.web.server` listens with
    files_alone = {"nodes.store", "models.web.tls"}
    assert "sqlite:///{path}" in (ROOT / "nodes" / "store.py").read_text(encoding="utf-8")
    found = {*openers(ROOT / "nodes"), *openers(ROOT / "models")}
    assert found - files_alone == documented("code")
    assert set(openers(ROOT / "crypto")) == set()


@dataclass
class Running:
    """A node's process, what it may reach, and what it did."""

    process: subprocess.Popen[bytes]
    record: Path
    gateway: int
    hub: TlsHub
    superlink: TlsHub

    def recorded(self, event: str) -> list[Any]:
        lines = map(json.loads, self.record.read_text().splitlines())
        return [what for name, what in lines if name == event]

    def ports(self, event: str) -> set[int]:
        """Ports by sockets of the Internet's kinds; paths (of sockets in files) would be refused here."""
        found = self.recorded(event)
        assert all(isinstance(what, list) for what in found), found
        return {what[1] for what in found}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["direct", "by proxy"])
def way(request: pytest.FixtureRequest) -> Iterator[ConnectProxy | None]:
    if request.param == "direct":
        yield None
    else:
        with ConnectProxy() as proxy:
            yield proxy


@pytest.fixture
def running(tmp_path: Path, authority: trustme.CA, way: ConnectProxy | None) -> Iterator[Running]:
    world = SignerWorld(tmp_path)
    hub, superlink = TlsHub(world, authority), TlsHub(world, authority)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    write_table(tmp_path / "rows.csv", 20)
    host, gateway, trap = NAME if way else LOCAL, free_port(), free_port()
    address = {"url": f"https://{host}:{hub.port}", "ca_file": "ca.pem"}
    fields = {
        "party_id": "bank-01",
        "kind": "bank",
        "region": "Shanghai",
        "hub": address | ({"proxy": f"http://127.0.0.1:{way.port}"} if way else {}),
        "superlink": {"address": f"{host}:{superlink.port}", "root_certificates": "ca.pem", "poll_seconds": 0.05},
        "trust": {
            "hub_id": "hub",
            "hub_sign_key": key_to_text(world.hub.public),
            "witness_id": "witness",
            "witness_sign_key": key_to_text(world.witness.public),
        },
        "data_dir": "data",
        "keys_dir": "keys",
        "datasets": [{"schema": str(SCHEMA), "csv": "rows.csv"}],
        "gateway": {"port": gateway, "token_file": "token"},
    }
    (tmp_path / "node.yaml").write_text(json.dumps(fields))
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder" / "sitecustomize.py").write_text(RECORDER)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"http://127.0.0.1:{trap}")
    for name in ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK"):
        environment.pop(name, None)  # the node itself must see to it
    environment |= {"PYTHONPATH": str(tmp_path / "recorder"), "CONNECTIONS": str(tmp_path / "connections")}
    command = [sys.executable, "-m", "nodes.cli", "run", "--config", str(tmp_path / "node.yaml")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=(tmp_path / "log").open("wb"))
    try:
        yield Running(process, tmp_path / "connections", gateway, hub, superlink)
    finally:
        process.kill()
        process.wait()
        hub.close()
        superlink.close()


def test_a_running_node_connects_where_the_table_says_and_nowhere_else(
    running: Running, way: ConnectProxy | None, tmp_path: Path
) -> None:
    process, hub, superlink = running.process, running.hub, running.superlink
    wait_until(
        lambda: hub.welcomed.is_set() and superlink.fleet.is_set() and "/v1/voprf" in hub.asked,
        what=f"the link, the SuperLink and a request for pseudonyms:\n{(tmp_path / 'log').read_text()}",
        seconds=60,
    )
    token = (tmp_path / "token").read_text().strip()
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as owner:
        assert owner.get(f"http://127.0.0.1:{running.gateway}/health").status_code == 200
        owner.post(f"http://127.0.0.1:{running.gateway}/score", json={"id": "id-1"}, timeout=60)
    time.sleep(1.0)  # whatever a library does a little later
    # sockets that a library opened below Python would be seen here
    sockets = psutil.Process(process.pid).net_connections(kind="inet")
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()

    far = {way.port} if way else {hub.port, superlink.port}
    assert running.ports("socket.connect") == far
    assert {each.raddr.port for each in sockets if each.raddr and each.laddr.port != running.gateway} <= far
    # urllib3, imported by Flower, asks the machine for IPv6 by binding any port of loopback, and lets it go at once
    bound = {tuple(what[:2]) for what in running.recorded("socket.bind")} - {("::1", 0)}
    assert bound == {("127.0.0.1", running.gateway)}
    assert {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN} == {running.gateway}
    assert running.recorded("socket.sendto") == []
    names = {*running.recorded("socket.getaddrinfo"), *running.recorded("socket.gethostbyname")}
    assert names <= {"127.0.0.1", *(() if way else (LOCAL,))}
    if way:
        assert set(way.asked) == {f"{NAME}:{hub.port}", f"{NAME}:{superlink.port}"}
