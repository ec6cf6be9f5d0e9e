"""The witness's duties: approvals, rosters, checkpoints, pseudonyms, releases."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, parse_note, sign_note, verify_note
from crypto.errors import AttemptError, CryptoError, ProofError, SignatureError
from crypto.jws import sign_model, verify_model
from crypto.keys import BoxKey, IdentityKey
from crypto.merkle import consistency_proof, leaf_hash
from crypto.merkle import root as tree_root
from crypto.pseudonym import BlindedBatch
from crypto.wire.audit import CheckpointCosignature, CheckpointOffer
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRelease
from crypto.wire.link import ReleaseProposal, RosterProposal, WithdrawalProposal
from crypto.wire.party import Roster, VoprfAnswer, VoprfRequest
from hub.scorecard_model import make_scorecard
from models.artefact import ModelArtefact
from models.errors import ArtefactError
from nodes.errors import ConfigError, PeerError, PolicyRefusal
from nodes.fingerprint import party_fingerprint
from nodes.journal import Journal
from nodes.store import Store
from nodes.witness.approvals import Approvals
from nodes.witness.budget import programme
from nodes.witness.release import ReleaseDesk
from tests.assessments import assessed
from tests.federation import World, make_world, run_scorecard
from tests.scoring_world import NOW, ScoringWorld

LOG = "hub.example/log"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path)
    yield world
    world.close()


# approvals and rosters


def propose(world: ScoringWorld, roster: Roster) -> Roster:
    proposal = canonical_bytes(RosterProposal(roster=canonical_bytes(roster).decode()))
    token = world.witness.handlers["cosign-roster"](proposal).decode()
    return verify_model(token, world.trust.witness_sign_key, Roster, typ="roster", kid="witness")


def refusal(world: ScoringWorld, roster: Roster) -> PolicyRefusal:
    with pytest.raises(PolicyRefusal) as caught:
        propose(world, roster)
    return caught.value


def test_a_fingerprint_binds_name_kind_and_both_keys() -> None:
    keys = (bytes(32), b"\x01" * 32)
    first = party_fingerprint("bank-01", "bank", *keys)
    assert first == party_fingerprint("bank-01", "bank", *keys)
    others = {
        party_fingerprint("bank-02", "bank", *keys),
        party_fingerprint("bank-01", "client", *keys),
        party_fingerprint("bank-01", "bank", keys[1], keys[1]),
        party_fingerprint("bank-01", "bank", keys[0], keys[0]),
    }
    assert len(others | {first}) == 5


def test_only_approved_keys_get_into_a_roster(lone: ScoringWorld) -> None:
    party = lone.parties["tax-01"]
    for change in (
        {"box_key": BoxKey.generate().public},
        {"sign_key": IdentityKey.generate().public},
        {"kind": "utility"},
    ):
        lone.parties["tax-01"] = party.model_copy(update=change)
        refused = refusal(lone, lone.roster(2))
        assert (refused.reason, refused.field) == ("party-not-approved", "tax-01")
    listed = {each.party_id: each for each in lone.witness.approvals.list()}
    assert listed["tax-01"].proposed == lone.parties["tax-01"]
    assert listed["tax-01"].fingerprint != listed["tax-01"].proposed_fingerprint
    lone.parties["tax-01"] = party
    assert propose(lone, lone.roster(2)).version == 2
    assert {each.party_id: each.proposed for each in lone.witness.approvals.list()}["tax-01"] is None


def test_an_owner_approves_what_the_hub_proposes_or_nothing(tmp_path: Path, world: ScoringWorld) -> None:
    approvals = Approvals(Store.open(tmp_path / "node.db"), clock=lambda: NOW)
    party = world.parties["bank-01"]
    assert approvals.unapproved([party]) == ["bank-01"]
    right = party_fingerprint(party.party_id, party.kind, party.sign_key, party.box_key)
    with pytest.raises(ConfigError, match="proposes bank-01") as caught:
        approvals.approve("bank-01", party_fingerprint("bank-01", "client", party.sign_key, party.box_key))
    assert right in caught.value.message
    with pytest.raises(ConfigError, match="not a fingerprint"):
        approvals.approve("bank-01", "SHA256:short")
    approvals.approve("bank-01", f" {right} ")
    assert approvals.unapproved([party]) == []
    assert approvals.withdraw("bank-01")
    assert not approvals.withdraw("bank-01")
    assert approvals.unapproved([party]) == ["bank-01"]


def test_versions_never_go_back_and_are_signed_once(lone: ScoringWorld) -> None:
    second = lone.roster(2)
    assert propose(lone, second) == second
    assert propose(lone, second) == second
    assert refusal(lone, lone.roster(2, without=["lender"])).reason == "roster-went-back"
    assert refusal(lone, lone.roster(1)).reason == "roster-went-back"
    assert propose(lone, lone.roster(5, without=["lender"])).version == 5


def test_rosters_with_foreign_keys_are_refused(world: ScoringWorld) -> None:
    roster = world.roster(world.nodes["witness"].runtime.roster.version + 1)
    witness = world.parties["witness"]
    second = witness.model_copy(update={"party_id": "witness-b"})
    cases: list[tuple[dict[str, object], str]] = [
        ({"hub_sign_key": bytes(32)}, "hub-key-mismatch"),
        ({"hub_id": "other"}, "hub-key-mismatch"),
        ({"witness_voprf_key": bytes(32)}, "witness-key-mismatch"),
        ({"hub_voprf_key": bytes(32)}, "voprf-key-changed"),
        ({"parties": tuple(party for party in roster.parties if party != witness)}, "witness-key-mismatch"),
        ({"parties": (*roster.parties, second)}, "roster-invalid"),
        ({"parties": roster.parties[::-1]}, "roster-invalid"),
        (
            {
                "parties": tuple(
                    each.model_copy(update={"box_key": bytes(32)}) if each == witness else each
                    for each in roster.parties
                )
            },
            "witness-key-mismatch",
        ),
    ]
    for changes, code in cases:
        assert refusal(world, roster.model_copy(update=changes)).reason == code
    with pytest.raises(SignatureError):
        world.witness.handlers["cosign-roster"](b"{}")


# checkpoints


class LogOffers:
    """A hub's log of numbered leaves, and offers of it."""

    def __init__(self, world: ScoringWorld, name: str = LOG) -> None:
        self.world, self.name = world, name

    def hashes(self, size: int, *, fork: bool = False) -> list[bytes]:
        return [leaf_hash(f"{number}{'x' if fork and number else ''}".encode()) for number in range(size)]

    def offer(
        self, old: int, size: int, *, fork: bool = False, key: IdentityKey | None = None
    ) -> CheckpointCosignature:
        hashes = self.hashes(size, fork=fork)
        body = Checkpoint(self.name, size, tree_root(hashes)).body()
        note = assemble(body, [sign_note(body, self.name, key or self.world.hub_key)])
        proof = tuple(consistency_proof(old, hashes)) if old <= size else ()
        offer = CheckpointOffer(old_size=old, proof=proof, note=note)
        answer = self.world.witness.handlers["cosign-checkpoint"](canonical_bytes(offer))
        found = CheckpointCosignature.model_validate_json(answer)
        if found.line is not None:
            own = sign_note(body, self.name, self.world.hub_key)
            verifiers = {self.name: self.world.hub_key.public, "witness": self.world.trust.witness_sign_key}
            cosigned = assemble(body, [own, found.line])
            assert verify_note(cosigned, verifiers, required=set(verifiers)) == parse_note(note)[0]
        return found


