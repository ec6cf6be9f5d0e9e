"""A served hub with a witness and nodes, each with its own store and a real link over loopback, in one process.

Enrolment, approval, pseudonyms, merchants' keys, consents and feeds are the product's own; nothing is stood in for.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray

from crypto.jws import generate_merchant_key, merchant_public, sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.manifest import holdout_mask
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.party import EnrolmentRequest, MerchantKeyLeaf, Party
from hub.app import create_app
from hub.config import load_config
from hub.demo.merchants import Merchant, consent_of
from hub.demo.notices import submissions
from hub.link import WS_MAX_BYTES
from hub.services import Hub
from models.codes import UNLABELLED
from models.quantile_bins import on_grid
from models.schema import FeatureSpec, Schema
from nodes.config import NodeConfig
from nodes.fingerprint import party_fingerprint
from nodes.keys import create_keys
from nodes.link import Link
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip
from nodes.training_context import TrainingData
from tests.databases import make_hub
from tests.federation import small_schema
from tests.hub_world import Member, merchant_batch

NODES = {"bank": 3, "tax": 2, "utility": 2}
WAIT_S = 120.0
_ORDINAL = ("-1", "0.5", "2", "")
_NOMINAL = ("a", "b", "c", "elsewhere", "")


def wait_until(ready: Callable[[], bool], *, what: str, seconds: float = WAIT_S, pause: float = 0.02) -> None:
    """Ask every `pause` seconds; what asks the hub by HTTP takes its time from what it waits for."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(pause)


