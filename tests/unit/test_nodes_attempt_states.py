"""States on disk: of two steps that read the same state only one goes on, and released and void never change places."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from crypto.attempts import NodeAttempt, WitnessAttempt
from crypto.keys import BoxKey
from nodes.attempts import AttemptStore
from nodes.errors import LedgerError
from nodes.store import Store
from nodes.witness_attempts import WitnessAttemptStore, WitnessRecord

H, OTHER = bytes(range(32)), bytes(32)
A = "c/scorecard/1"


@pytest.fixture
def node(tmp_path: Path) -> AttemptStore:
    return AttemptStore(Store.open(tmp_path / "node.db"))


@pytest.fixture
def witness(tmp_path: Path) -> WitnessAttemptStore:
    store = WitnessAttemptStore(Store.open(tmp_path / "witness.db"))
    state = WitnessAttempt.cosign(A, H, ["a", "b"], sort="sum")
    store.create(WitnessRecord(state, "c", "terms", (), BoxKey.generate()))
    return store


def sent() -> NodeAttempt:
    accepted = NodeAttempt.accept(A, H, matrix_sha256=H, charge=1.0, witness_key=H, sort="sum")
    return accepted.send(b"bytes")


def complete() -> WitnessAttempt:
    state = WitnessAttempt.cosign(A, H, ["a", "b"], sort="sum")
    for party in ("a", "b"):
        state = state.accept(party, H, OTHER)
    for party in ("a", "b"):
        state = state.receive(party, H, OTHER)
    return state


def test_a_node_keeps_the_first_decision(node: AttemptStore) -> None:
    state = sent()
    node.save(state)
    released, voided = state.release(H), state.void(H)  # two answers to one state that both have read
    node.save(voided)
    node.save(voided)  # again is the same
    for late in (released, state):
        with pytest.raises(LedgerError, match="has gone on"):
            node.save(late)
    assert node.load(A) == voided


def test_a_node_sends_one_term(node: AttemptStore) -> None:
    first = sent()
    node.save(first)
    other = NodeAttempt.accept(A, H, matrix_sha256=H, charge=1.0, witness_key=H, sort="sum").send(b"fresh noise")
    with pytest.raises(LedgerError):
        node.save(other)
    assert node.load(A) == first


def test_a_witness_decides_once_whoever_comes_first(witness: WitnessAttemptStore) -> None:
    state = complete()
    witness.save(state)
    decisions = [state.release(b"term"), state.void()] * 8
    refused: list[WitnessAttempt] = []
    gate = threading.Barrier(len(decisions))

    def decide(decision: WitnessAttempt) -> None:
        gate.wait()
        try:
            witness.save(decision, forget_key=True)
        except LedgerError:
            refused.append(decision)

    threads = [threading.Thread(target=decide, args=(each,)) for each in decisions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = witness.load(A)
    assert record is not None
    assert record.key is None
    assert record.state.phase in ("released", "void")
    assert [each.phase for each in refused] == [{"released": "void", "void": "released"}[record.state.phase]] * 8


def test_a_refused_decision_leaves_the_key(witness: WitnessAttemptStore) -> None:
    state = complete()
    witness.save(state.release(b"term"))
    with pytest.raises(LedgerError):
        witness.save(state.void(), forget_key=True)
    record = witness.load(A)
    assert record is not None
    assert record.key is not None
    assert record.state.term == b"term"


def test_only_what_was_cosigned_has_states(witness: WitnessAttemptStore) -> None:
    stranger = WitnessAttempt.cosign("c/scorecard/2", H, ["a", "b"])
    with pytest.raises(LedgerError, match="not on record"):
        witness.save(stranger)


def test_tries_of_a_run_are_found_and_no_others(node: AttemptStore) -> None:
    run = NodeAttempt.accept("c/encoder/1", H, matrix_sha256=H, charge=1.0, witness_key=H, sort="round")
    other = NodeAttempt.accept("c/encoder_1", H, matrix_sha256=H, charge=1.0, witness_key=H, sort="round")
    for each, name in ((run, "c/encoder/1/0.0"), (run, "c/encoder/1/0.1"), (other, "c/encoder_1/0.0")):
        node.save(NodeAttempt.open_round(each, name, OTHER))
    assert sorted(node.tries("c/encoder/1")) == ["c/encoder/1/0.0", "c/encoder/1/0.1"]
    assert node.tries("c/encoder%") == ()