def test_checkpoints_that_extend_are_cosigned(lone: ScoringWorld) -> None:
    log = LogOffers(lone)
    for old, size in ((0, 3), (3, 3), (3, 10)):
        assert log.offer(old, size).line is not None
    assert log.offer(3, 12) == CheckpointCosignature(known_size=10)
    assert log.offer(10, 4) == CheckpointCosignature(known_size=10)
    lone.reopen("witness")
    assert log.offer(10, 12).line is not None


def test_all_cosigned_checkpoints_are_kept_with_both_signatures(lone: ScoringWorld) -> None:
    log, kept = LogOffers(lone), lone.witness.checkpoints
    assert (kept.count(), kept.newest(limit=5), kept.up_to(9)) == (0, [], None)
    for old, size in ((0, 3), (3, 3), (3, 10), (10, 12)):
        log.offer(old, size)
    assert kept.count() == 3
    assert [each.size for each in kept.newest(limit=2)] == [12, 10]
    assert [each.size for each in kept.newest(limit=5, below=12)] == [10, 3]
    verifiers = {LOG: lone.hub_key.public, "witness": lone.trust.witness_sign_key}
    for each in kept.newest(limit=5):
        assert verify_note(each.note, verifiers, required=set(verifiers)) == Checkpoint(LOG, each.size, each.root)
        assert each.time == int(NOW.timestamp())
    found = kept.up_to(11)
    assert found is not None
    assert found == kept.of(10)
    assert kept.of(11) is None


