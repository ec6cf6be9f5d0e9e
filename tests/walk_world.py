"""A whole federation through the hub's own parts: enrolment, pseudonyms, consents, training, release, query.

Nodes reach the hub over its HTTP API; the hub reaches nodes by their handlers, as it would over their links.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from fastapi.testclient import TestClient
from flwr.app import Context, RecordDict

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, sign_merchant, sign_model
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.campaign import RosterEntry
from crypto.wire.consent import (
    ConsentEvent,
    ConsentRecord,
    DataCategory,
    DataLife,
    FeedPage,
    Frequency,
    SeparateConsent,
)
from crypto.wire.link import ProblemBody
from crypto.wire.party import EnrolmentRequest, MerchantKeyLeaf, Party
from hub.app import create_app
from hub.campaign_plan import CampaignPlan
from hub.clock import utc_now
from hub.cohort import Cohort
from hub.demo.notices import shown, submissions
from hub.errors import PeerRefused
from hub.grids.local import LocalGrid
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignJob, run_server_app
from hub.training_consents import training_merchants
from nodes.config import NodeConfig
from nodes.errors import PolicyRefusal
from nodes.fingerprint import party_fingerprint
from nodes.hub_client import HubClient
from nodes.keys import create_keys
from nodes.merchant_keys import countersign, draft_batch
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip
from nodes.training import build_client_app
from tests.assessments import assess
from tests.databases import make_hub
from tests.federation import small_schema

KINDS = {"bank-01": "bank", "platform": "client", "tax-01": "tax", "utility-01": "utility", "witness": "witness"}
SOURCES = {"bank": "bank-01", "tax": "tax-01", "utility": "utility-01"}
MERCHANTS = 150


class WalkLinks:
    """The hub's links as calls into the nodes of this process."""

    def __init__(self, world: WalkWorld) -> None:
        self._world = world

    def connected(self) -> frozenset[str]:
        return frozenset(self._world.nodes)

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        for party_id in sorted(set(party_ids)):
            self._world.follow(party_id)

    def request(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        try:
            return self._world.nodes[party_id].runtime.handlers[frame_type](body)  # type: ignore[index]
        except PolicyRefusal as refusal:
            problem = ProblemBody(code=refusal.reason, title="Refused", detail=refusal.message, field=refusal.field)
            raise PeerRefused(party_id, problem) from refusal

    async def request_async(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        return await asyncio.to_thread(self.request, party_id, frame_type, body, timeout)


class WalkWorld:
    """A hub, a witness, a platform and one source of each kind, below `base`."""

    links = WalkLinks

    def __init__(self, base: Path) -> None:
        self.base = base
        self.schema = small_schema()
        schema_file = base / "schema.yaml"
        schema_file.write_bytes(self.schema.canonical_json())  # JSON is YAML
        self.hub = make_hub(base / "hub", hub_id="hub", port=18441)
        self.hub.links = self.links(self)
        self.nodes: dict[str, Services] = {}
        self.http = TestClient(create_app(self.hub))
        keys = {party: create_keys(base / party / "keys", kind=kind) for party, kind in KINDS.items()}
        trust = {
            "hub_id": "hub",
            "hub_sign_key": self.hub.keys.identity.public,
            "witness_id": "witness",
            "witness_sign_key": keys["witness"].identity.public,
        }
        for party, kind in KINDS.items():
            config = NodeConfig.model_validate(
                {
                    "party_id": party,
                    "kind": kind,
                    "region": "Lishui",
                    "hub": {"url": "http://127.0.0.1:1"},
                    "trust": trust,
                    "data_dir": base / party / "data",
                    "keys_dir": base / party / "keys",
                    "budget": {"epsilon": 20, "delta": 1e-5},
                    "answer_time_floor_ms": 0,
                    "datasets": self._dataset(party, kind, schema_file),
                }
            )
            client = HubClient(
                config.hub,
                party_id=party,
                identity=keys[party].identity,
                transport=httpx.MockTransport(partial(self._relay, party)),
            )
            self.nodes[party] = equip(NodeRuntime.open(config, hub=client))
        self.http.__enter__()
        for party in sorted(KINDS, reverse=True):  # the witness first
            self._enrol(party)
        self.hub.roster.propose()
        for notice in submissions():
            self.hub.notices.register(notice)
        for node in self.nodes.values():
            if node.scorer is not None:
                node.runtime.datasets.pseudonymise()
        self.merchants = [f"M{number:03}" for number in range(MERCHANTS)]
        pseudonyms = self.nodes["platform"].runtime.pseudonyms
        pseudonyms.ensure(self.merchants)
        self.pseudonyms = {each: pseudonyms.pseudonym_of(each) for each in self.merchants}
        self.keys = {each: generate_merchant_key() for each in self.merchants}

    def close(self) -> None:
        self.http.__exit__(None, None, None)
        for node in self.nodes.values():
            node.runtime.close()
        self.hub.close()

    def follow(self, party_id: str) -> None:
        """The party's new feed items, as its link would bring them."""
        runtime = self.nodes[party_id].runtime
        page = self.hub.feed.page(party_id, runtime.feed_seq)
        runtime.apply_feed(FeedPage.model_validate_json(page.body))

    def party(self, party_id: str) -> Party:
        runtime = self.nodes[party_id].runtime
        return Party(
            party_id=party_id,
            kind=KINDS[party_id],
            region="Lishui",
            sign_key=runtime.identity.public,
            box_key=runtime.box.public,
        )

    def enrol_merchants(self) -> None:
        """Keys of all merchants, signed by the platform and countersigned by their bank."""
        platform, bank = self.nodes["platform"].runtime, self.nodes["bank-01"].runtime
        draft = draft_batch(
            [
                MerchantKeyLeaf(pseudonym=self.pseudonyms[each], jwk=merchant_public(self.keys[each]))
                for each in self.merchants
            ],
            identity=platform.identity,
            platform="platform",
            countersigner=self.party("bank-01"),
            batch_id=secrets.token_hex(16),
            now=utc_now(),
        )
        bank_party = self.party("bank-01")
        signed = countersign(draft, identity=bank.identity, party=bank_party, roster=bank.roster, store=bank.store)
        self.hub.merchant_keys.store(signed)

    def consent_all(self) -> dict[str, str]:
        """Every merchant consents; merchant → record id."""
        records = {each: self._record(each) for each in self.merchants}
        self.hub.consents.submit(
            [
                sign_merchant(canonical_bytes(record), self.keys[each], typ="consent", kid=self.pseudonyms[each].hex())
                for each, record in records.items()
            ]
        )
        return {each: record.record_id for each, record in records.items()}

    def revoke(self, merchant: str, record_id: str) -> None:
        """The merchant's signed revocation."""
        event = ConsentEvent(
            suite=SUITE,
            record_id=record_id,
            pii_principal_id=self.pseudonyms[merchant],
            event="revoked",
            event_time=utc_now(),
            event_id=secrets.token_hex(16),
        )
        kid = self.pseudonyms[merchant].hex()
        self.hub.consents.submit_events(
            [sign_merchant(canonical_bytes(event), self.keys[merchant], typ="consent-event", kid=kid)]
        )

    def train(self) -> str:
        """One campaign over all consented merchants, registered and released; the model's id."""
        parties = [party for party in KINDS if self.nodes[party].scorer is not None]
        entries = tuple(self._entry(party) for party in parties)
        kinds, label = self.schema.kinds_in_order(), self.schema.label.kind
        merchants = training_merchants(self.hub.db, kinds, label, utc_now())
        plan = CampaignPlan(
            campaign_id="walk",
            schema=self.schema,
            stages=("scorecard",),
            epsilon=15.0,
            delta=1e-5,
            cohort=Cohort.form(entries, kinds, label, merchants.pseudonyms, merchants.sources),
            witness=self._entry("witness"),
            hub_id="hub",
            identity=self.hub.keys.identity,
            holdout_salt=bytes(16),
            holdout_fraction=0.2,
        )
        node_ids = {party: number for number, party in enumerate([*parties, "witness"], start=2)}
        grid = LocalGrid({number: (self._app(party), _context(number)) for party, number in node_ids.items()})
        try:
            released = run_server_app(grid, CampaignJob(plan, lambda _: None, node_ids)).table()
        finally:
            grid.close()
        _, artefact = make_scorecard(released, utc_now())
        model_id = self.hub.models.register(
            artefact.to_bytes(), campaign_id="walk", attempt=released.terms.attempt, shares=released.shares
        )
        assess(self.hub, "walk")
        self.hub.models.release(model_id, "release")
        return model_id

    def _app(self, party: str):  # type: ignore[no-untyped-def]
        node = self.nodes[party]
        context = node.runtime.training_context() if node.witness is None else node.witness.context
        return build_client_app(lambda _: context)

    def _entry(self, party_id: str) -> RosterEntry:
        party = self.party(party_id)
        return RosterEntry(party_id=party_id, kind=party.kind, sign_key=party.sign_key, box_key=party.box_key)

    def _enrol(self, party_id: str) -> None:
        node, party = self.nodes[party_id], self.party(party_id)
        seed = node.runtime.keys.voprf_seed
        request = EnrolmentRequest(
            suite=SUITE,
            token=self.hub.enrolment.issue_token(party.kind, party_id, valid_for=timedelta(hours=1)),
            party=party,
            voprf_key=None if seed is None else _voprf_public(seed),
            issued_at=utc_now(),
        )
        self.hub.enrolment.enrol(sign_model(request, node.runtime.identity, typ="enrolment", kid=party_id))
        witness = self.nodes["witness"].witness
        assert witness is not None
        witness.approvals.approve(party_id, party_fingerprint(party_id, party.kind, party.sign_key, party.box_key))

    def _relay(self, party: str, request: httpx.Request) -> httpx.Response:
        """A node's HTTP request, answered by the hub's own application."""
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        answer = self.http.request(
            request.method, request.url.raw_path.decode(), content=request.content, headers=headers
        )
        return httpx.Response(answer.status_code, content=answer.content, headers={"content-type": "application/json"})

    def _dataset(self, party: str, kind: str, schema_file: Path) -> list[dict[str, Path]]:
        if kind not in self.schema.kinds:
            return []
        path = self.base / f"{party}.csv"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(party.encode()).digest()[:4], "big"))
        names = [feature.name for feature in self.schema.features(kind)]
        label = [self.schema.label.column] if kind == self.schema.label.kind else []
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["id", *names, *label])
            for number in range(MERCHANTS):
                cells = [
                    int(rng.integers(0, 3)) if self.schema.feature(name).ordinal else "abc"[rng.integers(0, 3)]
                    for name in names
                ]
                bad = int(rng.random() < (0.8 if cells[0] == 0 else 0.1))  # something to learn
                rows.writerow([f"M{number:03}", *cells, *([bad] if label else [])])
        return [{"schema": schema_file, "csv": path}]

    def _record(self, merchant: str) -> ConsentRecord:
        now = utc_now()
        return ConsentRecord(
            suite=SUITE,
            schema_version="27560-1",
            record_id=secrets.token_hex(16),
            pii_principal_id=self.pseudonyms[merchant],
            privacy_notice=shown(("credit-scoring", "model-training")),
            purposes=("credit-scoring", "model-training"),
            pii_information=tuple(DataCategory(category=kind, data_class="C2") for kind in SOURCES),
            sources=SOURCES,
            recipients=("platform",),
            separate_consent=tuple(SeparateConsent(recipient="platform", category=kind) for kind in SOURCES),
            adverse_consequences_notice=True,
            fetch_type="PERIODIC",
            frequency=Frequency(count=5, per="day"),
            data_life=DataLife(unit="month", value=1),
            valid_from=now - timedelta(hours=1),
            valid_until=now + timedelta(days=60),
            jurisdiction="CN",
            legal_article="PIPL 13, 23, 29",
            withdrawal_method="app",
            collection_method="app",
            event_time=now,
        )


def _voprf_public(seed: bytes) -> bytes:
    return PseudonymKey.from_seed(seed).public


def _context(number: int) -> Context:
    return Context(run_id=1, node_id=number, node_config={}, state=RecordDict(), run_config={})