def _cell(feature: FeatureSpec, code: int) -> str:
    """A value in this bin."""
    if not feature.ordinal:
        return _NOMINAL[code]
    edges = feature.spec.bins or ()
    if edges == (0, 1):
        return _ORDINAL[code]
    return "" if code > len(edges) else str(edges[code] if code < len(edges) else edges[-1] + 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Agent:
    """A party's agent with its link."""

    config: NodeConfig
    runtime: NodeRuntime
    services: Services
    link: Link
    started: bool = field(default=False)

    @classmethod
    def open(cls, config: NodeConfig) -> Self:
        runtime = NodeRuntime.open(config)
        services = equip(runtime)
        return cls(config, runtime, services, Link(runtime, runtime.handlers))

    def connect(self) -> None:
        self.link.start()
        self.started = True
        assert self.link.wait_connected(WAIT_S)

    def close(self) -> None:
        if self.started:
            self.link.stop()
        self.runtime.close()


class HubProcess:
    """The hub under uvicorn in a thread; `stop` and `start` again are a restart."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.hub: Hub = Hub.open(load_config(config))
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        listen = self.hub.config.listen
        config = uvicorn.Config(
            create_app(self.hub),
            host=listen.host,
            port=listen.port,
            ws="websockets-sansio",
            ws_max_size=WS_MAX_BYTES,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            lifespan="on",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="uvicorn", daemon=True)
        self._thread.start()
        wait_until(lambda: self._server is not None and self._server.started, what="the hub's start")

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(60)
            assert not self._thread.is_alive()
        self.hub.close()

    def restart(self) -> None:
        self.stop()
        self.hub = Hub.open(load_config(self._config))
        self.start()


class ServedWorld:
    """Hub, witness and nodes with synthetic merchants who consented.

    Attributes:
        pseudonyms, codes, outcome: the joined rows, in order of merchants; 255 where a kind has no record.
        sources: kind → (n,) party id or None.
    """

    def __init__(
        self,
        base: Path,
        *,
        merchants: int = 400,
        nodes: Mapping[str, int] | None = None,
        budgets: Mapping[str, float] | None = None,
        noise_off: bool = True,
        seed: int = 0,
        hub_yaml: str = "",
        scores: int = 0,
    ) -> None:
        """Args:
        scores: uses a month of each consent to a credit score for the merchant's bank; without it consents are to
            training alone, as are those of every fifth merchant.
        """
        self.schema: Schema = self._make_schema()
        self.base = base
        base.mkdir(parents=True, exist_ok=True)
        self.schema_file = base / "small.yaml"
        self.schema_file.write_bytes(self.schema.canonical_json())
        self._draw(np.random.default_rng(seed), merchants, nodes or NODES)
        make_hub(base / "hub", hub_id="hub", port=free_port()).close()
        with (base / "hub" / "hub.yaml").open("a", encoding="utf-8") as file:
            file.write(hub_yaml)
        self.process = HubProcess(base / "hub" / "hub.yaml")
        self.process.start()
        self.url = self.hub.config.public_url
        token = self.hub.config.admin_token_file.read_text().strip()
        for notice in submissions():
            self.hub.notices.register(notice)
        self.http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=WAIT_S
        )
        self._scores = scores
        self._budgets, self._noise_off = budgets or {}, noise_off
        self.agents: dict[str, Agent] = {}
        self._join_all(sorted({party for held in self.sources.values() for party in held if party is not None}))
        self._consent()

    @property
    def hub(self) -> Hub:
        return self.process.hub

    @property
    def witness(self) -> Agent:
        return self.agents["witness"]

    def close(self) -> None:
        for agent in self.agents.values():
            agent.close()
        self.http.close()
        self.process.stop()

    def training_data(self, party: str) -> TrainingData:
        data = self.agents[party].runtime.training_data(self.schema.hash())
        assert data is not None
        return data

    def lets_score(self, row: int) -> bool:
        """Whether a merchant's consent lets its bank have a credit score."""
        return self._scores > 0 and row % 5 != 0

    def evaluated(self, campaign_id: str, fraction: float) -> NDArray[np.bool_]:
        """Held out, with a consent to a score for the bank, and two sources besides it."""
        salt = self.hub.campaigns.book.get(campaign_id).holdout_salt
        rows = range(len(self.ids))
        others = np.array([sum(self.sources[k][row] is not None for k in ("tax", "utility")) for row in rows])
        lets = np.array([self.lets_score(row) for row in rows])
        return holdout_mask(self.pseudonyms, salt, fraction) & lets & (others == 2)

    def order(self, **fields: Any) -> httpx.Response:
        """Order a campaign over HTTP."""
        schema = self.schema.name
        campaign = {"name": "small", "schema": schema, "stages": ["scorecard"], "epsilon": 3.0, "holdout": 0.2}
        body = {"campaign": campaign | fields, "schema": json.loads(self.schema.canonical_json())}
        return self.http.post("/v1/campaigns", json=body, headers={"Idempotency-Key": IdentityKey.generate().raw.hex()})

    def start(self, **fields: Any) -> str:
        """Order a campaign that is accepted; returns its id."""
        response = self.order(**fields)
        assert response.status_code == 201, response.text
        return str(response.json()["campaign_id"])

    def state(self, campaign_id: str) -> dict[str, Any]:
        state: dict[str, Any] = self.http.get(f"/v1/campaigns/{campaign_id}").raise_for_status().json()
        return state

    def ended(self, campaign_id: str, *, seconds: float = 240.0) -> dict[str, Any]:
        """The campaign once it has ended."""
        done = ("succeeded", "failed", "aborted")
        what = f"the end of {campaign_id}"
        wait_until(lambda: self.state(campaign_id)["status"] in done, what=what, seconds=seconds, pause=0.2)
        return self.state(campaign_id)

    def campaign_pid(self, campaign_id: str) -> int:
        """The process that runs a campaign now."""
        wait_until(lambda: self.state(campaign_id)["run_by"] is not None, what=f"a process for {campaign_id}")
        return int(self.state(campaign_id)["run_by"].rpartition(":")[2])

    def kill_campaign(self, campaign_id: str) -> None:
        """Kill the process that runs a campaign; nothing is written."""
        pid = self.campaign_pid(campaign_id)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.state(campaign_id)["run_by"] != f"{socket.gethostname()}:{pid}", what="its end")

    def wait_connected(self) -> None:
        wait_until(lambda: set(self.agents) <= self.hub.links.connected(), what="all links")

    # Making it

    def _make_schema(self) -> Schema:
        return small_schema()

    def _place(self, party: str, kind: str) -> dict[str, Any]:
        """Where a node has its table, as its configuration says it."""
        return {"csv": self._write_table(party, kind)}

    def _draw(self, rng: np.random.Generator, merchants: int, nodes: Mapping[str, int]) -> None:
        self.ids = [f"merchant-{number:04d}" for number in range(merchants)]
        self.codes: dict[str, NDArray[np.uint8]] = {}
        self.sources: dict[str, list[str | None]] = {}
        for kind, count in nodes.items():
            holder = rng.choice(count, merchants, p=rng.dirichlet(np.full(count, 4.0)))
            if kind == "tax":
                holder[rng.random(merchants) < 0.3] = -1
            self.sources[kind] = [f"{kind}-{index + 1}" if index >= 0 else None for index in holder]
            widths = on_grid(self.schema).widths(kind)
            self.codes[kind] = np.stack([rng.integers(0, width, merchants) for width in widths], 1).astype(np.uint8)
        risk = 0.02 + 0.32 * self.codes["bank"][:, 0]
        self.outcome = np.where(rng.random(merchants) < risk, 0, 1).astype(np.uint8)
        self.outcome[rng.random(merchants) < 0.1] = UNLABELLED

    def _write_table(self, party: str, kind: str) -> Path:
        path = self.base / f"{party}.csv"
        features = on_grid(self.schema).features(kind)
        labelled = kind == self.schema.label.kind
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *(each.name for each in features), *(["bad"] if labelled else [])])
            for row, held in enumerate(self.sources[kind]):
                if held == party:
                    values = [_cell(each, self.codes[kind][row, column]) for column, each in enumerate(features)]
                    writer.writerow(
                        [self.ids[row], *values, *([("1", "0", "")[self.outcome[row]]] if labelled else [])]
                    )
        return path

    def _join_all(self, parties: list[str]) -> None:
        kinds = {"witness": "witness"} | {party: party.partition("-")[0] for party in parties}
        keys = {party: create_keys(self.base / party / "keys", kind=kind) for party, kind in kinds.items()}
        trust = {
            "hub_id": "hub",
            "hub_sign_key": self.hub.keys.identity.public,
            "witness_id": "witness",
            "witness_sign_key": keys["witness"].identity.public,
        }
        self.platform = Member("platform", "client", IdentityKey.generate(), BoxKey.generate())
        for party, kind in kinds.items():
            datasets = [] if kind == "witness" else [{"schema": self.schema_file, **self._place(party, kind)}]
            config = NodeConfig.model_validate(
                {
                    "party_id": party,
                    "kind": kind,
                    "region": "Lishui",
                    "hub": {"url": self.url},
                    "trust": trust,
                    "data_dir": self.base / party / "data",
                    "keys_dir": self.base / party / "keys",
                    "datasets": datasets,
                    "budget": {"epsilon": self._budgets.get(party, 10.0), "delta": 1e-5},
                    "insecure_noise_off": self._noise_off,
                }
            )
            self.agents[party] = Agent.open(config)
        approvals = self.witness.services.witness
        assert approvals is not None
        for party, kind in [*kinds.items(), ("platform", "client")]:
            own = self.platform if party == "platform" else keys[party]
            fingerprint = party_fingerprint(party, kind, own.identity.public, own.box.public)
            approvals.approvals.approve(party, fingerprint)
            seed = None if party == "platform" else keys[party].voprf_seed
            voprf_key = None if seed is None else PseudonymKey.from_seed(seed).public
            training = None if party == "platform" else keys[party].training
            self._enrol(
                Party(
                    party_id=party,
                    kind=kind,
                    region="Lishui",
                    sign_key=own.identity.public,
                    box_key=own.box.public,
                    training_key=None if training is None else training.public,
                ),
                own.identity,
                voprf_key,
            )
            if party == "witness":
                self.witness.connect()
        for party in parties:
            self.agents[party].connect()
        everybody = {*kinds, "platform"}
        wait_until(lambda: everybody <= {p.party_id for p in self._roster_parties()}, what="the cosigned roster")
        wait_until(lambda: all(self._knows_roster(a) for a in self.agents.values()), what="the roster at the nodes")
        for party in parties:
            self.agents[party].runtime.datasets.pseudonymise()

    def _roster_parties(self) -> tuple[Party, ...]:
        current = self.hub.roster.current()
        return () if current is None else current[1].parties

    def _knows_roster(self, agent: Agent) -> bool:
        current = self.hub.roster.current()
        return current is not None and agent.runtime.roster.version == current[1].version

    def _enrol(self, party: Party, identity: IdentityKey, voprf_key: bytes | None) -> None:
        request = EnrolmentRequest(
            suite=SUITE,
            token=self.hub.enrolment.issue_token(party.kind, party.party_id, valid_for=timedelta(hours=1)),
            party=party,
            voprf_key=voprf_key,
            issued_at=datetime.now(UTC),
        )
        self.hub.enrolment.enrol(sign_model(request, identity, typ="enrolment", kid=party.party_id))

    def _enrol_merchants(self, countersigner: str) -> None:
        """Merchants with keys of their own, which the platform signed and a source that knows them countersigned."""
        label = self.schema.label.kind
        self.pseudonyms = np.zeros((len(self.ids), 32), dtype=np.uint8)
        for row, source in enumerate(self.sources[label]):
            assert source is not None
            merchant = self.agents[source].runtime.pseudonyms.merchant_of(self.ids[row])
            assert merchant is not None
            self.pseudonyms[row] = np.frombuffer(merchant, dtype=np.uint8)
        self.merchants = [
            Merchant(
                self.ids[row],
                self.pseudonyms[row].tobytes(),
                dict(generate_merchant_key("Ed25519")),
                {kind: party for kind in self.sources if (party := self.sources[kind][row]) is not None},
            )
            for row in range(len(self.ids))
        ]
        leaves = [MerchantKeyLeaf(pseudonym=each.pseudonym, jwk=merchant_public(each.jwk)) for each in self.merchants]
        own = self.agents[countersigner].runtime
        signer = Member(countersigner, own.config.kind, own.identity, own.box)
        self.hub.merchant_keys.store(merchant_batch(leaves, self.platform, signer, batch_id="ab" * 16))

    def _consent(self) -> None:
        self._enrol_merchants(next(party for party in self.agents if party.startswith("bank")))
        signed = [
            consent_of(
                each,
                purposes=("credit-scoring", "model-training") if self.lets_score(row) else ("model-training",),
                recipients=(each.sources["bank"],),
                reasons=False,
                count=self._scores or 10,
                now=datetime.now(UTC),
            )
            for row, each in enumerate(self.merchants)
        ]
        self.records = [record for record, _ in signed]
        self.hub.consents.submit([token for _, token in signed])
        wait_until(self._feeds_followed, what="consents at the nodes")

    def _feeds_followed(self) -> bool:
        return all(agent.runtime.feed_seq == self.hub.feed.end(party) for party, agent in self.agents.items())
