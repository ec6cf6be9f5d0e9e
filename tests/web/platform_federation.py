"""A whole federation with the Two Small platform in it, its node, its gateway and its pages, and a released model.

Merchants are known by unified social credit codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from crypto.identifiers import uscc_check_digit
from crypto.keys import IdentityKey, encode_pem
from hub.demo.notices import shown
from hub.keys import write_secret
from hub.platform.app import create_platform
from hub.platform.config import GatewayOptions, PagesOptions
from hub.platform.installation import front_of, initialise, opened
from hub.platform.services import Platform
from hub.platform.web.site import Front
from models.schema import Schema
from nodes.config import NodeConfig
from nodes.gateway import GatewayServer, create_gateway
from nodes.gateway_batches import BatchDesk
from nodes.keys import BOX_FILE, IDENTITY_FILE
from tests.assessments import assess
from tests.federation import small_schema
from tests.served_world import Agent, ServedWorld, free_port, wait_until
from tests.web.harness import served

TOKEN = "t" * 32


def code_of(number: int) -> str:
    body = f"92331102MA{number:07d}"
    return body + uscc_check_digit(body)


class TwoSmallFederation(ServedWorld):
    """Attributes:
    row: a merchant that banks, tax bureau and utility hold, and whose key is enrolled.
    """

    def _make_schema(self) -> Schema:
        plain = small_schema()
        return plain.model_copy(update={"id": plain.id.model_copy(update={"type": "uscc"})})

    def _draw(self, rng: np.random.Generator, merchants: int, nodes: Any) -> None:
        super()._draw(rng, merchants, nodes)
        self.ids = [code_of(number) for number in range(merchants)]

    def release(self) -> None:
        """Train a model with noise and release it."""
        # With 200 merchants and epsilon 3, the fit finds nothing in 14 of 1,000 draws of noise; with 8 in none.
        state = self.ended(self.start(epsilon=8.0), seconds=600)
        assert state["status"] == "succeeded", state["failure"]
        assess(self.hub, str(state["campaign_id"]))
        answer = self.http.post(
            f"/v1/models/{state['model_id']}/release",
            json={},
            headers={"Idempotency-Key": IdentityKey.generate().raw.hex()},
        )
        assert answer.status_code == 200, answer.text

    @property
    def row(self) -> int:
        return next(row for row in range(len(self.ids)) if all(held[row] for held in self.sources.values()))

    @property
    def identifier(self) -> str:
        return self.ids[self.row]

    @property
    def bank(self) -> str:
        """The merchant's own bank, which lends."""
        bank = self.sources["bank"][self.row]
        assert bank is not None
        return bank

    def join_platform(self) -> Agent:
        """Start the platform's own node, with templates of what it asks this merchant for."""
        folder = self.base / "platform"
        (folder / "keys").mkdir(parents=True, mode=0o700)
        write_secret(folder / "keys" / IDENTITY_FILE, encode_pem(self.platform.identity))
        write_secret(folder / "keys" / BOX_FILE, encode_pem(self.platform.box))
        templates = {}
        for name, purpose in (("pre-qualification", "pre-qualification"), ("loan", "credit-scoring")):
            templates[name] = folder / f"{name}.yaml"
            templates[name].write_text(yaml.safe_dump(self._template(purpose), allow_unicode=True), encoding="utf-8")
        config = NodeConfig.model_validate(
            {
                "party_id": "platform",
                "kind": "client",
                "region": "Lishui",
                "hub": {"url": self.url},
                "trust": self.witness.config.model_dump()["trust"],
                "data_dir": folder / "data",
                "keys_dir": folder / "keys",
                "gateway": {"token_file": folder / "token", "consent_templates": templates},
            }
        )
        agent = self.agents["platform"] = Agent.open(config)
        agent.connect()
        self.wait_connected()
        wait_until(lambda: agent.services.models.newest() is not None, what="the model at the platform", seconds=300)
        return agent

    def _template(self, purpose: str) -> dict[str, Any]:
        return {
            "privacy_notice": {"version": "1", "language": "zh", "sha256": shown((purpose,)).sha256},
            "purposes": [purpose],
            "pii_information": [
                {"category": name, "data_class": "C2"} for name in ("bank", "tax", "utility", "reasons")
            ],
            "sources": {kind: held[self.row] for kind, held in self.sources.items()},
            "recipients": ["platform", self.bank],
            "fetch_type": "PERIODIC",
            "frequency": {"count": 10, "per": "month"},
            "data_life": {"unit": "month", "value": 1},
            "valid_days": 365,
            "legal_article": "个人信息保护法 13(1)、23、29",
            "withdrawal_method": "商户网页“我的授权”",
            "collection_method": "商户网页",
        }


@contextmanager
def served_platform(world: TwoSmallFederation) -> Iterator[tuple[Platform, Front, str]]:
    """The platform with its pages over the gateway of its own node; gives its address too."""
    agent = world.join_platform()
    desk = BatchDesk(agent.services.batches)
    app = create_gateway(agent.services, desk, token=TOKEN, connected=lambda: True)
    gateway = agent.config.gateway
    assert gateway is not None
    server = GatewayServer(app, gateway.model_copy(update={"port": 0}), desk)
    server.start()
    port = free_port()
    folder: Path = world.base / "two-small"
    made = initialise(folder, party_id="platform", port=port)
    write_secret(made.gateway.token_file, TOKEN.encode())
    config = made.model_copy(
        update={
            "gateway": GatewayOptions(url=f"http://127.0.0.1:{server.port}", token_file=made.gateway.token_file),
            "pages": PagesOptions(origin=f"http://localhost:{port}", key_file=folder / "keys" / "pages.key"),
        }
    )
    try:
        with opened(config) as (platform, register):
            front = front_of(config, platform, register)
            assert front is not None
            with served(create_platform(platform, register, front), port) as origin:
                yield platform, front, origin
    finally:
        server.stop()
