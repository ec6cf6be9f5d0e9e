"""What hub, requesters and model makers could try against scores; each is refused by name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.errors import ProofError
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.wire.audit import InclusionProof
from crypto.wire.consent import DataLife, Frequency
from crypto.wire.scoring import ScoreItem
from models.artefact import ModelArtefact
from models.errors import ArtefactError
from nodes.enquiries import Enquiry
from nodes.errors import PolicyRefusal, ScoreUnavailable
from tests.scoring_answers import expected_score
from tests.scoring_world import SOURCES, ScoringWorld, answer_of

SOURCE = "tax-01"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, str]]:
    """One federation for all tests that need but a merchant of their own, and its released model."""
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    yield world, world.release()
    world.close()


@pytest.fixture
def world(shared: tuple[ScoringWorld, str]) -> ScoringWorld:
    shared[0].heartbeat()
    return shared[0]


@pytest.fixture
def model_id(shared: tuple[ScoringWorld, str]) -> str:
    return shared[1]


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[ScoringWorld]:
    """A federation that a test may break."""
    world = ScoringWorld(tmp_path)
    yield world
    world.close()


# requests


def test_a_request_that_its_requester_did_not_sign_is_refused(world: ScoringWorld, model_id: str) -> None:
    record = world.give(world.newcomer())
    honest = world.request(record, model_id)
    head, payload, _ = honest.split(".")
    signature = world.request(record, model_id).split(".")[2]
    assert world.codes(SOURCE, ".".join((head, payload, signature))) == ["signature-invalid"]
    assert world.codes(SOURCE, "a.b.c") == ["signature-invalid"]
    forged = world.request(record, model_id, requester="lender")
    stolen = sign_model(
        world.nodes["platform"].runtime.roster.current(), IdentityKey.generate(), typ="score-request", kid="lender"
    )
    assert world.codes(SOURCE, stolen) == ["signature-invalid"]
    assert world.codes(SOURCE, forged) == ["answered"]


def test_the_same_hash_gets_the_same_bytes_until_it_expires(world: ScoringWorld, model_id: str) -> None:
    record = world.give(world.newcomer())
    token = world.request(record, model_id)
    first = world.answer(SOURCE, token)
    world.pass_time(minutes=4)
    assert world.answer(SOURCE, token) == first
    world.pass_time(minutes=1)
    assert world.codes(SOURCE, token) == ["answer-expired"]
    world.answer(SOURCE, world.request(record, model_id))  # what has expired is forgotten here
    assert world.codes(SOURCE, token) == ["answer-expired"]


def test_bytes_stay_the_same_when_data_change_and_a_new_request_counts(lone: ScoringWorld) -> None:
    model_id = lone.release()
    record = lone.give("M001", frequency=Frequency(count=2, per="day"))
    token = lone.request(record, model_id)
    first = lone.answer(SOURCE, token)
    table = lone.base / SOURCE / "rows.csv"
    table.write_text(table.read_text().replace("M001,50", "M001,300"))
    assert lone.answer(SOURCE, token) == first
    lone.reopen(SOURCE)
    assert lone.answer(SOURCE, token) == first
    assert lone.codes(SOURCE, lone.request(record, model_id)) == ["answered"]
    assert lone.codes(SOURCE, lone.request(record, model_id)) == ["frequency-exceeded"]


def test_a_nonce_under_another_hash_is_refused(world: ScoringWorld, model_id: str) -> None:
    first, second = world.give(world.newcomer()), world.give(world.newcomer())
    nonce = secrets.token_bytes(16)
    assert world.codes(SOURCE, world.request(first, model_id, nonce=nonce)) == ["answered"]
    assert world.codes(SOURCE, world.request(second, model_id, nonce=nonce)) == ["nonce-reused"]
    assert world.codes(SOURCE, world.request(second, model_id)) == ["answered"]


@pytest.mark.parametrize(
    ("issued", "expires"),
    [(-600, -300), (-300, 0), (0, 301), (120, 300)],
)
def test_requests_out_of_time_are_refused(world: ScoringWorld, model_id: str, issued: int, expires: int) -> None:
    record = world.give(world.newcomer())
    token = world.request(
        record,
        model_id,
        issued_at=world.now + timedelta(seconds=issued),
        expires_at=world.now + timedelta(seconds=expires),
    )
    assert world.codes(SOURCE, token) == ["request-expired"]


def test_a_requester_that_is_not_in_the_roster_is_refused(lone: ScoringWorld) -> None:
    model_id, record = lone.release(), lone.give("M001")
    token = lone.request(record, model_id)
    lone.publish_roster(without=["lender"])
    assert lone.codes(SOURCE, token) == ["requester-unknown"]


# limits


def test_frequency_is_counted_over_all_models(lone: ScoringWorld) -> None:
    models = [lone.release(lone.artefact(number)) for number in range(2)]
    record = lone.give("M001", frequency=Frequency(count=2, per="hour"))
    codes = [lone.codes(SOURCE, lone.request(record, models[number % 2]))[0] for number in range(3)]
    assert codes == ["answered", "answered", "frequency-exceeded"]
    lone.pass_time(minutes=61)
    assert lone.codes(SOURCE, lone.request(record, models[0])) == ["answered"]


def test_one_time_is_one_request(world: ScoringWorld, model_id: str) -> None:
    record = world.give(world.newcomer(), fetch_type="ONETIME")
    token = world.request(record, model_id)
    assert world.codes(SOURCE, token) == ["answered"]
    assert world.codes(SOURCE, token) == ["answered"]
    assert world.codes(SOURCE, world.request(record, model_id)) == ["frequency-exceeded"]


def test_three_model_versions_in_a_data_life(lone: ScoringWorld) -> None:
    models = [lone.release(lone.artefact(number)) for number in range(4)]
    life = DataLife(unit="day", value=1)
    first = lone.give("M001", data_life=life)
    second = lone.give("M001", data_life=life)
    codes = [
        lone.codes(SOURCE, lone.request(record, model))[0]
        for record, model in zip((first, second, first, second, first), (*models, models[0]), strict=True)
    ]
    assert codes == ["answered", "answered", "answered", "model-versions-exceeded", "answered"]
    lone.pass_time(days=1)
    assert lone.codes(SOURCE, lone.request(first, models[3])) == ["answered"]


def test_a_second_source_set_cannot_be_subtracted_from_the_first(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    first = world.give(merchant)
    second = world.give(merchant, sources={"bank": "bank-01", "tax": SOURCE})
    assert world.codes(SOURCE, world.request(first, model_id)) == ["answered"]
    assert world.codes(SOURCE, world.request(second, model_id)) == ["source-set-changed"]


def test_sources_hear_only_of_merchants_in_whom_they_have_a_part(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    first = world.give(merchant)
    second = world.give(merchant, sources={"bank": "bank-01", "tax": SOURCE})
    items = tuple(
        ScoreItem(pseudonym=each.pii_principal_id, consent_id=each.record_id, sources=dict(each.sources))
        for each in (first, second)
    )
    assert world.codes(SOURCE, world.request(first, model_id, items=items)) == ["mixed-sources"] * 2


def test_sources_left_out_of_a_request_are_not_consented(world: ScoringWorld, model_id: str) -> None:
    record = world.give(world.newcomer())
    fewer = {kind: party for kind, party in SOURCES.items() if kind != "utility"}
    item = ScoreItem(pseudonym=record.pii_principal_id, consent_id=record.record_id, sources=fewer)
    assert world.codes(SOURCE, world.request(record, model_id, items=(item,))) == ["source-not-consented"]


def test_a_bank_cannot_subtract_itself_from_a_single_other_source(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.give(merchant, sources={"bank": "bank-01", "tax": SOURCE}, recipients=("bank-01",))
    assert world.codes(SOURCE, world.request(record, model_id, requester="bank-01")) == ["too-few-sources"]
    with pytest.raises(PolicyRefusal) as caught:
        world.nodes["bank-01"].enquiries.score(Enquiry(merchant))
    assert caught.value.reason == "too-few-sources"


# models


def test_models_without_the_witnesss_word_are_not_used(world: ScoringWorld) -> None:
    record = world.give(world.newcomer())
    unreleased = world.artefact(20)
    world.relay.models[unreleased.model_id] = unreleased.to_bytes()
    assert world.codes(SOURCE, world.request(record, unreleased.model_id)) == ["model-unknown"]
    forged = world.release(world.artefact(21), key=world.hub_key)
    assert world.codes(SOURCE, world.request(record, forged)) == ["model-unknown"]
    evaluated = world.release(world.artefact(22), scope="evaluation")
    assert world.codes(SOURCE, world.request(record, evaluated)) == ["model-not-released"]


def test_a_withdrawn_model_stays_withdrawn(world: ScoringWorld) -> None:
    record = world.give(world.newcomer())
    artefact = world.artefact(30)
    model_id = world.release(artefact)
    world.withdraw(model_id)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["model-not-released"]
    world.release(artefact)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["model-not-released"]


def test_an_altered_artefact_is_refused(world: ScoringWorld) -> None:
    record = world.give(world.newcomer())
    altered = world.artefact(41).to_bytes().replace(b'"base":641', b'"base":642')
    model_id = world.release(world.artefact(41), served=altered)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["model-unknown"]
    assert "artefact-invalid" in {code for _, code in world.nodes[SOURCE].runtime.feed.refused()}


def test_points_that_spell_out_bins_are_refused(world: ScoringWorld) -> None:
    record = world.give(world.newcomer())
    honest = world.artefact(50)
    assert honest.scorecard is not None
    features = tuple(
        entry.model_copy(update={"points": (-10, *(10 ** (3 * place) for place in range(1, entry.width)))})
        for entry in honest.scorecard.features
    )
    spelling = honest.model_copy(update={"scorecard": honest.scorecard.model_copy(update={"features": features})})
    with pytest.raises(ArtefactError, match="span"):
        ModelArtefact.from_bytes(spelling.to_bytes())
    model_id = world.release(spelling)  # even with the witness's signature
    assert world.codes(SOURCE, world.request(record, model_id)) == ["model-unknown"]


# a hub that lies to the requester


def test_a_hub_that_drops_a_source_gets_no_score_from_fewer(lone: ScoringWorld) -> None:
    lone.release()
    lone.give("M001")
    lone.relay.lost = {"utility-01"}
    with pytest.raises(ScoreUnavailable) as caught:
        lone.nodes["lender"].enquiries.score(Enquiry("M001"))
    assert caught.value.refusals == {"utility-01": "source-unreachable"}
    lone.relay.lost = set()
    assert lone.nodes["lender"].enquiries.score(Enquiry("M001")).score == expected_score(lone, "M001")


def test_a_hub_that_shows_sources_different_requests_spoils_the_sum(lone: ScoringWorld) -> None:
    lone.release()
    record = lone.give("M001")
    other = lone.request(record, lone.release(lone.artefact(1)))
    lone.relay.retoken = lambda source, token: other if source == SOURCE else token
    with pytest.raises(ScoreUnavailable) as caught:
        lone.nodes["lender"].enquiries.score(Enquiry("M001"))
    assert caught.value.refusals == {SOURCE: "source-failed"}


def test_answers_of_others_and_altered_answers_count_as_failed(lone: ScoringWorld) -> None:
    lone.release()
    lone.give("M001")
    bank = lone.nodes["bank-01"].runtime.identity

    def altered(source: str, answer: str) -> str:
        if source != SOURCE:
            return answer
        changed = answer_of(answer.encode()).model_copy(update={"answered": ()})
        return sign_model(changed, bank, typ="score-answer", kid=SOURCE)

    lone.relay.reanswer = altered
    with pytest.raises(ScoreUnavailable) as caught:
        lone.nodes["lender"].enquiries.score(Enquiry("M001"))
    assert caught.value.refusals == {SOURCE: "source-failed"}


@pytest.mark.parametrize("lie", ["entry", "hashes", "checkpoint", "cosignature"])
def test_a_query_that_is_not_proved_to_be_logged_gives_no_score(lone: ScoringWorld, lie: str) -> None:
    lone.release()
    lone.give("M001")
    lone.give("M002")
    lone.nodes["lender"].enquiries.score(Enquiry("M002"))
    earlier = lone.relay.proof(0)

    def bend(proof: InclusionProof) -> InclusionProof:
        if lie == "entry":
            return earlier
        if lie == "hashes":
            return proof.model_copy(update={"hashes": (bytes(32), *proof.hashes[1:])})
        if lie == "checkpoint":
            return proof.model_copy(update={"checkpoint": earlier.checkpoint})
        lines = proof.checkpoint.splitlines(keepends=True)
        return proof.model_copy(update={"checkpoint": "".join(lines[:-1])})

    lone.relay.reproof = bend
    with pytest.raises(ProofError):
        lone.nodes["lender"].enquiries.score(Enquiry("M001"))
