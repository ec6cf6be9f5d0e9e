"""The demo's parties set up as their owners would: files, keys, enrolment, the witness's approval by name.

Everything goes through the shipped commands and the hub's HTTP API; nothing reaches into another party's folder.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from hub.demo import assessment
from hub.demo.data import NODES, Node
from hub.demo.errors import DemoError
from hub.demo.notices import EXPLAINED, VERSION, path_of
from hub.demo.pages import BANK, OPERATOR, Door, node_section, origin, page_ports, sign_up_arguments
from hub.demo.processes import ProcessGroup, executable, free_port, run_command

WITNESS = Node("witness", "witness", "浙江", "Regulator's witness")
PLATFORM = Node("platform", "client", "丽水", "Two Small platform")
BUDGET_EPSILON = 10.0
_START_SECONDS = 240.0
"""A party loads its libraries in seconds; on a machine that is busy with other work it takes minutes."""


@dataclass(frozen=True)
class Gateway:
    """An agent's local API."""

    url: str
    token: str


class Federation:
    """Hub, witness, data nodes and the platform, each in a folder and a process of its own.

    Args:
        root: the demo's output folder; party P lives in `root/P`.
        group: where processes are started.
        configs: the shipped configuration samples (schemas, campaigns).
        nodes: data nodes.
    """

    def __init__(self, root: Path, group: ProcessGroup, configs: Path, nodes: Sequence[Node] = NODES) -> None:
        self.nodes = tuple(nodes)
        self.root = root
        self.group = group
        self.configs = configs
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.hub_key = ""
        self.witness_key = ""
        self.fingerprints: dict[str, str] = {}
        self.gateways: dict[str, Gateway] = {}
        self.page_ports = page_ports(WITNESS)
        self.http = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def folder(self, party_id: str) -> Path:
        """A party's own folder."""
        return self.root / party_id

    def config(self, party_id: str) -> Path:
        """A party's own configuration file."""
        return self.folder(party_id) / ("hub.yaml" if party_id == "hub" else "node.yaml")

    def hub_command(self, *arguments: str) -> Any:
        """Run one `digua-hub` command with `--json` and return what it printed."""
        return _json(run_command([executable("digua-hub"), *arguments, "--json"], what=f"digua-hub {arguments[0]}"))

    def node_command(self, party_id: str, *arguments: str) -> Any:
        """Run one `digua-node` command of a party with `--json` and return what it printed."""
        command = [executable("digua-node"), *arguments, "--config", str(self.config(party_id)), "--json"]
        return _json(run_command(command, what=f"{party_id}: digua-node {' '.join(arguments[:2])}"))

    def start_hub(self) -> None:
        """Make and serve the hub."""
        made = self.hub_command("init", "--dir", str(self.folder("hub")), "--hub-id", "hub", "--port", str(self.port))
        self.hub_key = made["sign_key"]
        self.group.start("hub", [executable("digua-hub"), "serve", "--config", str(self.config("hub"))])
        self.group.wait_until("the hub's start", self._healthy, _START_SECONDS)

    def register_notices(self) -> None:
        """Register the notices that merchants are shown."""
        for name, purposes in EXPLAINED.items():
            texts = ("--zh", str(path_of(name, "zh")), "--en", str(path_of(name, "en")))
            explained = [argument for purpose in purposes for argument in ("--purpose", purpose)]
            config = ("--config", str(self.config("hub")))
            self.hub_command("notice", "add", name, "--version", VERSION, *texts, *explained, *config)

    def register_assessment(self, campaign_id: str) -> None:
        """Register the template as the impact assessment of a campaign's models."""
        made = assessment.submission(campaign_id)
        stated = ("--title", made.title, "--date", made.date.isoformat(), "--assessor", made.assessor)
        found = ("--conclusion", made.conclusion, "--retained-until", made.retained_until.isoformat())
        config = ("--config", str(self.config("hub")))
        file = ("--file", str(assessment.TEMPLATE))
        self.hub_command("assessment", "add", campaign_id, *file, *stated, *found, *config)

    def start_witness(self) -> None:
        """Make, enrol and run the witness: from now on checkpoints are cosigned."""
        self._init(WITNESS, {})
        self.enrol(WITNESS)
        self._run(WITNESS)
        self.group.wait_until("the witness's link", lambda: self._linked(WITNESS.party_id), _START_SECONDS)

    def make_nodes(self, datasets: dict[str, dict[str, Path]]) -> None:
        """Make and enrol the data nodes and the platform. `datasets`: party → schema file name → its own CSV."""
        parties = [*self.nodes, PLATFORM]
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda node: self._init(node, datasets.get(node.party_id, {})), parties))
            list(pool.map(self.enrol, parties))

    def approve(self, party_ids: list[str]) -> None:
        """The witness's owner approves parties by name and fingerprint, learned out of band."""

        def approve(party_id: str) -> None:
            self.node_command(WITNESS.party_id, "witness", "approve", party_id, self.fingerprints[party_id])

        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(approve, party_ids))

    def run_nodes(self) -> None:
        """Run every node's agent, each from its own folder."""
        parties = [*self.nodes, PLATFORM]
        for node in parties:
            self._run(node)
        self.group.wait_until(
            "the nodes' links", lambda: all(self._linked(node.party_id) for node in parties), _START_SECONDS
        )
        for node in parties:
            if node.party_id in self.gateways:
                self.group.wait_until(f"{node.party_id}'s gateway", partial(self._answers, node), _START_SECONDS)

    def enrol(self, node: Node) -> None:
        """One party's enrolment with a one-time token from the operator."""
        token = self.hub_command(
            "enrol-token", "--config", str(self.config("hub")), "--kind", node.kind, "--party", node.party_id
        )["token"]
        arguments = ["enrol", "--token", token, "--hub-key", self.hub_key]
        if node is not WITNESS:
            arguments += ["--witness-key", self.witness_key, "--witness-id", WITNESS.party_id]
        self.node_command(node.party_id, *arguments)

    def _init(self, node: Node, datasets: dict[str, Path]) -> None:
        folder = self.folder(node.party_id)
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ["init", "--dir", str(folder), "--party-id", node.party_id, "--kind", node.kind]
        arguments += ["--region", node.region, "--title", node.title, "--hub-url", self.url]
        arguments += ["--epsilon", str(BUDGET_EPSILON), "--delta", "2e-5"]
        for schema, table in datasets.items():
            own = folder / schema  # the owner's own copy of the public schema
            shutil.copyfile(self.configs / schema, own)
            arguments += ["--dataset", f"{own}={table}"]
        made = _json(
            run_command([executable("digua-node"), *arguments, "--json"], what=f"{node.party_id}: digua-node init")
        )
        self.fingerprints[node.party_id] = made["fingerprint"]
        if node is WITNESS:
            self.witness_key = made["sign_key"]
        if node.kind in ("bank", "client"):
            self._add_gateway(node)
        if node.party_id in self.page_ports:
            self._configure(node.party_id, node_section(self.page_ports[node.party_id]))

    def _add_gateway(self, node: Node) -> None:
        port = free_port()
        token_file = self.folder(node.party_id) / "gateway.token"
        self._configure(node.party_id, f"gateway:\n  port: {port}\n  token_file: gateway.token\n")
        self.gateways[node.party_id] = Gateway(f"http://127.0.0.1:{port}", str(token_file))

    def _configure(self, party_id: str, section: str) -> None:
        with self.config(party_id).open("a", encoding="utf-8") as config:
            config.write(section)

    def doors(self) -> list[Door]:
        """Where people enter the pages; links are made anew and each works once."""
        hub = self.hub_command("people", "add", OPERATOR, "--role", "operator", "--config", str(self.config("hub")))
        witness = self.node_command(WITNESS.party_id, *sign_up_arguments(WITNESS.party_id, WITNESS))
        bank = self.node_command(BANK.party_id, *sign_up_arguments(BANK.party_id, WITNESS))
        return [
            Door("监管 regulator", witness["link"]),
            Door(f"银行 bank ({BANK.party_id})", bank["link"]),
            Door("运营 operator", hub["link"]),
            Door("商户 merchant", f"{origin(self.port)}/merchant"),
        ]

    def _run(self, node: Node) -> None:
        self.group.start(node.party_id, [executable("digua-node"), "run", "--config", str(self.config(node.party_id))])

    def _healthy(self) -> bool:
        try:
            return self.http.get("/v1/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _linked(self, party_id: str) -> bool:
        found = self.http.get("/v1/parties", headers=self.admin()).json()["parties"]
        return any(party["connected"] for party in found if party["party_id"] == party_id)

    def admin(self) -> dict[str, str]:
        """The operator's header; its token lies in the hub's folder."""
        return {"Authorization": f"Bearer {(self.folder('hub') / 'admin.token').read_text(encoding='utf-8').strip()}"}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST JSON to the hub as the operator or a merchant's phone would.

        Raises:
            DemoError: the hub refused; the message is its problem document.
        """
        answer = self.http.post(path, json=body, headers={**self.admin(), "Idempotency-Key": secrets.token_hex(16)})
        if answer.is_error:
            raise DemoError(f"POST {path} was refused: {answer.text}")
        return answer.json()

    def _answers(self, node: Node) -> bool:
        gateway = self.gateways[node.party_id]
        try:
            return httpx.get(f"{gateway.url}/health", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def score(self, party_id: str, body: dict[str, Any]) -> httpx.Response:
        """Ask a party's own gateway for a score."""
        gateway = self.gateways[party_id]
        token = Path(gateway.token).read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.post(f"{gateway.url}/score", json=body, headers=headers, timeout=60.0, trust_env=False)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise DemoError(f"a command printed no JSON: {text[:200]!r}") from problem
