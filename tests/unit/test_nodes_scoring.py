"""A source's answers, seen from outside and from the requester; models as a node books them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from crypto.canonical import canonical_bytes, digest
from crypto.errors import SealError
from crypto.jws import parse_canonical, verify_model
from crypto.keys import BoxKey
from crypto.sealed import OVERHEAD_BYTES, open_sealed
from crypto.wire.consent import DataCategory
from crypto.wire.scoring import ANSWER_BYTES_PER_ITEM, AnswerBody, AnswerItem, ScoreItem, ScoreRequest, SourceAnswer
from models.artefact import EncoderEntry, ModelArtefact
from models.encoder_scores import encoder_feature_edges
from models.encoder_spec import spec_for
from models.errors import ArtefactError
from nodes.encoder_models import ReleasedEncoder, score_of_probability
from nodes.enquiries import Enquiry
from nodes.errors import PeerError, PolicyRefusal, ScoreUnavailable
from nodes.journal import verify_lines
from nodes.scoring import answer_context, fitting_item, pad_body
from nodes.services import released_encoder
from nodes.tables.scoring import UseRow
from tests.scoring_answers import ask_all, expected_score
from tests.scoring_world import MERCHANTS, POINTS, SOURCES, ScoringWorld, answer_of


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, str]]:
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


def opened(world: ScoringWorld, source: str, token: str, requester: str = "lender") -> tuple[SourceAnswer, AnswerBody]:
    answer = verify_model(
        world.answer(source, token).decode(),
        world.parties[source].sign_key,
        SourceAnswer,
        typ="score-answer",
        kid=source,
    )
    context = answer_context(digest(token.encode()), source)
    body = open_sealed(answer.sealed, world.nodes[requester].runtime.box, context=context)
    assert len(body) == ANSWER_BYTES_PER_ITEM * (len(answer.answered) + len(answer.refusals))
    return answer, parse_canonical(body.rstrip(b" "), AnswerBody)


def test_scores_are_what_joined_rows_would_give(world: ScoringWorld) -> None:
    for merchant in MERCHANTS:
        world.give(merchant)
    lender = world.nodes["lender"].enquiries
    outcomes = ask_all(world.nodes["lender"], [Enquiry(merchant) for merchant in MERCHANTS])
    assert [each.answer and each.answer.score for each in outcomes] == [expected_score(world, m) for m in MERCHANTS]
    first = outcomes[0].answer
    assert first is not None
    card = world.artefact().card()
    assert first.score is not None
    assert first.pd == pytest.approx(float(card.pd_of(first.score)))
    assert first.band == "E"
    assert first.reasons == ("age", "income", "late")
    assert first.proof is not None
    assert lender.reason_texts(first, "zh")[0].startswith("年龄")


def test_a_bank_is_source_and_requester_at_once(world: ScoringWorld) -> None:
    merchant = world.newcomer()
    world.give(merchant, recipients=("bank-01",))
    answer = world.nodes["bank-01"].enquiries.score(Enquiry(merchant))
    assert answer.score == expected_score(world, merchant)


def test_a_kind_that_the_consent_does_not_name_gives_absent_points(world: ScoringWorld) -> None:
    world.give("M001", sources={"bank": "bank-01", "tax": "tax-01"}, recipients=("platform",))
    answer = world.nodes["platform"].enquiries.score(Enquiry("M001"))
    card = world.artefact().card()
    late = POINTS["late"][2]  # the utility's points, which nobody was asked for
    assert answer.score == expected_score(world, "M001") - late + card.absent["utility"]


def test_a_batch_is_one_request_for_each_set_of_sources(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    world.release()
    pair = {"bank": "bank-01", "tax": "tax-01"}
    for merchant, sources in zip(MERCHANTS, (SOURCES, pair, SOURCES, pair), strict=True):
        world.give(merchant, sources=sources)
    enquiries = [Enquiry(merchant) for merchant in MERCHANTS]
    lender = world.nodes["lender"]
    outcomes = ask_all(lender, enquiries)
    scores = [expected_score(world, merchant) for merchant in MERCHANTS]
    scores[1] += world.artefact().card().absent["utility"] - POINTS["late"][1]  # nobody was asked for them
    assert [each.answer and each.answer.score for each in outcomes] == scores
    assert [each.id for each in outcomes] == list(MERCHANTS)
    forwarded = sorted(source for source, _ in world.relay.seen)
    assert forwarded == ["bank-01", "bank-01", "tax-01", "tax-01", "utility-01"]
    for source, request in world.relay.seen:
        assert len(request.items) == 2
        assert all(source in item.sources.values() for item in request.items)
    proofs = [each.answer.proof for each in outcomes if each.answer and each.answer.proof]
    assert len({proof.index for proof in proofs}) == 4

    world.relay.refuse = lambda request: len(request.items[0].sources) == 2
    again = ask_all(lender, enquiries)
    assert [each.answer and each.answer.score for each in again] == [scores[0], None, scores[2], None]
    assert [each.code for each in again] == [None, "query-refused", None, "query-refused"]
    with pytest.raises(PeerError):
        lender.enquiries.score(enquiries[1])
    world.close()


def test_single_answers_say_nothing(world: ScoringWorld, model_id: str) -> None:
    """Masked points of one source are not its points, and differ from request to request."""
    record = world.give("M001")
    tokens = [world.request(record, model_id) for _ in range(2)]
    values = [opened(world, source, token)[1].items[0].masked_points for token in tokens for source in SOURCES.values()]
    assert len(set(values)) == len(values)
    sums = [sum(values[:3]) % 2**32, sum(values[3:]) % 2**32]
    assert sums[0] == sums[1] == (expected_score(world, "M001") - 600) % 2**32


def test_answers_have_one_size_with_and_without_a_row(world: ScoringWorld, model_id: str) -> None:
    known, absent = world.give("M002"), world.give(world.newcomer())
    plain = world.give("M003", pii_information=tuple(DataCategory(category=k, data_class="C2") for k in SOURCES))
    revoked = world.give("M004")
    world.change(revoked, "revoked", merchant="M004")
    sealed, sizes = set(), set()
    for record in (known, absent, plain, revoked):
        token = world.request(record, model_id)
        answer, _ = opened(world, "tax-01", token)
        sealed.add(len(answer.sealed))
        if record is not revoked:
            sizes.add(len(world.answer("tax-01", token)))
    assert sealed == {ANSWER_BYTES_PER_ITEM + OVERHEAD_BYTES}
    assert len(sizes) == 1


def test_reasons_go_along_only_where_the_consent_has_them(world: ScoringWorld, model_id: str) -> None:
    plain = world.give(
        world.newcomer(), pii_information=tuple(DataCategory(category=k, data_class="C2") for k in SOURCES)
    )
    reasons = [opened(world, source, world.request(plain, model_id))[1].items[0].reasons for source in SOURCES.values()]
    assert reasons == [(), (), ()]
    full = world.give(world.newcomer())
    assert opened(world, "tax-01", world.request(full, model_id))[1].items[0].reasons == ("income",)


def test_only_the_requester_opens_an_answer(world: ScoringWorld, model_id: str) -> None:
    token = world.request(world.give(world.newcomer()), model_id)
    answer = answer_of(world.answer("tax-01", token))
    context = answer_context(digest(token.encode()), "tax-01")
    with pytest.raises(SealError):
        open_sealed(answer.sealed, BoxKey.generate(), context=context)
    with pytest.raises(SealError):
        open_sealed(answer.sealed, world.nodes["lender"].runtime.box, context=answer_context(bytes(32), "tax-01"))


def test_long_names_do_not_break_the_size() -> None:
    item = fitting_item(499, 2**32 - 1, ("特" * 64, "征" * 64, "名" * 64, "长" * 64))
    assert len(item.reasons) == 2
    body = AnswerBody(items=tuple(fitting_item(n, 2**32 - 1, item.reasons) for n in range(500)))
    assert len(pad_body(body, 500)) == 500 * ANSWER_BYTES_PER_ITEM
    assert fitting_item(0, 1, ("a",)) == AnswerItem(item=0, masked_points=1, reasons=("a",))


def test_a_batch_is_one_signature_and_one_journal_entry_a_merchant(world: ScoringWorld, model_id: str) -> None:
    merchants = [world.newcomer() for _ in range(3)]
    records = [world.give(merchant) for merchant in merchants]
    items = tuple(
        ScoreItem(pseudonym=record.pii_principal_id, consent_id=record.record_id, sources=dict(record.sources))
        for record in records
    )
    world.change(records[1], "paused", merchant=merchants[1])
    token = world.request(records[0], model_id, items=items)
    before = world.nodes["tax-01"].journal.count()
    answer, body = opened(world, "tax-01", token)
    assert answer.answered == tuple(each.item for each in body.items) == (0, 2)
    assert [(each.item, each.code) for each in answer.refusals] == [(1, "consent-paused")]
    assert world.nodes["tax-01"].journal.count() == before + 3
    assert verify_lines(world.nodes["tax-01"].journal.lines())[0] == before + 3


def test_a_source_without_its_table_fails_by_name(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    model_id, record = world.release(), world.give("M001")
    (tmp_path / "tax-01" / "rows.csv").write_text("id,income\nM001,many\n")
    token = world.request(record, model_id)
    assert world.codes("tax-01", token) == ["source-failed"]
    (tmp_path / "tax-01" / "rows.csv").write_text("id,income\nM001,50\n")
    assert world.codes("tax-01", token) == ["answered"]  # nothing was masked before
    world.close()


def test_an_enquiry_says_why_there_is_no_consent(world: ScoringWorld) -> None:
    lender = world.nodes["lender"].enquiries
    with pytest.raises(PolicyRefusal) as caught:
        lender.score(Enquiry("stranger"))
    assert caught.value.reason == "consent-unknown"
    record = world.give("M004", event_time=world.now + timedelta(seconds=30))
    world.pass_time(seconds=31)
    world.change(record, "paused", merchant="M004")
    held = lender.consents_of("M004")
    assert (held[0].record, held[0].state) == (record, "paused")
    for other in held[1:]:
        if other.state == "active":
            world.change(other.record, "revoked", merchant="M004")
    (outcome,) = ask_all(world.nodes["lender"], [Enquiry("M004")])
    assert (outcome.answer, outcome.code) == (None, "consent-paused")
    (outcome,) = ask_all(world.nodes["lender"], [Enquiry("M004", record.record_id)])
    assert outcome.answer is not None
    assert outcome.answer.refusals == dict.fromkeys(SOURCES.values(), "consent-paused")
    with pytest.raises(PolicyRefusal):
        lender.score(Enquiry("M003", record.record_id))
    with pytest.raises(PolicyRefusal) as caught:
        lender.score(Enquiry("M003"), model_id=f"sha256:{'0' * 64}")
    assert caught.value.reason == "model-unknown"


def test_a_source_that_is_away_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path, retry_seconds=20.0)
    world.release()
    record = world.give("M001")
    lender = world.nodes["lender"].enquiries
    world.relay.lost = {"tax-01"}
    tries: list[ScoreRequest] = []

    def back(request: ScoreRequest) -> None:
        tries.append(request)
        if len(tries) == 2:
            world.relay.lost = set()

    world.relay.after = back
    assert lender.score(Enquiry("M001")).score == expected_score(world, "M001")
    assert len(tries) == 3
    assert len({request.nonce for request in tries}) == 1
    # The bank, which answered every time, has counted one use.
    with world.nodes["bank-01"].runtime.store.reading() as session:
        assert session.scalar(select(func.count()).select_from(UseRow).where(UseRow.record_id == record.record_id)) == 1
    # What will not be gone in a moment is not asked again.
    world.change(record, "revoked")
    tries.clear()
    with pytest.raises(ScoreUnavailable):
        lender.score(Enquiry("M001", record.record_id))
    assert len(tries) == 1
    world.close()


# models


def test_a_release_waits_for_its_artefact(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    artefact = world.artefact()
    model_id = world.release(artefact, served=b"")
    del world.relay.models[model_id]
    lender = world.nodes["lender"]
    assert [listed.artefact for listed in lender.models.list()] == [None]
    assert lender.models.newest() is None
    world.relay.models[model_id] = artefact.to_bytes()
    booked = lender.models.newest()
    assert booked is not None
    assert (booked.model_id, booked.kinds, booked.data_class("tax")) == (model_id, tuple(SOURCES), "C2")
    world.relay.models.clear()
    again = world.reopen("lender").models.get(model_id)
    assert again is not None
    assert again.artefact == artefact
    world.close()


def test_of_releases_in_one_second_the_later_one_is_the_newest(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    for number in range(8):  # ids are hashes: their order says nothing
        model_id = world.release(world.artefact(number))
        newest = world.nodes["lender"].models.newest()
        assert newest is not None
        assert newest.model_id == model_id
    world.close()


def test_scopes_only_rise_and_withdrawals_may_come_first(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    models = world.nodes["lender"].models
    artefact = world.artefact()
    model_id = world.release(artefact, scope="evaluation")
    with pytest.raises(PolicyRefusal) as caught:
        models.require(model_id)
    assert caught.value.reason == "model-not-released"
    world.release(artefact)
    world.release(artefact, scope="evaluation")
    assert models.require(model_id).usable
    other = world.artefact(1)
    world.withdraw(other.model_id)
    assert models.get(other.model_id) is None
    world.release(other)
    with pytest.raises(PolicyRefusal):
        models.require(other.model_id)
    assert [listed.withdrawn for listed in models.list() if listed.model_id == other.model_id] == [True]
    world.close()


def encoder_artefact(world: ScoringWorld, **changes: object) -> ModelArtefact:
    spec = spec_for(world.schema, "bank")
    rng = np.random.default_rng(3)
    parameters = rng.normal(size=spec.n_parameters)
    entry = EncoderEntry.of("bank", canonical_bytes(spec).decode(), parameters, encoder_feature_edges())
    values = {
        "model_type": "encoder",
        "scorecard": None,
        "table_digest": None,
        "encoder": entry.model_copy(update=changes),
    }
    return world.artefact(**values)  # type: ignore[arg-type]


def test_an_encoder_is_scored_where_the_rows_are(world: ScoringWorld) -> None:
    model_id = world.release(encoder_artefact(world))
    bank = world.nodes["bank-01"]
    outcomes = ask_all(bank, [Enquiry("M001"), Enquiry("M004"), Enquiry("M003")], model_id=model_id)
    scores = [each.answer and each.answer.score for each in outcomes]
    encoder = released_encoder(bank.models, model_id)
    table = bank.runtime.dataset(world.schema.hash())
    assert table is not None
    expected = [score_of_probability(float(pd)) for pd in encoder.default_probability(table.codes)]
    assert scores == [expected[0], None, expected[2]]
    feature = encoder.codes(table.codes)
    assert feature.shape == (4,)
    assert feature.max() < encoder.width
    assert outcomes[0].answer is not None
    assert outcomes[0].answer.proof is None
    with pytest.raises(PolicyRefusal):  # a tax office holds no bank's rows
        world.nodes["tax-01"].enquiries.score(Enquiry("M001"), model_id=model_id)
    assert world.codes("bank-01", world.request(world.give(world.newcomer()), model_id)) == ["model-unknown"]


@pytest.mark.parametrize("changes", [{"spec": "{}"}, {"edges": (0.0,)}, {"kind": "tax"}])
def test_encoders_that_do_not_fit_are_refused(world: ScoringWorld, changes: dict[str, object]) -> None:
    with pytest.raises(ArtefactError):
        ReleasedEncoder.of(encoder_artefact(world, **changes))
    with pytest.raises(ArtefactError):
        ReleasedEncoder.of(world.artefact())


def test_an_unreleased_encoder_is_no_feature(world: ScoringWorld) -> None:
    with pytest.raises(ArtefactError, match="released no encoder"):
        released_encoder(world.nodes["bank-01"].models, f"sha256:{'1' * 64}")
    with pytest.raises(PeerError):
        world.nodes["bank-01"].runtime.hub.request("GET", "/v1/models/none")


def test_the_public_scale_of_probabilities() -> None:
    assert score_of_probability(0.05) == 600
    odds = 0.05 / 0.95
    assert score_of_probability(odds / 2 / (1 + odds / 2)) == 640
    assert (score_of_probability(0.0), score_of_probability(1.0)) == (850, 300)
