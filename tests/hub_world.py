"""An initialised hub in a folder, with a witness that really verifies and signs, and parties as keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto.canonical import canonical_bytes
from crypto.checkpoint import parse_note, sign_note
from crypto.jws import generate_merchant_key, merchant_public, sign, sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.merkle import leaf_hash, root, verify_consistency
from crypto.pseudonym import PseudonymKey
from crypto.wire.audit import CheckpointCosignature, CheckpointOffer
from crypto.wire.base import SUITE
from crypto.wire.link import ProblemBody, RosterProposal
from crypto.wire.party import (
    EnrolmentRequest,
    MerchantKeyBatch,
    MerchantKeyLeaf,
    MerchantKeySubmission,
    Party,
    Roster,
)
from hub.embedded_worker import EmbeddedWorker
from hub.errors import PeerRefused, PeerUnreachable
from hub.services import Hub
from tests.databases import make_hub

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@dataclass
class Member:
    """A party with its secrets."""

    party_id: str
    kind: str
    identity: IdentityKey = field(default_factory=IdentityKey.generate)
    box: BoxKey = field(default_factory=BoxKey.generate)

    def party(self) -> Party:
        return Party(
            party_id=self.party_id,
            kind=self.kind,
            region="Lishui",
            title=f"Title of {self.party_id}",
            sign_key=self.identity.public,
            box_key=self.box.public,
        )


class WitnessLinks:
    """The one link to a witness in this process: approves by name, cosigns what extends what it cosigned before."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.reachable = True
        self.time = START
        self.approved: set[str] = {member.party_id}
        self.size = 0
        self.root = hashlib.sha256(b"").digest()
        self.notified: list[str] = []
        self.requests: list[str] = []

    def connected(self) -> frozenset[str]:
        return frozenset({self.member.party_id}) if self.reachable else frozenset()

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        self.notified.extend(party_ids)

    def request(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        self.requests.append(frame_type)
        if not self.reachable or party_id != self.member.party_id:
            raise PeerUnreachable(party_id)
        if frame_type == "cosign-checkpoint":
            return canonical_bytes(self._cosign(CheckpointOffer.model_validate_json(body)))
        proposal = RosterProposal.model_validate_json(body)
        roster = Roster.model_validate_json(proposal.roster)
        unknown = sorted({party.party_id for party in roster.parties} - self.approved)
        if unknown:
            raise PeerRefused(
                party_id,
                ProblemBody(code="party-not-approved", title="Not approved", detail="", field=",".join(unknown)),
            )
        return sign_model(roster, self.member.identity, typ="roster", kid=self.member.party_id).encode()

    def _cosign(self, offer: CheckpointOffer) -> CheckpointCosignature:
        checkpoint, _ = parse_note(offer.note)
        if offer.old_size != self.size:
            return CheckpointCosignature(known_size=self.size)
        verify_consistency(self.size, self.root, checkpoint.size, checkpoint.root, offer.proof)
        self.size, self.root = checkpoint.size, checkpoint.root
        line = sign_note(
            checkpoint.body(),
            self.member.party_id,
            self.member.identity,
            cosignature_time=int(self.time.timestamp()),
        )
        return CheckpointCosignature(line=line, known_size=self.size)


class HubWorld:
    """A hub below `base`; `now` is its clock."""

    port = 18440
    """Of its address; nothing listens there unless a test does."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.now = START
        self.hub: Hub = make_hub(base, hub_id="hub-lishui", port=self.port, clock=lambda: self.now)
        self.witness = Member("witness-zj", "witness")
        self.witness_voprf = PseudonymKey.from_seed(b"\x02" * 32)
        self.links = WitnessLinks(self.witness)
        self.hub.links = self.links
        # Nothing here orders campaigns that should run; a worker is a process of its own.
        self.hub.parts = [part for part in self.hub.parts if not isinstance(part, EmbeddedWorker)]

    def enrolment(self, member: Member, *, token: str | None = None, replace: bool = False) -> str:
        """The JWS that a member enrols with; issues the one-time token unless one is given."""
        issued = token or self.hub.enrolment.issue_token(
            member.kind, member.party_id, valid_for=timedelta(hours=1), replace=replace
        )
        request = EnrolmentRequest(
            suite=SUITE,
            token=issued,
            party=member.party(),
            voprf_key=self.witness_voprf.public if member.kind == "witness" else None,
            issued_at=self.now,
        )
        return sign_model(request, member.identity, typ="enrolment", kid=member.party_id)

    def join(self, *members: Member) -> None:
        """Enrol members, have the witness approve them, and cosign the roster."""
        for member in members:
            self.hub.enrolment.enrol(self.enrolment(member))
            self.links.approved.add(member.party_id)
        self.hub.roster.propose()

    def verifiers(self) -> dict[str, bytes]:
        return {
            self.hub.config.log_origin: self.hub.keys.identity.public,
            self.witness.party_id: self.witness.identity.public,
        }

    def export(self, name: str = "export.ndjson") -> Path:
        path = self.base / name
        path.write_bytes(b"".join(self.hub.log.reader.export()))
        return path

    def settle(self) -> None:
        """Put all that waits in order and have it cosigned, without threads."""
        while self.hub.log.sequence():
            self.hub.log._cosigner.offer()


def merchant_leaves(count: int, *, start: int = 0, alg: str = "Ed25519") -> list[MerchantKeyLeaf]:
    """Leaves with real keys and pseudonyms that are hashes of their numbers."""
    return [
        MerchantKeyLeaf(
            pseudonym=hashlib.sha256(str(start + index).encode()).digest(),
            jwk=merchant_public(generate_merchant_key("ES256" if alg == "ES256" else "Ed25519")),
        )
        for index in range(count)
    ]


def merchant_batch(
    leaves: list[MerchantKeyLeaf],
    platform: Member,
    bank: Member,
    *,
    batch_id: str = "0" * 32,
    changed: dict[str, object] | None = None,
) -> MerchantKeySubmission:
    """A batch signed by both; `changed` replaces fields of the signed body."""
    fields: dict[str, object] = {
        "suite": SUITE,
        "batch_id": batch_id,
        "platform": platform.party_id,
        "countersigner": bank.party_id,
        "size": len(leaves),
        "root": root([leaf_hash(canonical_bytes(leaf)) for leaf in leaves]),
        "issued_at": START,
    }
    payload = canonical_bytes(MerchantKeyBatch.model_validate(fields | (changed or {})))
    return MerchantKeySubmission(
        batch=sign(payload, platform.identity, typ="merchant-keys", kid=platform.party_id),
        countersignature=sign(payload, bank.identity, typ="merchant-keys-countersignature", kid=bank.party_id),
        leaves=tuple(leaves),
    )


def lines_of(path: Path) -> list[dict[str, object]]:
    """An export's lines as JSON."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_lines(path: Path, lines: Iterable[dict[str, object]]) -> Path:
    """Write lines the way the export does."""
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path
