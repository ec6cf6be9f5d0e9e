"""What hub, requester and sources see of queries: no score and no points at the hub, the sum alone at the requester.

Keys, nonces and boxes come from the operating system, so a classifier's 99 % interval leaves out one half in one draw
of a hundred. It fails a test only where four independent draws say so: right masks do that once in a hundred million
runs, for each of the eight pairs of a view and a classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from crypto.canonical import digest
from crypto.jws import parse_canonical
from crypto.score_masks import open_points
from crypto.sealed import OVERHEAD_BYTES, open_sealed
from crypto.wire.consent import ConsentRecord, DataCategory, Frequency
from crypto.wire.scoring import ANSWER_BYTES_PER_ITEM, AnswerBody, ScoreItem, SourceAnswer
from nodes.scoring import answer_context
from tests.scoring_world import SOURCES, ScoringWorld, answer_of
from tests.views.figures import guess_worlds

WITH_RECORD, WITHOUT = "M001", "M004"
"""A merchant with a row at every source, and one with none anywhere."""
SOURCE = "bank-01"
"""Names one feature as a reason for the merchant with a record, and two for the other: bodies differ in size."""
REQUESTS = 240
ITEMS = 500
DRAWS = 4
Seen = TypeVar("Seen")


class Draws(Generic[Seen]):
    """Independent draws of what is seen, made when they are asked for."""

    def __init__(self, draw: Callable[[], Seen]) -> None:
        self._draw = draw
        self._kept: list[Seen] = []

    def first(self) -> Seen:
        return self._get(0)

    def nothing_is_learnt(self, views: Callable[[Seen], tuple[NDArray[np.float64], NDArray[np.int64]]]) -> bool:
        """Whether the interval of every classifier's accuracy holds one half, in one of the draws."""
        return all(any(self._holds(model, views(self._get(number))) for number in range(DRAWS)) for model in MODELS)

    def _get(self, number: int) -> Seen:
        while len(self._kept) <= number:
            self._kept.append(self._draw())
        return self._kept[number]

    @staticmethod
    def _holds(model: Callable[[], Any], seen: tuple[NDArray[np.float64], NDArray[np.int64]]) -> bool:
        low, high = guess_worlds(model(), *seen).interval
        return low <= 0.5 <= high


class Relayed(NamedTuple):
    """Answers of one source about either merchant; which it was; sizes of bodies without padding."""

    answers: list[bytes]
    which: NDArray[np.int64]
    bare: list[int]


class Asked(NamedTuple):
    """Masked points by source as the requester opens them, and which merchant each is about."""

    words: dict[str, NDArray[np.uint32]]
    which: NDArray[np.int64]


def trees() -> LGBMClassifier:
    return LGBMClassifier(n_estimators=40, num_leaves=7, n_jobs=1, random_state=0, verbose=-1)


def line() -> LogisticRegression:
    return LogisticRegression(C=0.1, max_iter=500)


MODELS: tuple[Callable[[], Any], ...] = (line, trees)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    made = ScoringWorld(tmp_path_factory.mktemp("queries"))
    made.release()
    yield made
    made.close()


def consent(world: ScoringWorld, merchant: str, *, reasons: bool) -> ConsentRecord:
    categories = (*SOURCES, "reasons") if reasons else tuple(SOURCES)
    return world.give(
        merchant,
        frequency=Frequency(count=100_000, per="day"),
        pii_information=tuple(DataCategory(category=each, data_class="C2") for each in categories),
    )


def request(world: ScoringWorld, records: list[ConsentRecord]) -> str:
    items = tuple(
        ScoreItem(pseudonym=each.pii_principal_id, consent_id=each.record_id, sources=dict(each.sources))
        for each in records
    )
    return world.request(records[0], world.artefact().model_id, items=items)


def opened(world: ScoringWorld, source: str, token: str, answer: bytes) -> bytes:
    """A sealed body as the requester opens it."""
    context = answer_context(digest(token.encode()), source)
    return open_sealed(answer_of(answer).sealed, world.nodes["lender"].runtime.box, context=context)


# The hub: it relays answers.


