"""Single scores that come together share a request; what is wrong with one is no other's matter."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest

from crypto.errors import IdentifierError
from crypto.wire.scoring import ScoreAnswer, ScoreRequest
from nodes.enquiries import Enquiry
from nodes.errors import PeerError, PolicyRefusal, ScoreUnavailable
from nodes.joint_scores import JointScores
from nodes.requester import QUERY_ENDED, QUERY_SENT
from tests.scoring_answers import expected_score
from tests.scoring_world import MERCHANTS, ScoringWorld

PATIENCE = 60


class Gate:
    """Holds back the first request at the hub until the others wait."""

    def __init__(self, world: ScoringWorld) -> None:
        self.asked: list[ScoreRequest] = []
        self.refuse: str | None = None
        self._arrived, self._open = threading.Event(), threading.Event()
        world.relay.before = self._before

    def _before(self, request: ScoreRequest) -> httpx.Response | None:
        self.asked.append(request)
        if len(self.asked) == 1:
            self._arrived.set()
            assert self._open.wait(PATIENCE)
        elif self.refuse is not None and len(request.items) > 1:
            return httpx.Response(409, json={"code": self.refuse, "title": "Refused"})
        return None

    def wait_for_the_first(self) -> bool:
        return self._arrived.wait(PATIENCE)

    def let_go(self) -> None:
        self._open.set()

    def ask(
        self, joint: JointScores, enquiries: Sequence[Enquiry], give_up: Sequence[int] = ()
    ) -> list[Future[ScoreAnswer]]:
        """Ask for all; those after the first are asked for while it is under way, and some give up meanwhile."""
        first = joint.ask(enquiries[0], purpose="credit-scoring", model_id=None)
        assert self.wait_for_the_first()
        others = [joint.ask(each, purpose="credit-scoring", model_id=None) for each in enquiries[1:]]
        for place in give_up:
            assert others[place - 1].cancel()
        self.let_go()
        return [first, *others]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path)
    world.release()
    yield world
    world.close()


def joint_of(world: ScoringWorld) -> JointScores:
    return JointScores(world.nodes["lender"].enquiries, lanes=1, lane_s=PATIENCE)


def test_scores_that_wait_for_a_lane_share_one_request(world: ScoringWorld) -> None:
    for merchant in MERCHANTS:
        world.give(merchant)
    gate = Gate(world)
    found = gate.ask(joint_of(world), [Enquiry(each) for each in MERCHANTS])
    assert [each.result(PATIENCE).score for each in found] == [expected_score(world, each) for each in MERCHANTS]
    assert [len(request.items) for request in gate.asked] == [1, len(MERCHANTS) - 1]
    proofs = [each.result().proof for each in found]
    assert len({proof.index for proof in proofs if proof is not None}) == len(MERCHANTS)
    journal = world.nodes["lender"].journal
    assert len(list(journal.of_types(QUERY_SENT))) == len(list(journal.of_types(QUERY_ENDED))) == 2


def test_a_source_hears_of_no_merchant_in_whom_it_has_no_part(world: ScoringWorld) -> None:
    pair = {"bank": "bank-01", "tax": "tax-01"}
    world.give(MERCHANTS[0])
    world.give(MERCHANTS[1])
    world.give(MERCHANTS[2], sources=pair)
    found = Gate(world).ask(joint_of(world), [Enquiry(each) for each in MERCHANTS[:3]])
    assert all(each.result(PATIENCE).score for each in found)
    for source, request in world.relay.seen:
        assert all(source in item.sources.values() for item in request.items)


def test_whoever_cannot_be_asked_for_learns_it_and_the_others_get_their_scores(world: ScoringWorld) -> None:
    for merchant in MERCHANTS[:3]:
        world.give(merchant)
    enquiries = [
        Enquiry(MERCHANTS[0]),
        Enquiry(MERCHANTS[1]),
        Enquiry(MERCHANTS[2], "0" * 32),
        Enquiry(MERCHANTS[3]),
        Enquiry(" "),
    ]
    first, second, unknown, without, malformed = Gate(world).ask(joint_of(world), enquiries)
    assert first.result(PATIENCE).score == expected_score(world, MERCHANTS[0])
    assert second.result(PATIENCE).score == expected_score(world, MERCHANTS[1])
    for each in (unknown, without):
        with pytest.raises(PolicyRefusal) as refusal:
            each.result(PATIENCE)
        assert refusal.value.reason == "consent-unknown"
    with pytest.raises(IdentifierError):
        malformed.result(PATIENCE)


def test_a_consent_that_was_scored_under_and_is_revoked_gives_no_more_scores(world: ScoringWorld) -> None:
    """What a consent says is kept in memory; where it stands is not."""
    records = [world.give(each) for each in MERCHANTS[:3]]
    enquiries = [Enquiry(each, record.record_id) for each, record in zip(MERCHANTS, records, strict=False)]
    before = Gate(world).ask(joint_of(world), enquiries)
    assert all(each.result(PATIENCE).score for each in before)
    world.change(records[1], "revoked", merchant=MERCHANTS[1])
    first, revoked, third = Gate(world).ask(joint_of(world), enquiries)
    assert first.result(PATIENCE).score == expected_score(world, MERCHANTS[0])
    assert third.result(PATIENCE).score == expected_score(world, MERCHANTS[2])
    with pytest.raises(ScoreUnavailable) as refusal:
        revoked.result(PATIENCE)
    assert set(refusal.value.refusals.values()) == {"consent-revoked"}
    world.pass_time(days=61)
    world.heartbeat()
    with pytest.raises(ScoreUnavailable) as expired:
        joint_of(world).ask(enquiries[0], purpose="credit-scoring", model_id=None).result(PATIENCE)
    assert set(expired.value.refusals.values()) == {"consent-expired"}


def test_a_merchant_is_in_a_request_once_and_each_score_counts_as_a_use(world: ScoringWorld) -> None:
    world.give(MERCHANTS[0])
    world.give(MERCHANTS[1], fetch_type="ONETIME")
    gate = Gate(world)
    found = gate.ask(joint_of(world), [Enquiry(MERCHANTS[0]), Enquiry(MERCHANTS[1]), Enquiry(MERCHANTS[1])])
    assert found[1].result(PATIENCE).score == expected_score(world, MERCHANTS[1])
    with pytest.raises(ScoreUnavailable) as refusal:
        found[2].result(PATIENCE)
    assert set(refusal.value.refusals.values()) == {"frequency-exceeded"}
    assert [len(request.items) for request in gate.asked] == [1, 1, 1]


@pytest.mark.parametrize(("code", "again"), [("recipient-not-consented", True), ("checkpoint-not-cosigned", False)])
def test_only_a_request_that_no_source_saw_is_made_anew(world: ScoringWorld, code: str, again: bool) -> None:
    """What the hub may have logged and the sources answered has used the consents."""
    for merchant in MERCHANTS[:3]:
        world.give(merchant)
    gate = Gate(world)
    gate.refuse = code
    first, *others = gate.ask(joint_of(world), [Enquiry(each) for each in MERCHANTS[:3]])
    assert first.result(PATIENCE).score == expected_score(world, MERCHANTS[0])
    if again:
        scores = [each.result(PATIENCE).score for each in others]
        assert scores == [expected_score(world, each) for each in MERCHANTS[1:3]]
        assert [len(request.items) for request in gate.asked] == [1, 2, 1, 1]
        return
    for each in others:
        with pytest.raises(PeerError) as refusal:
            each.result(PATIENCE)
        assert refusal.value.peer_code == code
    assert [len(request.items) for request in gate.asked] == [1, 2]


def test_as_many_requests_are_under_way_as_there_are_lanes(world: ScoringWorld) -> None:
    for merchant in MERCHANTS[:4]:
        world.give(merchant)
    asked: list[int] = []
    both, opened = threading.Barrier(3), threading.Event()

    def before(request: ScoreRequest) -> None:
        asked.append(len(request.items))
        if len(asked) <= 2:
            both.wait(PATIENCE)
            assert opened.wait(PATIENCE)

    world.relay.before = before
    joint = JointScores(world.nodes["lender"].enquiries, lanes=2, lane_s=PATIENCE)
    found = [joint.ask(Enquiry(each), purpose="credit-scoring", model_id=None) for each in MERCHANTS[:2]]
    both.wait(PATIENCE)
    found += [joint.ask(Enquiry(each), purpose="credit-scoring", model_id=None) for each in MERCHANTS[2:4]]
    opened.set()
    assert [each.result(PATIENCE).score for each in found] == [expected_score(world, each) for each in MERCHANTS[:4]]
    assert asked == [1, 1, 2]


def test_one_that_takes_long_gives_up_its_lane(world: ScoringWorld) -> None:
    for merchant in MERCHANTS[:2]:
        world.give(merchant)
    gate, joint = Gate(world), JointScores(world.nodes["lender"].enquiries, lanes=1, lane_s=0.05)
    slow = joint.ask(Enquiry(MERCHANTS[0]), purpose="credit-scoring", model_id=None)
    assert gate.wait_for_the_first()
    other = joint.ask(Enquiry(MERCHANTS[1]), purpose="credit-scoring", model_id=None)
    assert other.result(PATIENCE).score == expected_score(world, MERCHANTS[1])
    assert not slow.done()
    gate.let_go()
    assert slow.result(PATIENCE).score == expected_score(world, MERCHANTS[0])


def test_who_gave_up_before_its_turn_is_not_asked_for(world: ScoringWorld) -> None:
    for merchant in MERCHANTS[:3]:
        world.give(merchant)
    gate = Gate(world)
    first, gone, last = gate.ask(joint_of(world), [Enquiry(each) for each in MERCHANTS[:3]], give_up=(1,))
    assert first.result(PATIENCE).score
    assert last.result(PATIENCE).score
    assert gone.cancelled()
    assert [len(request.items) for request in gate.asked] == [1, 1]


def test_those_who_want_another_model_are_next_when_all_before_them_gave_up(world: ScoringWorld) -> None:
    for merchant in MERCHANTS[:3]:
        world.give(merchant)
    model = world.release()
    gate, joint = Gate(world), joint_of(world)
    first = joint.ask(Enquiry(MERCHANTS[0]), purpose="credit-scoring", model_id=None)
    assert gate.wait_for_the_first()
    gone = joint.ask(Enquiry(MERCHANTS[1]), purpose="credit-scoring", model_id=None)
    last = joint.ask(Enquiry(MERCHANTS[2]), purpose="credit-scoring", model_id=model)
    assert gone.cancel()
    gate.let_go()
    assert first.result(PATIENCE).score
    assert last.result(PATIENCE).score == expected_score(world, MERCHANTS[2])
