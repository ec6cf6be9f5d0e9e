"""Merchants of a hub in a test: their keys are enrolled, their consents and events signed."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, sign_merchant, sign_model
from crypto.pseudonym import PseudonymKey
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRelease, ModelRollback, ModelWithdrawal
from crypto.wire.consent import (
    ConsentEvent,
    ConsentRecord,
    DataCategory,
    DataLife,
    Frequency,
    SeparateConsent,
)
from crypto.wire.link import ReleaseProposal, RollbackProposal, WithdrawalProposal
from crypto.wire.party import MerchantKeyLeaf, VoprfAnswer, VoprfRequest
from hub.demo.notices import shown, submissions
from hub.errors import PeerUnreachable
from models.artefact import ModelArtefact, PrivacyEntry, ScorecardEntry, fit_entry
from models.fit_options import FitOptions
from models.schema_file import load_schema
from models.scorecard_fit import train
from models.tables import feature_bins, from_codes
from tests.assessments import assess
from tests.hub_world import HubWorld, Member, WitnessLinks, merchant_batch

CONFIG = Path(__file__).parents[1] / "configs" / "give-me-some-credit.yaml"
Handler = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Merchant:
    """A merchant with its private key."""

    pseudonym: bytes
    jwk: dict[str, str]

    @property
    def kid(self) -> str:
        return self.pseudonym.hex()

    def leaf(self) -> MerchantKeyLeaf:
        return MerchantKeyLeaf(pseudonym=self.pseudonym, jwk=merchant_public(self.jwk))

    def sign(self, payload: bytes, typ: str) -> str:
        return sign_merchant(payload, self.jwk, typ=typ, kid=self.kid)


def make_merchant(name: str, alg: str = "Ed25519") -> Merchant:
    """A merchant whose pseudonym is the hash of its name; its key is fresh."""
    key = generate_merchant_key("ES256" if alg == "ES256" else "Ed25519")
    return Merchant(hashlib.sha256(name.encode()).digest(), key)


class PeerLinks(WitnessLinks):
    """Links to the witness and to parties that a test scripts: (party, frame type) → handler."""

    def __init__(self, member: Member) -> None:
        super().__init__(member)
        self.handlers: dict[tuple[str, str], Handler | Callable[[bytes], Awaitable[bytes]]] = {}

    def request(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        handler = self.handlers.get((party_id, frame_type))
        if handler is None:
            if frame_type not in ("cosign-checkpoint", "cosign-roster"):
                raise PeerUnreachable(party_id)
            return super().request(party_id, frame_type, body, timeout)
        self.requests.append(frame_type)
        answer = handler(body)
        assert isinstance(answer, bytes)
        return answer

    async def request_async(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        handler = self.handlers.get((party_id, frame_type))
        if handler is None:
            raise PeerUnreachable(party_id)
        self.requests.append(frame_type)
        answer = handler(body)
        return answer if isinstance(answer, bytes) else await answer


class MarketWorld(HubWorld):
    """A hub with a platform, two banks, a tax and a utility node on the cosigned roster, and merchants' keys."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.peers = PeerLinks(self.witness)
        self.rollbacks = 0
        self.links = self.peers
        self.hub.links = self.peers
        kinds = {"platform": "client", "bank-01": "bank", "bank-02": "bank", "tax-01": "tax", "utility-01": "utility"}
        self.members = {name: Member(name, kind) for name, kind in kinds.items()}
        self.join(self.witness, *self.members.values())
        for notice in submissions():
            self.hub.notices.register(notice)
        for campaign in ("c-1", "c-2"):
            assess(self.hub, campaign)

    def enrol_keys(self, *merchants: Merchant) -> None:
        batch = merchant_batch(
            [merchant.leaf() for merchant in merchants],
            self.members["platform"],
            self.members["bank-01"],
            batch_id=secrets.token_hex(16),
        )
        self.hub.merchant_keys.store(batch)

    def merchant(self, name: str, alg: str = "Ed25519") -> Merchant:
        """A merchant whose key is enrolled."""
        merchant = make_merchant(name, alg)
        self.enrol_keys(merchant)
        return merchant

    def record(self, merchant: Merchant, **changes: object) -> ConsentRecord:
        """A consent's content; `changes` replaces fields."""
        recipients = ("bank-01", "platform")
        fields: dict[str, object] = {
            "suite": SUITE,
            "schema_version": "27560-1",
            "record_id": secrets.token_hex(16),
            "pii_principal_id": merchant.pseudonym,
            "privacy_notice": shown(("credit-scoring", "model-training")),
            "purposes": ("credit-scoring", "model-training"),
            "pii_information": tuple(
                DataCategory(category=name, data_class="C2") for name in ("bank", "tax", "utility")
            ),
            "sources": {"bank": "bank-01", "tax": "tax-01", "utility": "utility-01"},
            "recipients": recipients,
            "separate_consent": tuple(SeparateConsent(recipient=name, category="tax") for name in recipients),
            "adverse_consequences_notice": True,
            "fetch_type": "PERIODIC",
            "frequency": Frequency(count=10, per="month"),
            "data_life": DataLife(unit="month", value=6),
            "valid_from": self.now - timedelta(minutes=1),
            "valid_until": self.now + timedelta(days=365),
            "jurisdiction": "CN",
            "legal_article": "PIPL 13, 23, 29",
            "withdrawal_method": "app",
            "collection_method": "app",
            "event_time": self.now,
        }
        return ConsentRecord.model_validate(fields | changes)

    def consent(self, merchant: Merchant, **changes: object) -> tuple[str, str]:
        """A signed consent: its id and token."""
        record = self.record(merchant, **changes)
        return record.record_id, merchant.sign(canonical_bytes(record), "consent")

    def event(self, merchant: Merchant, record_id: str, event: str, **changes: object) -> str:
        """A signed event."""
        fields: dict[str, object] = {
            "suite": SUITE,
            "record_id": record_id,
            "pii_principal_id": merchant.pseudonym,
            "event": event,
            "event_time": self.now,
            "event_id": secrets.token_hex(16),
        }
        return merchant.sign(canonical_bytes(ConsentEvent.model_validate(fields | changes)), "consent-event")

    def let_witness_release(self) -> None:
        """Have the witness sign every release, withdrawal and rollback that is proposed."""
        self.peers.handlers["witness-zj", "release-model"] = self.sign_release
        self.peers.handlers["witness-zj", "withdraw-model"] = self.sign_withdrawal
        self.peers.handlers["witness-zj", "rollback-model"] = self.sign_rollback

    def sign_release(self, body: bytes, **changes: object) -> bytes:
        proposal = ReleaseProposal.model_validate_json(body)
        model = ModelArtefact.from_bytes(proposal.artefact.encode())
        assessment = proposal.assessment
        fields: dict[str, object] = {
            "suite": SUITE,
            "model_id": model.model_id,
            "campaign_id": model.campaign,
            "scope": proposal.scope,
            "table_sha256": bytes.fromhex(model.table_digest or ""),
            "assessment_sha256": None if assessment is None else bytes.fromhex(assessment.sha256),
            "issued_at": self.now,
        }
        release = ModelRelease.model_validate(fields | changes)
        return sign_model(release, self.witness.identity, typ="model-release", kid="witness-zj").encode()

    def sign_withdrawal(self, body: bytes) -> bytes:
        proposal = WithdrawalProposal.model_validate_json(body)
        withdrawal = ModelWithdrawal(
            suite=SUITE, model_id=proposal.model_id, reason=proposal.reason, issued_at=self.now
        )
        return sign_model(withdrawal, self.witness.identity, typ="model-withdrawal", kid="witness-zj").encode()

    def sign_rollback(self, body: bytes, **changes: object) -> bytes:
        proposal = RollbackProposal.model_validate_json(body)
        self.rollbacks += 1
        fields: dict[str, object] = {"suite": SUITE, "serial": self.rollbacks, "issued_at": self.now}
        rollback = ModelRollback.model_validate(fields | proposal.model_dump() | changes)
        return sign_model(rollback, self.witness.identity, typ="model-rollback", kid="witness-zj").encode()

    def released_model(self, seed: int = 1) -> str:
        """A model that the witness has released."""
        self.let_witness_release()
        model_id = self.hub.models.register(small_artefact(seed).to_bytes(), campaign_id="c-1", attempt=None)
        self.hub.models.release(model_id, "release")
        return model_id