def test_a_forked_history_is_never_cosigned(lone: ScoringWorld) -> None:
    log = LogOffers(lone)
    log.offer(0, 5)
    for size in (5, 8):
        with pytest.raises(ProofError):
            log.offer(5, size, fork=True)
    lone.reopen("witness")
    with pytest.raises(ProofError):
        log.offer(5, 8, fork=True)
    assert log.offer(5, 8).line is not None


def test_a_refused_checkpoint_is_kept_as_evidence_until_the_next_good_one(lone: ScoringWorld) -> None:
    log, kept = LogOffers(lone), lone.witness.checkpoints
    log.offer(0, 5)
    assert kept.refused() == []
    for seconds in (0, 60):
        lone.now = NOW + timedelta(seconds=seconds)
        with pytest.raises(ProofError):
            log.offer(5, 8, fork=True)
    (refused,) = kept.refused()
    assert (refused.open, refused.known_size, refused.last - refused.first) == (True, 5, 60)
    assert parse_note(refused.note)[0].size == 8
    log.offer(5, 9)
    assert [each.open for each in kept.refused()] == [False]


def test_other_logs_and_other_signers_are_refused(lone: ScoringWorld) -> None:
    LogOffers(lone).offer(0, 2)
    with pytest.raises(ProofError, match="calls itself"):
        LogOffers(lone, "another/log").offer(0, 2)
    with pytest.raises(ProofError):
        LogOffers(lone).offer(2, 3, key=IdentityKey.generate())
    with pytest.raises(ProofError):
        lone.witness.handlers["cosign-checkpoint"](b"{}")


# pseudonyms


def voprf_token(world: ScoringWorld, party: str = "bank-02", *, count: int = 2, **changes: object) -> bytes:
    values: dict[str, object] = {
        "suite": SUITE,
        "party_id": party,
        "target": "witness",
        "blinded": tuple(BlindedBatch.blind([b"x", b"y"][:count]).elements),
        "nonce": secrets.token_bytes(16),
        "issued_at": world.now,
    }
    request = VoprfRequest.model_validate({**values, **changes})
    return sign_model(request, world.nodes[party].runtime.identity, typ="voprf", kid=party).encode()


