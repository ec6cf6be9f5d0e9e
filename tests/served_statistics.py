"""A served hub whose merchants signed consents to programme statistics, and a platform with its node's gateway."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from crypto.wire.consent import PrivacyNotice
from crypto.wire.notice import NoticeSubmission
from crypto.wire.party import Party
from hub.demo.merchants import consent_of
from hub.demo.notices import read_text
from hub.keys import write_secret
from hub.platform.config import GatewayOptions
from hub.platform.installation import initialise, opened
from hub.platform.merchant_book import MerchantBook
from hub.platform.services import Platform
from models.schema import Schema
from models.statistics.choice import ReportFeatures
from nodes.config import NodeConfig
from nodes.fingerprint import party_fingerprint
from nodes.gateway import GatewayServer, create_gateway, gateway_token
from nodes.gateway_batches import BatchDesk
from nodes.keys import create_keys
from tests.served_world import Agent, ServedWorld, wait_until
from tests.statistics_world import COUNTIES, Programme, statistics_schema

NOTICE = "programme-statistics"
REPORT = ReportFeatures(groups=("county",), amount="amount", amount_baseline="amount_before", baseline_year=2022)
STATISTICS = {"year": 2025, "report": REPORT.model_dump(exclude_none=True)}
"""Five blocks of cells."""
CLIENT = "two-small"
_REGIONS = ("east", "centre", "west")


class StatisticsWorld(ServedWorld):
    """Merchants of a known programme at a platform, two banks and an office.

    Attributes:
        agreed: (n,) who signed a consent to statistics; the others signed one to model training alone.
    """

    def __init__(self, base: Path, *, merchants: int = 300) -> None:
        self.programme = Programme(merchants, seed=104)
        self.agreed: NDArray[np.bool_] = np.arange(merchants) % 5 != 0
        super().__init__(base, merchants=merchants, noise_off=False)
        self.client = self._client()

    def close(self) -> None:
        self.client.close()
        super().close()

    def order_statistics(self, **fields: Any) -> httpx.Response:
        """Order the yearly report; its ε is nearly all that a year may cost."""
        asked = {"stages": ["statistics"], "holdout": 0, "epsilon": 0.9, "delta": 1e-6, "statistics": STATISTICS}
        return self.order(**(asked | fields))

    @contextmanager
    def two_small(self, folder: Path) -> Iterator[tuple[Platform, MerchantBook]]:
        """The platform in a folder of its own, with its node's gateway over HTTP."""
        own = self.client.config.gateway
        assert own is not None
        desk, token = BatchDesk(self.client.services.batches), gateway_token(own)
        app = create_gateway(self.client.services, desk, token=token, connected=lambda: True)
        server = GatewayServer(app, own, desk)
        server.start()
        try:
            made = initialise(folder, party_id=CLIENT, port=18450)
            write_secret(made.gateway.token_file, token.encode())
            gateway = GatewayOptions(url=f"http://127.0.0.1:{server.port}", token_file=made.gateway.token_file)
            with opened(made.model_copy(update={"gateway": gateway})) as platform:
                yield platform
        finally:
            server.stop()

    # Making it

    def _make_schema(self) -> Schema:
        return statistics_schema()

    def _draw(self, rng: np.random.Generator, merchants: int, nodes: object) -> None:
        its = self.programme
        self.ids = [f"merchant-{number:04d}" for number in range(merchants)]
        self.sources = {
            "platform": ["platform-1"] * merchants,
            "bank": [f"bank-{row % 2 + 1}" if held else None for row, held in enumerate(its.banked)],
            "office": ["office-1" if held else None for held in its.at_office],
        }

    def _write_table(self, party: str, kind: str) -> Path:
        path, its = self.base / f"{party}.csv", self.programme
        columns = {"platform": ("county", "region", "support"), "office": ("subsidy",)}.get(
            kind, ("amount", "amount_before", "rate", "rate_before", "overdue")
        )
        words: dict[str, Any] = {
            "county": [COUNTIES[each] for each in its.county],
            "region": [_REGIONS[each] for each in its.region],
            "support": [("supermarket", "inn")[each] for each in its.support],
            "overdue": [("overdue", "current", "", "")[each] for each in its.overdue],
        }
        for name, values in its.values.items():
            words[name] = ["" if np.isnan(each) else repr(float(each)) for each in values]
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *columns])
            for row, held in enumerate(self.sources[kind]):
                if held == party:
                    writer.writerow([self.ids[row], *(words[name][row] for name in columns)])
        return path

    def _consent(self) -> None:
        zh, en = read_text(NOTICE, "zh"), read_text(NOTICE, "en")
        self.hub.notices.register(NoticeSubmission(notice=NOTICE, version="1", purposes=(NOTICE,), zh=zh, en=en))
        self._enrol_merchants("bank-1")
        notice = PrivacyNotice(version="1", language="zh", sha256=hashlib.sha256(zh.encode()).hexdigest())
        signed = [
            consent_of(
                each,
                purposes=(NOTICE,) if agreed else ("model-training",),
                recipients=("platform",),
                reasons=False,
                count=1,
                now=datetime.now(UTC),
                notice=notice if agreed else None,
            )
            for each, agreed in zip(self.merchants, self.agreed, strict=True)
        ]
        self.hub.consents.submit([token for _, token in signed])
        wait_until(self._feeds_followed, what="consents at the nodes")

    def _client(self) -> Agent:
        """The platform's own node: enrolled, approved, and linked to the hub, so that it has the newest roster."""
        keys = create_keys(self.base / CLIENT / "keys", kind="client")
        config = NodeConfig.model_validate(
            {
                "party_id": CLIENT,
                "kind": "client",
                "region": "Lishui",
                "hub": {"url": self.url},
                "trust": self.witness.config.trust,
                "data_dir": self.base / CLIENT / "data",
                "keys_dir": self.base / CLIENT / "keys",
                "gateway": {"token_file": self.base / CLIENT / "token", "port": 0},
            }
        )
        approvals = self.witness.services.witness
        assert approvals is not None
        public, box = keys.identity.public, keys.box.public
        approvals.approvals.approve(CLIENT, party_fingerprint(CLIENT, "client", public, box))
        party = Party(party_id=CLIENT, kind="client", region="Lishui", sign_key=public, box_key=box)
        self._enrol(party, keys.identity, None)
        agent = Agent.open(config)
        agent.connect()
        wait_until(lambda: CLIENT in {each.party_id for each in self._roster_parties()}, what="the platform's node")
        wait_until(lambda: self._knows_roster(agent), what="the roster at the platform's node")
        return agent
