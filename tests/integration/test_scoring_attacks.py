"""What hub, requesters and model makers could try against consents and scores; each is refused by name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.canonical import canonical_bytes, digest
from crypto.errors import ProofError
from crypto.jws import sign_merchant, sign_model
from crypto.keys import IdentityKey
from crypto.wire.audit import InclusionProof, LogEntry
from crypto.wire.consent import ConsentEvent, DataCategory, DataLife, Frequency
from crypto.wire.party import MerchantKeyBatch
from crypto.wire.scoring import ScoreItem
from models.artefact import ModelArtefact
from models.errors import ArtefactError
from nodes.enquiries import Enquiry
from nodes.errors import PolicyRefusal, ScoreUnavailable
from nodes.journal import verify_lines
from tests.relay_hub import payload_of
from tests.scoring_world import SOURCES, ScoringWorld, answer_of, expected_score

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


# consents


def test_a_consent_forged_by_platform_and_hub_is_never_stored(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.record(merchant)
    other = world.merchants["M001"]
    forged = sign_merchant(
        canonical_bytes(record), other.jwk, typ="consent", kid=world.merchants[merchant].pseudonym.hex()
    )
    for source in SOURCES.values():
        world.feed(source, world.consent_item(record, merchant=merchant, token=forged))
        assert world.nodes[source].consents.state(record.record_id, world.now) == "unknown"
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-unknown"]
    refused = [line.entry for line in world.nodes[SOURCE].journal.lines() if line.type == "feed-item-refused"]
    assert b"signature-invalid" in refused[-1]


def test_a_key_that_the_bank_did_not_countersign_signs_nothing(world: ScoringWorld) -> None:
    merchant = world.newcomer()
    held = world.merchants[merchant]
    record = world.record(merchant)
    honest = world.consent_item(record, merchant=merchant)
    assert honest.consent is not None
    statement = honest.consent.merchant_key
    own = IdentityKey.generate()
    alone = statement.model_copy(
        update={"countersignature": sign_model(_batch(statement.batch), own, typ="merchant-keys", kid="platform")}
    )
    item = honest.model_copy(update={"consent": honest.consent.model_copy(update={"merchant_key": alone})})
    world.feed(SOURCE, item)
    swapped = held.leaf.model_copy(update={"jwk": world.merchants["M001"].leaf.jwk})
    other = statement.model_copy(update={"leaf": swapped})
    world.feed(SOURCE, honest.model_copy(update={"consent": honest.consent.model_copy(update={"merchant_key": other})}))
    assert world.nodes[SOURCE].consents.state(record.record_id, world.now) == "unknown"


def test_a_widened_consent_does_not_verify(world: ScoringWorld) -> None:
    merchant = world.newcomer()
    record = world.record(merchant)
    token = world.merchants[merchant].sign(record, "consent")
    head, _, signature = token.split(".")
    wider = world.merchants[merchant].sign(record.model_copy(update={"recipients": ("lender", "platform")}), "consent")
    altered = ".".join((head, wider.split(".")[1], signature))
    world.feed(SOURCE, world.consent_item(record, merchant=merchant, token=altered))
    assert world.nodes[SOURCE].consents.state(record.record_id, world.now) == "unknown"


@pytest.mark.parametrize(
    ("changes", "request_changes", "code"),
    [
        ({"recipients": ("platform",)}, {}, "recipient-not-consented"),
        ({}, {"purpose": "pre-qualification"}, "purpose-not-consented"),
        ({"sources": {**SOURCES, "utility": "bank-02"}}, {}, None),
        ({"pii_information": (DataCategory(category="bank", data_class="C2"),)}, {}, "category-not-consented"),
        (
            {"pii_information": tuple(DataCategory(category=kind, data_class="C1") for kind in SOURCES)},
            {},
            "category-not-consented",
        ),
        ({"separate_consent": ()}, {}, "separate-consent-missing"),
        ({"adverse_consequences_notice": False}, {}, "adverse-notice-missing"),
    ],
)
def test_a_consent_covers_what_it_says_and_no_more(
    world: ScoringWorld,
    model_id: str,
    changes: dict[str, object],
    request_changes: dict[str, object],
    code: str | None,
) -> None:
    merchant = world.newcomer()
    record = world.record(merchant, **changes)
    world.feed(SOURCE, world.consent_item(record, merchant=merchant))
    token = world.request(record, model_id, **request_changes)
    assert world.codes(SOURCE, token) == [code or "source-unreachable"]


def test_a_consent_for_another_source_is_not_even_held(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.record(merchant, sources={**SOURCES, "tax": "tax-02"})
    world.feed(SOURCE, world.consent_item(record, merchant=merchant))
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-unknown"]


def test_another_merchants_consent_does_not_serve(world: ScoringWorld, model_id: str) -> None:
    first, second = world.newcomer(), world.newcomer()
    record = world.give(first)
    item = ScoreItem(
        pseudonym=world.merchants[second].pseudonym, consent_id=record.record_id, sources=dict(record.sources)
    )
    assert world.codes(SOURCE, world.request(record, model_id, items=(item,))) == ["consent-unknown"]


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


# states


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (("paused",), "consent-paused"),
        (("paused", "resumed"), "answered"),
        (("revoked",), "consent-revoked"),
        (("paused", "revoked", "resumed"), "consent-revoked"),
        (("refused",), "consent-not-active"),
    ],
)
def test_events_take_effect_at_once(world: ScoringWorld, model_id: str, events: tuple[str, ...], code: str) -> None:
    merchant = world.newcomer()
    record = world.give(merchant)
    for event in events:
        world.change(record, event, merchant=merchant)
    assert world.codes(SOURCE, world.request(record, model_id)) == [code]


def test_nobody_but_the_merchant_changes_a_consent(world: ScoringWorld, model_id: str) -> None:
    merchant, other = world.newcomer(), world.newcomer()
    record = world.give(merchant)
    world.change(record, "paused", merchant=merchant)
    forged = world.event_item(record, "resumed", merchant=other)
    world.feed(SOURCE, forged)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-paused"]


def test_an_old_resumption_cannot_be_played_again(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.give(merchant)
    world.change(record, "paused", merchant=merchant)
    world.pass_time(seconds=10)
    held_back = world.event_item(record, "resumed", merchant=merchant)
    world.pass_time(seconds=10)
    world.change(record, "paused", merchant=merchant)
    world.feed(SOURCE, held_back)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-paused"]


def test_dates_are_kept(lone: ScoringWorld) -> None:
    model_id = lone.release()
    later = lone.give("M001", valid_from=lone.now + timedelta(hours=1))
    brief = lone.give("M002", valid_until=lone.now + timedelta(hours=1))
    assert lone.codes(SOURCE, lone.request(later, model_id)) == ["consent-not-yet-valid"]
    assert lone.codes(SOURCE, lone.request(brief, model_id)) == ["answered"]
    lone.pass_time(hours=1)
    assert lone.codes(SOURCE, lone.request(later, model_id)) == ["answered"]
    assert lone.codes(SOURCE, lone.request(brief, model_id)) == ["consent-expired"]


def test_a_stale_feed_means_no_answers(lone: ScoringWorld) -> None:
    model_id, record = lone.release(), lone.give("M001")
    lone.now += timedelta(seconds=60)
    assert lone.codes(SOURCE, lone.request(record, model_id)) == ["answered"]
    lone.now += timedelta(seconds=1)
    token = lone.request(record, model_id)
    assert lone.codes(SOURCE, token) == ["feed-stale"]
    lone.feed(SOURCE)
    assert lone.codes(SOURCE, token) == ["answered"]


def test_a_revocation_left_out_of_one_feed_is_not_noticed_there_and_shows_afterwards(lone: ScoringWorld) -> None:
    """Not prevented: the hub numbers on and signs a fresh head. Journals against the signed event give it away."""
    model_id, record = lone.release(), lone.give("M001")
    lone.pass_time(seconds=10)
    item = lone.event_item(record, "revoked")
    for name in ("bank-01", "utility-01", "lender"):  # and not SOURCE
        lone.feed(name, item)
    assert item.token is not None
    revoked = ConsentEvent.model_validate_json(payload_of(item.token))
    lone.pass_time(minutes=10)
    token = lone.request(record, model_id)
    assert lone.codes(SOURCE, token) == ["answered"]  # its feed is fresh and without a gap
    assert lone.codes("bank-01", token) == ["consent-revoked"]

    request_hash = digest(token.encode()).hex()
    found = {}
    for name in (SOURCE, "bank-01"):
        verify_lines(lone.nodes[name].journal.lines())
        entries = [
            LogEntry.model_validate_json(line.entry)
            for line in lone.nodes[name].journal.lines()
            if line.type == "query"
        ]
        found[name] = next(entry for entry in entries if entry.facts["request_hash"] == request_hash)
    assert found["bank-01"].facts["decision"] == "consent-revoked"
    assert found[SOURCE].facts["decision"] == "answered"
    assert found[SOURCE].time > revoked.event_time
    lone.feed(SOURCE, item)  # once it has the event, it stops
    assert lone.codes(SOURCE, lone.request(record, model_id)) == ["consent-revoked"]


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


def _batch(token: str) -> MerchantKeyBatch:
    return MerchantKeyBatch.model_validate_json(payload_of(token))