@pytest.fixture(scope="module")
def relayed(world: ScoringWorld) -> Draws[Relayed]:
    """Answers of one source about either merchant, in random order."""

    def draw() -> Relayed:
        world.heartbeat()
        records = [consent(world, merchant, reasons=True) for merchant in (WITHOUT, WITH_RECORD)]
        which = np.random.default_rng(3).permutation(np.arange(REQUESTS) % 2)
        answers, bare = [], []
        for place in which:
            token = request(world, [records[place]])
            answers.append(world.answer(SOURCE, token))
            bare.append(len(opened(world, SOURCE, token, answers[-1]).rstrip(b" ")))
        return Relayed(answers, which, bare)

    return Draws(draw)


def test_an_answer_has_the_same_size_and_open_parts_whoever_it_is_about(relayed: Draws[Relayed]) -> None:
    answers, which, bare = relayed.first()
    assert len({len(each) for each in answers}) == 1
    read = [answer_of(each) for each in answers]
    assert {len(each.sealed) for each in read} == {ANSWER_BYTES_PER_ITEM + OVERHEAD_BYTES}
    open_parts = {each.model_copy(update={"sealed": b"", "request_hash": bytes(32)}) for each in read}
    assert open_parts == {
        SourceAnswer(suite="digua-1", request_hash=bytes(32), source=SOURCE, answered=(0,), refusals=(), sealed=b"")
    }
    # Without padding the two would be told apart by how many reasons they get.
    sizes = np.array(bare)
    assert sizes[which == 0].min() > sizes[which == 1].max()


def test_a_classifier_learns_nothing_from_answers_that_the_hub_relays(relayed: Draws[Relayed]) -> None:
    def sealed(seen: Relayed) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        boxes = [np.frombuffer(answer_of(each).sealed, dtype=np.uint8) for each in seen.answers]
        return np.stack(boxes).astype(float) / 255, seen.which

    assert relayed.nothing_is_learnt(sealed)
    _, which, bare = relayed.first()
    assert guess_worlds(trees(), np.array(bare, dtype=float)[:, None], which).interval[0] > 0.9


def test_refusals_do_not_depend_on_whether_there_is_a_record(world: ScoringWorld) -> None:
    world.heartbeat()
    for change in ("paused", "revoked"):
        codes = []
        for merchant in (WITHOUT, WITH_RECORD):
            record = consent(world, merchant, reasons=True)
            world.change(record, change, merchant=merchant)
            codes.append([world.codes(source, request(world, [record])) for source in SOURCES.values()])
        assert codes[0] == codes[1] == [[f"consent-{change}"]] * 3


# The requester: it opens all answers.


@pytest.fixture(scope="module")
def asked(world: ScoringWorld) -> Draws[Asked]:
    """Of one request about both merchants many times."""

    def draw() -> Asked:
        world.heartbeat()
        records = [consent(world, merchant, reasons=False) for merchant in (WITHOUT, WITH_RECORD)]
        which = np.random.default_rng(4).permutation(np.arange(ITEMS) % 2)
        token = request(world, [records[place] for place in which])
        words = {}
        for source in SOURCES.values():
            body = opened(world, source, token, world.answer(source, token))
            items = parse_canonical(body.rstrip(b" "), AnswerBody).items
            assert {each.reasons for each in items} == {()}
            words[source] = np.array([each.masked_points for each in items], dtype=np.uint32)
        return Asked(words, which)

    return Draws(draw)


@pytest.mark.parametrize("left_out", list(SOURCES.values()))
def test_the_requester_learns_nothing_from_fewer_answers_than_all(asked: Draws[Asked], left_out: str) -> None:
    def others(seen: Asked) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        words = [each.view(np.int32) for source, each in seen.words.items() if source != left_out]
        view = np.stack(words, axis=1) / 2**31
        return np.concatenate([view, view.sum(axis=1, keepdims=True)], axis=1), seen.which

    assert asked.nothing_is_learnt(others)


def test_all_answers_together_are_the_sum_and_nothing_besides(asked: Draws[Asked], world: ScoringWorld) -> None:
    words, which = asked.first()
    sums = np.array([open_points([int(word) for word in each]) for each in zip(*words.values(), strict=True)])
    for place in (0, 1):  # one merchant: one sum, however often it is asked, and other words every time
        assert len(set(sums[which == place])) == 1
    # Of 500 words of 32 bits two are alike once in 34,000 runs, and a second pair once in 10^9.
    assert all(len(set(each.tolist())) >= ITEMS - 1 for each in words.values())
    assert guess_worlds(trees(), sums[:, None].astype(float), which).interval[0] > 0.9
    card = world.artefact().card()
    assert set(sums[which == 0]) == {sum(card.absent[kind] for kind in SOURCES)}
