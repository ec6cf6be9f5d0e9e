"""Parties with real stores and keys around a hub that relays in this process, honestly or as a test tells it to."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, sign_merchant, sign_model
from crypto.keys import IdentityKey
from crypto.merkle import inclusion_proof, leaf_hash
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRelease, ModelRollback, ModelWithdrawal
from crypto.wire.consent import (
    ConsentEvent,
    ConsentItem,
    ConsentRecord,
    DataCategory,
    DataLife,
    FeedHead,
    FeedItem,
    FeedPage,
    Frequency,
    SeparateConsent,
)
from crypto.wire.link import RosterProposal
from crypto.wire.notice import NoticeStatement, NoticeSubmission
from crypto.wire.party import (
    MerchantKeyLeaf,
    MerchantKeyStatement,
    MerchantKeySubmission,
    Party,
    Roster,
)
from crypto.wire.scoring import QueryForward, ScoreItem, ScoreRequest, SourceAnswer
from hub.demo.notices import shown, submissions
from models.artefact import ModelArtefact, PrivacyEntry, ScorecardEntry
from models.schema import Schema
from models.schema_file import load_schema
from models.scorecard import Calibration, FeaturePoints, Scorecard
from models.tables import feature_bins
from nodes.config import NodeConfig, TrustConfig
from nodes.errors import PolicyRefusal
from nodes.fingerprint import party_fingerprint
from nodes.hub_client import HubClient
from nodes.keys import create_keys, load_keys
from nodes.merchant_keys import countersign, draft_batch
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip
from nodes.tables.roster import PseudonymRow
from nodes.witness.service import WitnessService
from tests.relay_hub import Relay, payload_of
from tests.scoring_data import MERCHANTS, PARTIES, POINTS, ROWS, SCHEMA, SOURCES

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@dataclass
class Merchant:
    """A merchant with its own key."""

    id: str
    pseudonym: bytes
    jwk: dict[str, str] = field(default_factory=generate_merchant_key)
    statement: MerchantKeyStatement | None = None

    @property
    def leaf(self) -> MerchantKeyLeaf:
        return MerchantKeyLeaf(pseudonym=self.pseudonym, jwk=merchant_public(self.jwk))

    def sign(self, model: ConsentRecord | ConsentEvent, typ: str) -> str:
        return sign_merchant(canonical_bytes(model), self.jwk, typ=typ, kid=self.pseudonym.hex())


class ScoringWorld:
    """All parties below `base`. `now` is everybody's clock; there is no time floor."""

    def __init__(
        self,
        base: Path,
        *,
        parties: Iterable[str] = PARTIES,
        retry_seconds: float = 0.0,
        schema: str = SCHEMA,
        **config: object,
    ) -> None:
        self.base = base
        self.retry_seconds = retry_seconds
        self.now = NOW
        self.hub_key = IdentityKey.generate()
        self.hub_voprf = PseudonymKey.from_seed(b"\x07" * 32)
        self.relay = Relay(self)
        self.schema_file = base / "schema.yaml"
        self.schema_file.write_text(schema, encoding="utf-8")
        self.schema: Schema = load_schema(self.schema_file)
        self.nodes: dict[str, Services] = {}
        self._feeds: dict[str, int] = {}
        keys = {name: create_keys(base / name / "keys", kind=PARTIES[name]) for name in parties}
        witness_key = keys["witness"].identity.public
        self.trust = TrustConfig(
            hub_id="hub", hub_sign_key=self.hub_key.public, witness_id="witness", witness_sign_key=witness_key
        )
        self.parties = {
            name: Party(
                party_id=name,
                kind=PARTIES[name],
                region="Lishui",
                sign_key=each.identity.public,
                box_key=each.box.public,
            )
            for name, each in keys.items()
        }
        for name in sorted(keys):
            self.nodes[name] = self._open(name, config)
        for name, party in self.parties.items():
            fingerprint = party_fingerprint(name, party.kind, party.sign_key, party.box_key)
            self.witness.approvals.approve(name, fingerprint)
        self.publish_roster()
        self.notices = 0
        for notice in submissions():
            self.notice(notice)
        self.heartbeat()
        self._newcomers = 0
        for name, node in self.nodes.items():
            if name == "platform":
                node.runtime.pseudonyms.ensure([*MERCHANTS, "C001"])
            elif node.scorer is not None:
                node.runtime.datasets.pseudonymise()
        map_ = self.nodes["platform"].runtime.pseudonyms
        self.merchants = {name: Merchant(name, map_.pseudonym_of(name)) for name in (*MERCHANTS, "C001")}
        bank = self.nodes["bank-01"].runtime
        bank.pseudonyms.ensure(list(MERCHANTS))  # M004 is a customer without a row
        self.enrol_keys(self.merchants.values())

    def clock(self) -> datetime:
        return self.now

    def close(self) -> None:
        for node in self.nodes.values():
            node.runtime.close()

    @property
    def witness(self) -> WitnessService:
        service = self.nodes["witness"].witness
        assert service is not None
        return service

    def config_path(self, name: str) -> Path:
        return self.base / name / "node.yaml"

    def _open(self, name: str, changes: dict[str, object]) -> Services:
        kind = PARTIES[name]
        values: dict[str, object] = {
            "party_id": name,
            "kind": kind,
            "region": "Lishui",
            "hub": {"url": "http://127.0.0.1:1"},
            "trust": self.trust.model_dump(),
            "data_dir": self.base / name / "data",
            "keys_dir": self.base / name / "keys",
            "answer_time_floor_ms": 0,
            **(changes if kind in ROWS else {}),
        }
        if kind in ROWS:
            table = self.base / name / "rows.csv"
            table.write_text(ROWS[kind], encoding="utf-8")
            values["datasets"] = [{"schema": self.schema_file, "csv": table}]
        config = NodeConfig.model_validate(values)
        keys_dir = self.base / name / "keys"
        client = HubClient(
            config.hub,
            party_id=name,
            identity=load_keys(keys_dir, kind=kind).identity,
            clock=self.clock,
            patience_seconds=0.1,
            transport=httpx.MockTransport(self.relay.handle),
        )
        return equip(NodeRuntime.open(config, clock=self.clock, hub=client), retry_seconds=self.retry_seconds)

    def reopen(self, name: str) -> Services:
        """The same party after a restart."""
        config = self.nodes[name].runtime.config
        self.nodes[name].runtime.store.close()
        runtime = NodeRuntime.open(config, clock=self.clock, hub=self.nodes[name].runtime.hub)
        self.nodes[name] = equip(runtime, retry_seconds=self.retry_seconds)
        return self.nodes[name]

    # rosters and feeds

    def roster(self, version: int, without: Iterable[str] = ()) -> Roster:
        service = self.nodes["witness"].runtime
        seed = service.keys.voprf_seed
        assert seed is not None
        return Roster(
            suite=SUITE,
            version=version,
            issued_at=self.now,
            hub_id="hub",
            hub_sign_key=self.hub_key.public,
            hub_voprf_key=self.hub_voprf.public,
            witness_voprf_key=PseudonymKey.from_seed(seed).public,
            parties=tuple(self.parties[name] for name in sorted(self.parties) if name not in without),
        )

    def publish_roster(self, without: Iterable[str] = ()) -> None:
        version = self.nodes["witness"].runtime.roster.version + 1
        proposal = RosterProposal(roster=canonical_bytes(self.roster(version, without)).decode())
        token = self.witness.handlers["cosign-roster"](canonical_bytes(proposal)).decode()
        for name in self.nodes:
            self.feed(name, FeedItem(seq=1, kind="roster", token=token))

    def feed(self, name: str, *items: FeedItem, time: datetime | None = None) -> None:
        """A page of these items, numbered as they come."""
        last = self._feeds.get(name, 0)
        numbered = tuple(item.model_copy(update={"seq": last + n}) for n, item in enumerate(items, 1))
        self._feeds[name] = last + len(items)
        head = FeedHead(suite=SUITE, party_id=name, seq=self._feeds[name], time=time or self.now)
        page = FeedPage(items=numbered, head=sign_model(head, self.hub_key, typ="feed-head", kid="hub"))
        self.nodes[name].runtime.apply_feed(page)

    def heartbeat(self) -> None:
        for name in self.nodes:
            self.feed(name)

    def pass_time(self, **span: float) -> None:
        """Time passes, and feeds stay fresh."""
        self.now += timedelta(**span)
        self.heartbeat()

    # notices

    def notice_item(self, notice: NoticeSubmission, *, serial: int, key: IdentityKey | None = None) -> FeedItem:
        """The hub's statement about a notice, as it stands in a feed."""
        texts = {"zh": notice.zh, "en": notice.en}
        statement = NoticeStatement.model_validate(
            notice.model_dump(exclude={"zh", "en"})
            | {
                "suite": SUITE,
                "serial": serial,
                "texts": {language: hashlib.sha256(text.encode()).hexdigest() for language, text in texts.items()},
                "issued_at": self.now,
            }
        )
        return FeedItem(seq=1, kind="notice", token=sign_model(statement, key or self.hub_key, typ="notice", kid="hub"))

    def notice(self, notice: NoticeSubmission, *, to: Iterable[str] | None = None) -> None:
        """Register a notice with everybody, or only with some."""
        self.notices += 1
        item = self.notice_item(notice, serial=self.notices)
        for name in to if to is not None else self.nodes:
            self.feed(name, item)

    # merchants

    def enrol_keys(self, merchants: Iterable[Merchant], *, countersigner: str = "bank-01") -> MerchantKeySubmission:
        chosen = list(merchants)
        platform, bank = self.nodes["platform"].runtime, self.nodes[countersigner].runtime
        draft = draft_batch(
            [merchant.leaf for merchant in chosen],
            identity=platform.identity,
            platform="platform",
            countersigner=self.parties[countersigner],
            batch_id=secrets.token_hex(16),
            now=self.now,
        )
        submission = countersign(
            draft,
            identity=bank.identity,
            party=self.parties[countersigner],
            roster=bank.roster,
            store=bank.store,
        )
        hashes = [leaf_hash(canonical_bytes(leaf)) for leaf in submission.leaves]
        for index, merchant in enumerate(chosen):
            merchant.statement = MerchantKeyStatement(
                batch=submission.batch,
                countersignature=submission.countersignature,
                leaf=merchant.leaf,
                index=index,
                proof=tuple(inclusion_proof(index, hashes)),
            )
        return submission

    def newcomer(self) -> str:
        """One more customer of bank-01, with an enrolled key and without a row anywhere."""
        self._newcomers += 1
        merchant = Merchant(f"N{self._newcomers:03}", secrets.token_bytes(32))
        self.merchants[merchant.id] = merchant
        self.know("bank-01", merchant.id)
        self.enrol_keys([merchant])
        return merchant.id

    def know(self, party: str, merchant: str) -> None:
        """Let a party have a newcomer's pseudonym, which is made up: nobody evaluates it."""
        with self.nodes[party].runtime.store.session() as session:
            pseudonym = self.merchants[merchant].pseudonym
            session.add(PseudonymRow(id_type="opaque", identifier=merchant, pseudonym=pseudonym))

    def record(self, merchant: str = "M001", **changes: object) -> ConsentRecord:
        recipients = changes.get("recipients", ("lender",))
        assert isinstance(recipients, tuple)
        categories = ("bank", "tax", "utility", "reasons")
        values: dict[str, object] = {
            "suite": SUITE,
            "schema_version": "27560-1",
            "record_id": secrets.token_hex(16),
            "pii_principal_id": self.merchants[merchant].pseudonym,
            "privacy_notice": shown(("credit-scoring", "model-training")),
            "purposes": ("credit-scoring", "model-training"),
            "pii_information": tuple(DataCategory(category=each, data_class="C2") for each in categories),
            "sources": SOURCES,
            "recipients": recipients,
            "separate_consent": tuple(
                SeparateConsent(recipient=recipient, category=each) for recipient in recipients for each in categories
            ),
            "adverse_consequences_notice": True,
            "fetch_type": "PERIODIC",
            "frequency": Frequency(count=5, per="day"),
            "data_life": DataLife(unit="month", value=1),
            "valid_from": self.now - timedelta(hours=1),
            "valid_until": self.now + timedelta(days=60),
            "jurisdiction": "CN",
            "legal_article": "PIPL 13, 23, 29",
            "withdrawal_method": "app",
            "collection_method": "app",
            "event_time": self.now,
        }
        return ConsentRecord.model_validate({**values, **changes})

    def consent_item(self, record: ConsentRecord, *, merchant: str = "M001", token: str | None = None) -> FeedItem:
        who = self.merchants[merchant]
        assert who.statement is not None
        signed = token or who.sign(record, "consent")
        return FeedItem(seq=1, kind="consent", consent=ConsentItem(consent=signed, merchant_key=who.statement))

    def give(self, merchant: str = "M001", **changes: object) -> ConsentRecord:
        """A consent that all whom it names receive."""
        record = self.record(merchant, **changes)
        item = self.consent_item(record, merchant=merchant)
        for name in {*record.sources.values(), *record.recipients}:
            self.feed(name, item)
        return record

    def event_item(self, record: ConsentRecord, event: str, *, merchant: str = "M001", **changes: object) -> FeedItem:
        values: dict[str, object] = {
            "suite": SUITE,
            "record_id": record.record_id,
            "pii_principal_id": record.pii_principal_id,
            "event": event,
            "event_time": self.now,
            "event_id": secrets.token_hex(16),
        }
        change = ConsentEvent.model_validate({**values, **changes})
        return FeedItem(seq=1, kind="consent-event", token=self.merchants[merchant].sign(change, "consent-event"))

    def change(self, record: ConsentRecord, event: str, *, merchant: str = "M001") -> None:
        """An event that all whom the consent names receive."""
        item = self.event_item(record, event, merchant=merchant)
        for name in {*record.sources.values(), *record.recipients}:
            self.feed(name, item)

    # models

    def artefact(self, number: int = 0, **changes: object) -> ModelArtefact:
        features = tuple(FeaturePoints(bins, POINTS[bins.name]) for bins in feature_bins(self.schema))
        card = Scorecard(
            features=features,
            absent={"bank": 0, "tax": -3, "utility": 7},
            base=600 + number,
            calibration=Calibration(intercept=7.0, slope=-0.017),
            points_to_double=40.0,
        )
        values: dict[str, object] = {
            "model_type": "scorecard",
            "campaign": "c1",
            "created": self.now,
            "campaign_schema": self.schema.canonical_json().decode(),
            "schema_sha256": self.schema.hash(),
            "cohort_size": 100,
            "privacy": PrivacyEntry(
                noise="off",
                epsilon=None,
                delta=None,
                epsilon_replace_one=None,
                t_collude=1,
                mu=None,
                stages=("scorecard",),
                mechanisms=(),
            ),
            "scorecard": ScorecardEntry.of(card),
            "table_digest": "0" * 64,
        }
        return ModelArtefact.model_validate({**values, **changes})

    def release(
        self,
        artefact: ModelArtefact | None = None,
        *,
        scope: str = "release",
        key: IdentityKey | None = None,
        served: bytes | None = None,
        to: Iterable[str] | None = None,
    ) -> str:
        """The witness's release of a model that everybody receives; returns the model's id."""
        model = artefact or self.artefact()
        self.relay.models[model.model_id] = model.to_bytes() if served is None else served
        release = ModelRelease.model_validate(
            {
                "suite": SUITE,
                "model_id": model.model_id,
                "campaign_id": "c1",
                "scope": scope,
                "table_sha256": bytes(32),
                "issued_at": self.now,
            }
        )
        signer = key or self.nodes["witness"].runtime.identity
        token = sign_model(release, signer, typ="model-release", kid="witness")
        for name in to or self.nodes:
            self.feed(name, FeedItem(seq=1, kind="model-release", token=token, model_id=model.model_id))
        return model.model_id

    def withdraw(self, model_id: str) -> None:
        withdrawal = ModelWithdrawal(suite=SUITE, model_id=model_id, reason="test", issued_at=self.now)
        token = sign_model(withdrawal, self.nodes["witness"].runtime.identity, typ="model-withdrawal", kid="witness")
        for name in self.nodes:
            self.feed(name, FeedItem(seq=1, kind="model-withdrawal", token=token, model_id=model_id))

    def rollback_item(
        self, model_id: str, *over: str, serial: int, key: IdentityKey | None = None, **changes: object
    ) -> FeedItem:
        """The witness's rollback, as it stands in a feed."""
        fields: dict[str, object] = {
            "suite": SUITE,
            "serial": serial,
            "line": "c1",
            "model_id": model_id,
            "over": over,
            "reason": "drift",
            "issued_at": self.now,
        }
        rollback = ModelRollback.model_validate(fields | changes)
        signer = key or self.nodes["witness"].runtime.identity
        token = sign_model(rollback, signer, typ="model-rollback", kid="witness")
        return FeedItem(seq=1, kind="model-rollback", token=token, model_id=model_id)

    def roll_back(self, item: FeedItem) -> None:
        """Put a rollback into everybody's feed."""
        for name in self.nodes:
            self.feed(name, item)

    # requests by hand

    def request(self, record: ConsentRecord, model_id: str, *, requester: str = "lender", **changes: object) -> str:
        item = ScoreItem(pseudonym=record.pii_principal_id, consent_id=record.record_id, sources=dict(record.sources))
        values: dict[str, object] = {
            "suite": SUITE,
            "requester": requester,
            "purpose": "credit-scoring",
            "model_id": model_id,
            "nonce": secrets.token_bytes(16),
            "issued_at": self.now,
            "expires_at": self.now + timedelta(minutes=5),
            "items": (item,),
        }
        request = ScoreRequest.model_validate({**values, **changes})
        return sign_model(request, self.nodes[requester].runtime.identity, typ="score-request", kid=requester)

    def answer(self, source: str, token: str) -> bytes:
        """What a source says to a request, exactly."""
        scorer = self.nodes[source].scorer
        assert scorer is not None
        return scorer.answer(canonical_bytes(QueryForward(request=token)))

    def codes(self, source: str, token: str) -> list[str]:
        """Codes of a source's decisions, in order of items."""
        try:
            answer = answer_of(self.answer(source, token))
        except PolicyRefusal as refusal:
            return [refusal.reason]
        found = dict.fromkeys(answer.answered, "answered") | {each.item: each.code for each in answer.refusals}
        return [found[item] for item in sorted(found)]


def answer_of(token: bytes) -> SourceAnswer:
    return SourceAnswer.model_validate_json(payload_of(token))
