"""A hub and the agents of its platform and banks in one process: real stores and keys, HTTP without a socket."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from crypto.keys import encode_pem
from crypto.wire.consent import FeedPage
from hub.app import create_app
from hub.demo.notices import shown
from nodes.config import NodeConfig
from nodes.gateway import create_gateway
from nodes.gateway_batches import BatchDesk
from nodes.hub_client import HubClient
from nodes.keys import BOX_FILE, IDENTITY_FILE, write_secret
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip
from nodes.tables.roster import PseudonymRow
from tests.hub_merchants import MarketWorld

TOKEN = "t" * 32
TEMPLATE = """\
privacy_notice: {version: "1", language: zh, sha256: "SHA256"}
purposes: [credit-scoring]
pii_information:
  - {category: bank, data_class: C2}
  - {category: tax, data_class: C2}
  - {category: utility, data_class: C2}
sources: {bank: bank-01, tax: tax-01, utility: utility-01}
recipients: [bank-01, platform]
fetch_type: PERIODIC
frequency: {count: 10, per: month}
data_life: {unit: month, value: 6}
valid_days: 365
legal_article: 个人信息保护法 13(1)、23、29；征信业管理条例 13、14
withdrawal_method: 商户网页“我的授权”
collection_method: 商户网页
"""


class PlatformWorld(MarketWorld):
    """`agents` are the parties' own; a merchant's pseudonym at all of them is the hash of its identifier."""

    def __init__(self, base: Path, *parties: str) -> None:
        super().__init__(base)
        self.app = create_app(self.hub)
        self.http = TestClient(self.app, raise_server_exceptions=False)
        self.forwarded: list[tuple[str, str]] = []
        self.reachable = True
        sample = TEMPLATE.replace("SHA256", shown(("credit-scoring",)).sha256)
        (base / "loan.yaml").write_text(sample, encoding="utf-8")
        self.agents: dict[str, Services] = {name: self._agent(name) for name in parties}

    def close(self) -> None:
        for agent in self.agents.values():
            agent.runtime.close()
        self.hub.close()

    def _agent(self, name: str) -> Services:
        member = self.members[name]
        folder = self.base / name
        (folder / "keys").mkdir(parents=True, mode=0o700)
        write_secret(folder / "keys" / IDENTITY_FILE, encode_pem(member.identity))
        write_secret(folder / "keys" / BOX_FILE, encode_pem(member.box))
        current = self.hub.roster.current()
        assert current is not None
        config = NodeConfig.model_validate(
            {
                "party_id": name,
                "kind": member.kind,
                "region": "Lishui",
                "hub": {"url": "http://127.0.0.1:1"},
                "trust": {
                    "hub_id": self.hub.config.hub_id,
                    "hub_sign_key": self.hub.keys.identity.public,
                    "witness_id": self.witness.party_id,
                    "witness_sign_key": self.witness.identity.public,
                },
                "data_dir": folder / "data",
                "keys_dir": folder / "keys",
                "gateway": {"token_file": folder / "token", "consent_templates": {"loan": self.base / "loan.yaml"}},
            }
        )
        client = HubClient(
            config.hub,
            party_id=name,
            identity=member.identity,
            clock=lambda: self.now,
            patience_seconds=0.1,
            transport=httpx.MockTransport(self._forward),
        )
        runtime = NodeRuntime.open(config, clock=lambda: self.now, hub=client)
        runtime.roster.update(current[0])
        return equip(runtime)

    def _forward(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("refused")
        self.forwarded.append((request.method, request.url.path))
        answer = self.http.request(
            request.method, str(request.url.raw_path, "ascii"), content=request.content, headers=dict(request.headers)
        )
        kept = {name: value for name, value in answer.headers.items() if name == "content-type"}
        return httpx.Response(answer.status_code, content=answer.content, headers=kept)

    def know(self, identifier: str, *names: str) -> bytes:
        """Let agents have an identifier's pseudonym, as if hub and witness had evaluated it."""
        pseudonym = hashlib.sha256(identifier.encode()).digest()
        for name in names or tuple(self.agents):
            with self.agents[name].runtime.store.session() as session:
                session.merge(PseudonymRow(id_type="opaque", identifier=identifier, pseudonym=pseudonym))
        return pseudonym

    def follow(self, name: str) -> None:
        """Bring an agent what its feed has for it."""
        runtime = self.agents[name].runtime
        runtime.apply_feed(FeedPage.model_validate_json(self.hub.feed.page(name, runtime.feed_seq).body))

    def gateway(self, name: str, **headers: str) -> Any:
        """A client of an agent's gateway."""
        agent = self.agents[name]
        app = create_gateway(agent, BatchDesk(agent.batches), token=TOKEN, connected=lambda: True)
        bearer = {"Authorization": f"Bearer {TOKEN}", **headers}
        return TestClient(app, headers=bearer, raise_server_exceptions=False)