def test_evaluations_are_counted_for_good(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    quota = world.nodes["witness"].runtime.config.voprf_quota
    evaluate = world.witness.handlers["voprf"]
    first = VoprfAnswer.model_validate_json(evaluate(voprf_token(world, "platform")))
    before = quota - first.remaining
    world.reopen("witness")
    evaluate = world.witness.handlers["voprf"]
    again = VoprfAnswer.model_validate_json(evaluate(voprf_token(world, "platform")))
    assert again.remaining == quota - before - 2
    small = world.nodes["witness"].runtime.config.model_copy(update={"voprf_quota": before + 3})
    world.nodes["witness"].runtime.config = small
    world.reopen("witness")
    with pytest.raises(PolicyRefusal, match=f"had {before + 2} identifiers") as caught:
        world.witness.handlers["voprf"](voprf_token(world, "platform"))
    assert caught.value.reason == "voprf-quota-exceeded"
    assert world.witness.handlers["voprf"](voprf_token(world, "platform", count=1))
    world.close()


def test_requests_for_pseudonyms_are_signed_fresh_and_served_once(world: ScoringWorld) -> None:
    evaluate = world.witness.handlers["voprf"]
    token = voprf_token(world)
    assert evaluate(token)
    cases: list[tuple[bytes, str]] = [
        (token, "nonce-reused"),
        (voprf_token(world, issued_at=world.now - timedelta(minutes=6)), "request-expired"),
        (voprf_token(world, issued_at=world.now + timedelta(minutes=6)), "request-expired"),
        (voprf_token(world, target="hub"), "voprf-misdirected"),
        (voprf_token(world, party_id="bank-01"), "voprf-misdirected"),
    ]
    for body, code in cases:
        with pytest.raises(PolicyRefusal) as caught:
            evaluate(body)
        assert caught.value.reason == code
    with pytest.raises(CryptoError):
        evaluate(voprf_token(world, blinded=(bytes(32),)))
    stranger = VoprfRequest(
        suite=SUITE, party_id="nobody", target="witness", blinded=(), nonce=bytes(16), issued_at=world.now
    )
    with pytest.raises(PeerError):
        evaluate(sign_model(stranger, IdentityKey.generate(), typ="voprf", kid="nobody").encode())
    forged = stranger.model_copy(update={"party_id": "bank-02"})
    with pytest.raises(SignatureError):
        evaluate(sign_model(forged, IdentityKey.generate(), typ="voprf", kid="bank-02").encode())


# releases


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, ReleaseDesk, ReleaseProposal]]:
    """A scorecard that was really trained, as the hub proposes it."""
    federation = make_world(tmp_path_factory.mktemp("federation"), merchants=400, absent=0.1, unlabelled=0.0)
    released = run_scorecard(federation)
    _, artefact = make_scorecard(released, NOW)
    store = Store.open(tmp_path_factory.mktemp("desk") / "node.db")
    desk = ReleaseDesk(store, federation.federation.witness_context, Journal(store, "witness", clock=lambda: NOW))
    proposal = ReleaseProposal(
        artefact=artefact.to_bytes().decode(),
        attempt=released.terms.attempt,
        scope="release",
        shares=dict(released.shares),
        assessment=assessed(released.terms.campaign_id),
    )
    yield federation, desk, proposal
    federation.federation.grid.close()


def altered(proposal: ReleaseProposal, **changes: object) -> ReleaseProposal:
    plain = ModelArtefact.from_bytes(proposal.artefact.encode())
    return proposal.model_copy(update={"artefact": plain.model_copy(update=changes).to_bytes().decode()})


def test_a_model_that_fits_again_is_released(trained: tuple[World, ReleaseDesk, ReleaseProposal]) -> None:
    world, desk, proposal = trained
    key = world.federation.identity_of("witness").public
    for scope in ("evaluation", "release"):
        body = canonical_bytes(proposal.model_copy(update={"scope": scope}))
        token = desk.release(body).decode()
        assert desk.release(body).decode() == token
        release = verify_model(token, key, ModelRelease, typ="model-release", kid="witness")
        artefact = ModelArtefact.from_bytes(proposal.artefact.encode())
        assert (release.model_id, release.scope) == (artefact.model_id, scope)
        assert release.table_sha256 is not None
        assert release.table_sha256.hex() == artefact.table_digest


