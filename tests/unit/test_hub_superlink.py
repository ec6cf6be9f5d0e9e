"""What the hub decides about a SuperLink: runs to submit, watch and stop; keys to let in; whose a node is."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from types import SimpleNamespace

import httpx
import pytest
from flwr.supercore.run import RunNotRunningException

from crypto.keys import BoxKey, IdentityKey
from crypto.training_key import TrainingKey, public_pem
from crypto.wire.party import Party
from hub.peers import HubAwayError
from hub.superlink.api import RegisteredNode
from hub.superlink.bundle import build_bundle
from hub.superlink.course import ABORT_S, AWAY_S, LINGER_S, MAX_FAILURES, Act, Course, Seen
from hub.superlink.grid import SuperLinkGrid, nodes_by_party
from hub.superlink.roster import Changes, due_changes
from hub.superlink.server import inner, outer


def seen(now: float, run: int | None = None, *, steps: int = 0, **changes: bool) -> Seen:
    return Seen(**{"now": now, "ended": False, "abort_asked": False, "steps": steps, "run": run, **changes})


def acts(*looks: Seen) -> list[Act]:
    """What is due at each look, where each submission gives run 7, 8, …"""
    course, run, found = Course(), 7, []
    for look in looks:
        found.append(course.next(look))
        if found[-1] == "submit":
            course.submitted(run, look)
            run += 1
    return found


def test_a_campaign_is_submitted_once_watched_and_done() -> None:
    looks = [seen(0), seen(1, 7), seen(2, 7, steps=3), seen(3, 7, steps=9, ended=True), seen(4, ended=True, steps=9)]
    assert acts(*looks) == ["submit", "watch", "watch", "watch", "done"]


def test_a_run_that_another_watcher_submitted_is_watched_on() -> None:
    assert acts(seen(0, 5, steps=4), seen(1, 5, steps=5)) == ["watch", "watch"]


def test_a_run_of_before_a_superlinks_death_is_stopped_and_another_submitted() -> None:
    looks = [seen(0), seen(1, 7, steps=2), seen(2, reached=False, steps=2), seen(3, 7, steps=2), seen(4, steps=2)]
    assert acts(*looks, seen(6, steps=2), seen(7, 8, steps=3)) == [
        "submit",
        "watch",
        "watch",
        "stop",
        "watch",
        "submit",
        "watch",
    ]


def test_runs_that_end_without_a_step_are_given_up_after_growing_pauses() -> None:
    course, now, submitted = Course(), 0.0, []
    while (act := course.next(look := seen(now))) != "give-up":
        if act == "submit":
            submitted.append(now)
            course.submitted(len(submitted), look)
        now += 0.5
    assert len(submitted) == MAX_FAILURES
    pauses = [later - sooner for sooner, later in pairwise(submitted)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 8


def test_runs_that_move_the_campaign_are_not_given_up() -> None:
    course, submissions = Course(), 0
    for step in range(4 * MAX_FAILURES):
        for tick in range(3):
            look = seen(10.0 * step + 3 * tick, steps=step)
            if course.next(look) == "submit":
                submissions += 1
                course.submitted(submissions, look)
    assert submissions > MAX_FAILURES


def test_a_superlink_that_stays_away_ends_the_campaign_at_last() -> None:
    assert acts(seen(0, reached=False), seen(AWAY_S, reached=False), seen(AWAY_S + 1, reached=False)) == [
        "watch",
        "watch",
        "give-up",
    ]


def test_an_abort_waits_for_the_run_then_stops_it_then_ends_the_campaign() -> None:
    looks = [seen(at, 7, abort_asked=True) for at in (0.0, ABORT_S, ABORT_S + 1)]
    assert acts(*looks, seen(ABORT_S + 2, abort_asked=True)) == ["watch", "watch", "stop", "end-aborted"]
    assert acts(seen(0, abort_asked=True, reached=False)) == ["end-aborted"]


def test_a_run_that_outlives_its_campaign_is_stopped() -> None:
    looks = [seen(at, 7, ended=True) for at in (0.0, LINGER_S, LINGER_S + 1)]
    assert acts(*looks, seen(LINGER_S + 2, ended=True)) == ["watch", "watch", "stop", "done"]


def party(name: str, key: TrainingKey | None) -> Party:
    return Party(
        party_id=name,
        kind="bank",
        region="丽水",
        sign_key=IdentityKey.generate().public,
        box_key=BoxKey.generate().public,
        training_key=None if key is None else key.public,
    )


def node(number: int, key: TrainingKey) -> SimpleNamespace:
    return SimpleNamespace(node_id=number, public_key=public_pem(key.public))


def test_a_node_is_the_party_that_has_its_key_and_a_key_of_two_is_nobodys() -> None:
    one, both, stranger = (TrainingKey.generate() for _ in range(3))
    parties = [party("bank-1", one), party("bank-2", both), party("bank-3", both), party("bank-4", None)]
    assert nodes_by_party([node(11, one), node(12, both), node(13, stranger)], parties) == {"bank-1": 11}


def test_keys_of_the_roster_are_let_in_and_others_let_go() -> None:
    here, new, gone = (TrainingKey.generate() for _ in range(3))
    parties = [party("bank-1", here), party("bank-2", new), party("bank-3", None)]
    nodes = [RegisteredNode(number, public_pem(key.public), online=True) for number, key in ((1, here), (2, gone))]
    assert due_changes(parties, nodes) == Changes((public_pem(new.public),), (2,))
    assert due_changes(parties, nodes, only_ours=set()) == Changes((public_pem(new.public),), ())
    assert due_changes(parties, nodes, only_ours={public_pem(gone.public)}).unregister == (2,)


class Fake:
    """A grid of Flower's that answers as it is told."""

    def __init__(self, *answers: list[str] | BaseException) -> None:
        self._answers = list(answers)

    def push_messages(self, messages: Iterable[object]) -> list[str]:
        return [f"m{number}" for number, _ in enumerate(messages)]

    def pull_messages(self, ids: Iterable[str]) -> list[SimpleNamespace]:
        answer = self._answers.pop(0) if self._answers else []
        if isinstance(answer, BaseException):
            raise answer
        return [SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=name)) for name in answer]


def grid_of(*answers: list[str] | BaseException) -> SuperLinkGrid:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return SuperLinkGrid(Fake(*answers), sleep=sleep, monotonic=lambda: now[0])  # type: ignore[arg-type]


def test_late_replies_are_not_in_the_list() -> None:
    replies = grid_of(["m0"], [], ["m2"]).send_and_receive([object()] * 3, timeout=5)  # type: ignore[list-item]
    assert [reply.metadata.reply_to_message_id for reply in replies] == ["m0", "m2"]


@pytest.mark.parametrize("gone", [httpx.ConnectError("down"), RunNotRunningException()])
def test_a_superlink_that_is_gone_interrupts_and_blames_no_node(gone: BaseException) -> None:
    with pytest.raises(HubAwayError, match="SuperLink"):
        grid_of(["m0"], gone).send_and_receive([object()] * 2, timeout=5)  # type: ignore[list-item]


def test_each_listener_offers_its_own_side_alone() -> None:
    passes = inner(b"token")
    assert outer("/v1/fleet/pull-messages", b"")
    assert not any(outer(path, b"Bearer token") for path in ("/v1/control/start-run", "/v1/runtime/acquire-task", "/"))
    assert passes("/v1/control/start-run", b"Bearer token")
    assert not any(passes("/v1/control/start-run", shown) for shown in (b"", b"Bearer", b"Bearer wrong"))


def test_what_is_submitted_is_the_same_each_time() -> None:
    assert build_bundle() == build_bundle()
