"""Batches: stored whole, asked once whatever breaks, and told apart merchant by merchant."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from crypto.jws import peek_payload
from crypto.wire.consent import ConsentRecord, Frequency
from crypto.wire.scoring import ScoreRequest
from nodes import batches as module
from nodes.batch_book import AGAIN, BatchProgress
from nodes.batch_files import COLUMNS, result_lines, write_results
from nodes.batches import Batches
from nodes.enquiries import Enquiry, Outcome
from nodes.errors import BatchBusy, BatchError, BatchUnknown, PeerError
from nodes.tables.batches import BatchItemRow, BatchRequestRow, BatchRow
from nodes.tables.scoring import UseRow
from tests.scoring_answers import ask_all, expected_score
from tests.scoring_world import SOURCES, ScoringWorld

SOURCE = "tax-01"


class Crash(BaseException):
    """The process ends here: nothing of the product catches it."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, str]]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    yield world, world.release()
    world.close()


@pytest.fixture
def world(shared: tuple[ScoringWorld, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScoringWorld]:
    """Two merchants are a request; nothing was asked yet."""
    world = shared[0]
    world.heartbeat()
    world.relay.seen.clear()
    monkeypatch.setattr(module, "MAX_ITEMS", 2)
    yield world
    world.relay.before = world.relay.after = lambda request: None
    world.relay.lost = set()


@pytest.fixture
def model_id(shared: tuple[ScoringWorld, str]) -> str:
    return shared[1]


@pytest.fixture
def five(world: ScoringWorld) -> dict[str, ConsentRecord]:
    return customers(world, 5)


def customers(world: ScoringWorld, number: int, **changes: object) -> dict[str, ConsentRecord]:
    """New merchants that the lender knows, with their consents."""
    found = {}
    for _ in range(number):
        merchant = world.newcomer()
        world.know("lender", merchant)
        found[merchant] = world.give(merchant, **changes)
    return found


def batches(world: ScoringWorld) -> Batches:
    return world.nodes["lender"].batches


def create(world: ScoringWorld, ids: list[str] | dict[str, ConsentRecord], *, model_id: str, text: str = "0") -> str:
    return batches(world).create(map(Enquiry, ids), source_sha256=text * 64, model_id=model_id)


def outcomes(world: ScoringWorld, batch_id: str) -> list[Outcome]:
    return list(batches(world).outcomes(batch_id))


def codes(world: ScoringWorld, batch_id: str) -> list[str | None]:
    return [each.code for each in outcomes(world, batch_id)]


def requests(world: ScoringWorld) -> list[bytes]:
    """Nonces of the requests that a source received, each once, in order."""
    return list(dict.fromkeys(request.nonce for source, request in world.relay.seen if source == SOURCE))


def stored(world: ScoringWorld, batch_id: str) -> list[bytes]:
    """Nonces of the requests that the batch keeps."""
    query = select(BatchRequestRow.token).where(BatchRequestRow.batch_id == batch_id)
    with world.nodes["lender"].runtime.store.reading() as session:
        tokens = session.scalars(query).all()
    return [ScoreRequest.model_validate_json(peek_payload(token)).nonce for token in tokens]


def uses(world: ScoringWorld, records: dict[str, ConsentRecord]) -> list[int]:
    """How often each consent was used, by a source's own count."""
    with world.nodes[SOURCE].runtime.store.reading() as session:
        query = select(func.count()).select_from(UseRow)
        return [session.scalar(query.where(UseRow.record_id == each.record_id)) or 0 for each in records.values()]


def rows(world: ScoringWorld) -> tuple[int, ...]:
    with world.nodes["lender"].runtime.store.reading() as session:
        tables = (BatchRow, BatchItemRow, BatchRequestRow)
        return tuple(session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def test_a_whole_batch_is_asked_in_order_with_progress(
    world: ScoringWorld, five: dict[str, ConsentRecord], model_id: str
) -> None:
    seen: list[BatchProgress] = []
    made = create(world, five, model_id=model_id)
    ended = batches(world).run(made, seen.append)
    assert [now.done for now in seen] == [0, 2, 4, 5]
    assert [now.state for now in seen] == ["running"] * 3 + ["finished"]
    assert (ended.total, ended.scored, ended.refused, ended.model_id) == (5, 5, {}, model_id)
    assert [each.id for each in outcomes(world, made)] == list(five)
    scores = [each.answer and each.answer.score for each in outcomes(world, made)]
    assert scores == [expected_score(world, merchant) for merchant in five]
    assert len(requests(world)) == 3
    assert uses(world, five) == [1] * 5
    assert batches(world).run(made) == ended  # a finished batch asks nobody
    assert len(requests(world)) == 3


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_outcomes_are_csv_in_both_languages(world: ScoringWorld, model_id: str, lang: str, tmp_path: Path) -> None:
    known, paused = customers(world, 1), customers(world, 1)
    (other,) = paused
    world.change(paused[other], "paused", merchant=other)
    world.know("lender", world.newcomer())
    stranger = f"N{world._newcomers:03}"
    lender = world.nodes["lender"]
    made = create(world, [*known, other, stranger], model_id=model_id)
    lender.batches.run(made)

    def sentences(outcome: Outcome) -> list[str]:
        return [] if outcome.answer is None else lender.enquiries.reason_texts(outcome.answer, lang)

    out = tmp_path / "scores.csv"
    write_results(result_lines(lender.batches.outcomes(made), "zh" if lang == "zh" else "en", sentences), out)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]
    names, first, second, third = csv.reader(io.StringIO(out.read_bytes().decode("utf-8-sig")))
    answer = outcomes(world, made)[0].answer
    assert answer is not None
    assert answer.proof is not None
    if lang == "zh":
        assert names == ["商户标识", "评分", "违约概率", "等级", "原因", "代码", "参与方", "说明", "日志条目"]
        assert [row[7] for row in (second, third)] == ["授权已暂停", "没有对应的授权"]
    else:
        assert names == list(COLUMNS)
        assert [row[7] for row in (second, third)] == ["The consent is paused", "There is no such consent"]
    assert first[:4] == [*known, str(answer.score), f"{answer.pd:.6f}", str(answer.band)]
    assert first[4].count("；" if lang == "zh" else "; ") == len(answer.reasons) - 1
    assert first[5:] == ["", "", "", str(answer.proof.index)]
    assert [row[:2] for row in (second, third)] == [[other, ""], [stranger, ""]]
    assert [row[5] for row in (second, third)] == ["consent-paused", "consent-unknown"]
    with pytest.raises(BatchError, match="cannot be written"):
        write_results(iter(["x"]), tmp_path / "absent" / "scores.csv")


def test_a_refusing_source_is_named(world: ScoringWorld, five: dict[str, ConsentRecord], model_id: str) -> None:
    world.relay.lost = {SOURCE}
    made = create(world, five, model_id=model_id)
    ended = batches(world).run(made)
    assert (ended.scored, ended.refused) == (0, {"source-unreachable": 5})
    (line, *_) = list(result_lines(batches(world).outcomes(made), "en", lambda _: []))[1:]
    assert ",source-unreachable,tax-01," in line
    world.relay.lost = set()
    assert batches(world).ask_again(made) == 5
    assert batches(world).progress(made).state == "running"
    assert batches(world).run(made).scored == 5
    assert batches(world).ask_again(made) == 0
    assert uses(world, five) == [1] * 5  # the source that was away had counted nothing


# nothing is stored by halves


def broken(merchants: list[str]) -> Iterator[Enquiry]:
    yield from map(Enquiry, merchants)
    raise Crash


def test_what_breaks_while_a_batch_is_stored_leaves_nothing(world: ScoringWorld, model_id: str) -> None:
    before = rows(world)
    with pytest.raises(Crash):
        batches(world).create(broken(["a", "b", "c"]), source_sha256="0" * 64, model_id=model_id)
    with pytest.raises(BatchError, match=r"row 1200, column id: the merchant is already in row 3"):
        create(world, [*(f"m{number}" for number in range(1199)), "M2"], model_id=model_id)
    with pytest.raises(BatchError, match="no merchants"):
        create(world, [], model_id=model_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nodes.batch_book.MAX_BATCH", 1000)
        with pytest.raises(BatchError, match="more than 1000 merchants"):
            create(world, [f"m{number}" for number in range(1001)], model_id=model_id)
    assert rows(world) == before


# whatever breaks, nobody is asked twice


def crash_planned(world: ScoringWorld, patch: pytest.MonkeyPatch) -> None:
    """B2: signed, and not stored."""
    plan = world.nodes["lender"].enquiries.plan
    made: list[object] = []

    def planned(*args: object, **kwargs: object) -> object:
        found = plan(*args, **kwargs)  # type: ignore[arg-type]
        made.append(found)
        if len(made) == 2:
            raise Crash
        return found

    patch.setattr(world.nodes["lender"].enquiries, "plan", planned)


def at_second(world: ScoringWorld) -> Iterator[None]:
    yield
    raise Crash


def crash_before(world: ScoringWorld, _patch: pytest.MonkeyPatch) -> None:
    """B3: stored, and not sent."""
    calls = at_second(world)
    world.relay.before = lambda request: next(calls)


def crash_answered(world: ScoringWorld, _patch: object = None) -> None:
    """B3: the hub answered, and the answer is lost."""
    calls = at_second(world)
    world.relay.after = lambda request: next(calls)


def crash_keeping(world: ScoringWorld, patch: pytest.MonkeyPatch) -> None:
    """B3: the answers are written, and not committed."""
    keep = module._keep
    calls: list[int] = []

    def kept(*args: object) -> None:
        keep(*args)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 4:  # planned, kept, planned, kept
            raise Crash

    patch.setattr(module, "_keep", kept)


def crash_ending(world: ScoringWorld, patch: pytest.MonkeyPatch) -> None:
    """All are done, and the batch is not finished."""

    def end(*_: object) -> None:
        raise Crash

    patch.setattr(Batches, "_end", end)


@pytest.mark.parametrize(
    ("crash", "done", "requested", "kept"),
    [
        (crash_planned, 2, 1, 0),
        (crash_before, 2, 1, 1),
        (crash_answered, 2, 2, 1),
        (crash_keeping, 2, 2, 1),
        (crash_ending, 5, 3, 0),
    ],
)
def test_after_a_crash_nobody_is_asked_under_a_new_request(
    world: ScoringWorld,
    five: dict[str, ConsentRecord],
    model_id: str,
    crash: object,
    done: int,
    requested: int,
    kept: int,
) -> None:
    made = create(world, five, model_id=model_id)
    with pytest.MonkeyPatch.context() as patch:
        assert callable(crash)
        crash(world, patch)
        with pytest.raises(Crash):
            batches(world).run(made)
    world.relay.before = world.relay.after = lambda request: None
    sent, under_way = requests(world), stored(world, made)
    assert (len(sent), len(under_way)) == (requested, kept)
    world.reopen("lender")
    assert batches(world).progress(made).done == done
    assert batches(world).progress(made).state == "running"
    world.pass_time(minutes=4)  # the request that was under way has not expired
    ended = batches(world).run(made)
    assert (ended.state, ended.scored) == ("finished", 5)
    assert requests(world)[:requested] == sent
    assert len(requests(world)) == 3
    assert set(under_way) <= set(requests(world))
    assert stored(world, made) == []
    assert uses(world, five) == [1] * 5
    scores = [each.answer and each.answer.score for each in outcomes(world, made)]
    assert scores == [expected_score(world, merchant) for merchant in five]


def test_an_expired_request_is_not_made_anew_by_itself(world: ScoringWorld, model_id: str) -> None:
    five = customers(world, 5, frequency=Frequency(count=2, per="day"))
    made = create(world, five, model_id=model_id)
    crash_answered(world)
    with pytest.raises(Crash):
        batches(world).run(made)
    world.relay.after = lambda request: None
    world.reopen("lender")
    world.pass_time(minutes=5)
    ended = batches(world).run(made)
    assert (ended.scored, ended.refused) == (3, {"answer-expired": 2})
    assert codes(world, made) == [None, None, "answer-expired", "answer-expired", None]
    assert len(requests(world)) == 3
    assert uses(world, five) == [1] * 5
    # Its owner has them asked again, and again: that counts, and ends at the consents' frequency.
    assert batches(world).ask_again(made) == 2
    assert batches(world).run(made).scored == 5
    assert uses(world, five) == [1, 1, 2, 2, 1]
    again = ask_all(world.nodes["lender"], map(Enquiry, five), model_id=model_id)
    assert [each.code for each in again] == [None, None, "frequency-exceeded", "frequency-exceeded", None]
    assert "frequency-exceeded" not in AGAIN


def hub_gone(request: ScoreRequest) -> None:
    raise httpx.ConnectError("refused")


def hub_failing(request: ScoreRequest) -> httpx.Response:
    return httpx.Response(500, text="oops")


@pytest.mark.parametrize(("failure", "code"), [(hub_gone, "hub-unreachable"), (hub_failing, "hub-failed")])
def test_a_hub_that_fails_stops_a_batch_which_goes_on(
    world: ScoringWorld, five: dict[str, ConsentRecord], model_id: str, failure: object, code: str
) -> None:
    made = create(world, five, model_id=model_id)
    stages = iter([lambda request: None])

    def second_fails(request: ScoreRequest) -> httpx.Response | None:
        stage = next(stages, failure)
        assert callable(stage)
        response: httpx.Response | None = stage(request)
        return response

    world.relay.before = second_fails
    with pytest.raises(PeerError) as caught:
        batches(world).run(made)
    assert caught.value.peer_code == code
    assert batches(world).progress(made).done == 2
    world.relay.before = lambda request: None
    assert batches(world).run(made).scored == 5
    assert uses(world, five) == [1] * 5
    assert len(requests(world)) == 3


def test_a_model_that_is_withdrawn_gives_no_more_scores(world: ScoringWorld, five: dict[str, ConsentRecord]) -> None:
    model_id = world.release(world.artefact(5))
    made = create(world, five, model_id=model_id)
    crash_answered(world)
    with pytest.raises(Crash):
        batches(world).run(made)
    world.relay.after = lambda request: None
    world.withdraw(model_id)
    ended = batches(world).run(made)
    assert (ended.state, ended.scored, ended.refused) == ("finished", 2, {"model-not-released": 3})
    assert len(requests(world)) == 2


def test_a_batch_does_not_go_on_with_a_model_that_was_rolled_back(
    world: ScoringWorld, five: dict[str, ConsentRecord]
) -> None:
    older, model_id = world.release(world.artefact(6)), world.release(world.artefact(7))
    made = create(world, five, model_id=model_id)
    crash_answered(world)
    with pytest.raises(Crash):
        batches(world).run(made)
    world.relay.after = lambda request: None
    world.roll_back(world.rollback_item(older, model_id, serial=1))
    ended = batches(world).run(made)
    assert (ended.state, ended.refused["model-rolled-back"]) == ("finished", 5 - ended.scored)
    again = create(world, five, model_id=older)
    assert batches(world).run(again).scored == 5


def test_model_versions_are_counted_over_batches(world: ScoringWorld) -> None:
    one = customers(world, 1)
    found: list[str | None] = []
    for number in range(10, 14):
        model_id = world.release(world.artefact(number))
        (outcome,) = ask_all(world.nodes["lender"], map(Enquiry, one), model_id=model_id)
        found.append(outcome.code)
    assert found == [None, None, None, "model-versions-exceeded"]
    assert outcome.answer is not None
    assert outcome.answer.refusals == dict.fromkeys(SOURCES.values(), "model-versions-exceeded")
    assert uses(world, one) == [3]


# one at a time, and stopped by its owner


def test_a_batch_is_worked_on_by_one_process(
    world: ScoringWorld, five: dict[str, ConsentRecord], model_id: str
) -> None:
    made = create(world, five, model_id=model_id)
    lender = world.nodes["lender"]
    second = Batches(lender.runtime.store, lender.enquiries, folder=lender.runtime.config.data_dir, clock=world.clock)
    with second.alone(made):
        with pytest.raises(BatchBusy):
            batches(world).run(made)
        with pytest.raises(BatchBusy):
            batches(world).forget(made)
    assert requests(world) == []
    assert batches(world).run(made).scored == 5
    before = rows(world)
    batches(world).forget(made)
    assert rows(world) == (before[0] - 1, before[1] - 5, before[2])
    assert not list(lender.runtime.config.data_dir.glob(f"batch-{made}*"))
    for call in (batches(world).run, batches(world).forget, batches(world).ask_again, batches(world).progress):
        with pytest.raises(BatchUnknown):
            call(made)


def test_merchants_asked_again_at_the_last_moment_are_not_left_out(
    world: ScoringWorld, model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = customers(world, 1)
    made = create(world, one, model_id=model_id)
    world.relay.lost = {SOURCE}
    ask_next = Batches._ask_next

    def then_again(self: Batches, batch_id: str) -> bool:
        asked = ask_next(self, batch_id)
        if not asked and world.relay.lost:
            world.relay.lost = set()
            assert self.ask_again(batch_id) == 1
        return asked

    monkeypatch.setattr(Batches, "_ask_next", then_again)
    ended = batches(world).run(made)
    assert (ended.state, ended.scored) == ("finished", 1)


def test_the_newest_batch_of_the_same_bytes_is_found(world: ScoringWorld, model_id: str) -> None:
    made = [create(world, ["x"], model_id=model_id, text="a") for _ in range(5)]
    batches(world).create(iter([Enquiry("x")]), source_sha256="a" * 64, model_id=model_id, key="a-gateway-key")
    found = batches(world).find("a" * 64, purpose="credit-scoring")
    assert found is not None
    assert found.batch_id == made[-1]
    assert batches(world).find("a" * 64, purpose="credit-scoring", model_id=f"sha256:{'0' * 64}") is None
    assert batches(world).find("b" * 64, purpose="credit-scoring") is None
    assert set(made) <= set(batches(world).unfinished(keyed=False))
    assert len(batches(world).unfinished(keyed=True)) == 1


def test_a_paused_batch_asks_nobody_until_it_goes_on(
    world: ScoringWorld, five: dict[str, ConsentRecord], model_id: str
) -> None:
    book = batches(world)
    made = create(world, five, model_id=model_id)
    seen: list[BatchProgress] = []

    def pause_at_once(now: BatchProgress) -> None:
        seen.append(now)
        book.pause(made)

    paused = book.run(made, pause_at_once)
    assert (paused.state, paused.done, len(seen)) == ("paused", 4, 2)  # those under way got their answers
    assert not stored(world, made)
    assert made not in book.unfinished(keyed=False)
    assert book.run(made).done == 4
    book.resume(made)
    assert made in book.unfinished(keyed=False)
    assert book.run(made).state == "finished"
    book.pause(made)
    assert book.progress(made).state == "finished"
    assert book.recent(1) == [made]
    assert book.count() == len(book.recent(100))