def test_models_that_the_witness_cannot_make_again_are_refused(
    trained: tuple[World, ReleaseDesk, ReleaseProposal],
) -> None:
    _, desk, proposal = trained
    honest = ModelArtefact.from_bytes(proposal.artefact.encode())
    card = honest.scorecard
    assert card is not None
    first = card.features[0]
    nudged = first.model_copy(update={"points": (first.points[0] - 1, *first.points[1:])})
    other_points = card.model_copy(update={"features": (nudged, *card.features[1:])})
    other_scale = card.model_copy(
        update={
            "calibration": card.calibration.model_copy(update={"intercept": round(card.calibration.intercept + 1, 6)})
        }
    )
    cases = [
        altered(proposal, scorecard=other_points),
        altered(proposal, scorecard=other_scale),
        altered(proposal, table_digest="1" * 64),
        altered(proposal, fit_options={**honest.fit_options, "ridge_count": 5.0}),
        altered(proposal, fit_options={"no-such-option": 1.0}),
        altered(proposal, privacy=honest.privacy.model_copy(update={"t_collude": 2})),
        altered(proposal, cohort_size=honest.cohort_size + 1),
        altered(proposal, campaign="another"),
    ]
    for case in cases:
        with pytest.raises(PolicyRefusal) as caught:
            desk.release(canonical_bytes(case))
        assert caught.value.reason == "model-not-reproduced"
    with pytest.raises(PolicyRefusal) as caught:
        desk.release(canonical_bytes(altered(proposal, cohort_size=1).model_copy(update={"attempt": None})))
    assert caught.value.reason == "attempt-missing"


def test_shares_must_be_those_of_the_receipts(trained: tuple[World, ReleaseDesk, ReleaseProposal]) -> None:
    _, desk, proposal = trained
    new = altered(proposal, cohort_size=1)
    party, share = next(iter(proposal.shares.items()))
    fewer = {name: data for name, data in proposal.shares.items() if name != party}
    for shares in (fewer, {**proposal.shares, party: share[:-1] + bytes([share[-1] ^ 1])}):
        with pytest.raises(AttemptError):
            desk.release(canonical_bytes(new.model_copy(update={"shares": shares})))
    with pytest.raises(AttemptError):
        desk.release(canonical_bytes(new.model_copy(update={"attempt": "c1/scorecard/99"})))


def test_points_beyond_the_span_are_refused_before_anything_else(
    trained: tuple[World, ReleaseDesk, ReleaseProposal],
) -> None:
    _, desk, proposal = trained
    card = ModelArtefact.from_bytes(proposal.artefact.encode()).scorecard
    assert card is not None
    first = card.features[0]
    spelled = first.model_copy(update={"points": tuple(1000 * place for place in range(first.width))})
    wide = card.model_copy(update={"features": (spelled, *card.features[1:])})
    with pytest.raises(ArtefactError, match="span"):
        desk.release(canonical_bytes(altered(proposal, scorecard=wide)))


def test_a_withdrawal_is_final(tmp_path: Path) -> None:
    federation = make_world(tmp_path / "federation", merchants=200, absent=0.1, unlabelled=0.0)
    released = run_scorecard(federation)
    _, artefact = make_scorecard(released, NOW)
    store = Store.open(tmp_path / "node.db")
    desk = ReleaseDesk(store, federation.federation.witness_context, Journal(store, "witness", clock=lambda: NOW))
    withdrawal = canonical_bytes(WithdrawalProposal(model_id=artefact.model_id, reason="drift"))
    with pytest.raises(PolicyRefusal):
        desk.withdraw(withdrawal)
    proposal = ReleaseProposal(
        artefact=artefact.to_bytes().decode(),
        attempt=released.terms.attempt,
        scope="release",
        shares=dict(released.shares),
        assessment=assessed(released.terms.campaign_id),
    )
    desk.release(canonical_bytes(proposal))
    assert desk.withdraw(withdrawal) == desk.withdraw(withdrawal)
    with pytest.raises(PolicyRefusal) as caught:
        desk.release(canonical_bytes(proposal))
    assert caught.value.reason == "model-withdrawn"
    federation.federation.grid.close()


def test_the_programme_counts_every_campaign(tmp_path: Path) -> None:
    federation = make_world(tmp_path, noise_off=False)
    released = run_scorecard(federation, federation.noisy_plan(2.0))
    found = programme(federation.federation.witness_context.ledger)
    assert [(each.campaign_id, each.attempts, each.refunded) for each in found.campaigns] == [("c1", 1, 0)]
    assert 1.9 < found.epsilon_spent <= 2.0
    assert released.terms.privacy.epsilon == 2.0
    federation.federation.grid.close()