def small_artefact(seed: int = 1, campaign: str = "c-1") -> ModelArtefact:
    """A scorecard on synthetic rows of the shipped schema, without noise."""
    schema = load_schema(CONFIG)
    features = feature_bins(schema)
    rng = np.random.default_rng(seed)
    codes = {
        kind: np.stack([rng.integers(0, f.width, 2_000) for f in features if f.kind == kind], axis=1).astype(np.uint8)
        for kind in schema.kinds_in_order()
    }
    risk = -1.5 + 0.25 * (codes["bank"][:, 1] - 5.0)
    outcomes = np.where(rng.random(2_000) < 1 / (1 + np.exp(-risk)), 0, 1).astype(np.uint8)
    table = from_codes(features, codes, outcomes)
    options = FitOptions()
    privacy = {"noise": "off", "epsilon": None, "delta": None, "epsilon_replace_one": None, "mu": None}
    document = schema.canonical_json().decode()
    return ModelArtefact(
        model_type="scorecard",
        campaign=campaign,
        created="2026-01-31T08:00:00Z",
        campaign_schema=document,
        schema_sha256=hashlib.sha256(document.encode()).hexdigest(),
        cohort_size=table.cohort_size,
        privacy=PrivacyEntry(**privacy, t_collude=1, stages=("scorecard",), mechanisms=()),
        scorecard=ScorecardEntry.of(train(table, options)),
        table_digest=table.digest(),
        fit_options=fit_entry(options),
    )


def voprf_witness(key: PseudonymKey) -> Handler:
    """A witness that evaluates whatever it is sent."""

    def evaluate(body: bytes) -> bytes:
        request = VoprfRequest.model_validate_json(payload_of(body.decode()))
        answer = VoprfAnswer(evaluated=key.evaluate(list(request.blinded)), remaining=7)
        return answer.model_dump_json().encode()

    return evaluate


def payload_of(token: str) -> bytes:
    """A token's payload, unverified."""
    segment = token.split(".")[1]
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def json_of(leaf: str) -> dict[str, object]:
    """A log leaf as JSON."""
    value = json.loads(leaf)
    assert isinstance(value, dict)
    return value
