"""Queries that share a transaction are decided as if each had come alone, one after another."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from crypto.canonical import digest
from crypto.wire.consent import Frequency
from nodes.errors import PolicyRefusal
from nodes.journal import verify_lines
from nodes.tables.scoring import AnswerRow, UseRow
from tests.scoring_world import ScoringWorld, answer_of

SOURCE = "tax-01"
AT_ONCE = 6


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    made = ScoringWorld(tmp_path)
    yield made
    made.close()


def together(world: ScoringWorld, tokens: Sequence[str]) -> list[bytes | PolicyRefusal]:
    """Answers to requests that come while another transaction holds the store, so that they gather."""
    store = world.nodes[SOURCE].runtime.store
    found: list[bytes | PolicyRefusal | None] = [None] * len(tokens)

    def ask(place: int) -> None:
        try:
            found[place] = world.answer(SOURCE, tokens[place])
        except PolicyRefusal as refusal:
            found[place] = refusal

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(tokens))]
    with store.session() as session:
        session.execute(select(func.count()).select_from(UseRow))  # takes the write lock
        for thread in threads:
            thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join(30)
    return [each for each in found if each is not None]


def codes(answers: Sequence[bytes | PolicyRefusal]) -> Counter[str]:
    said: Counter[str] = Counter()
    for each in answers:
        if isinstance(each, PolicyRefusal):
            said[each.reason] += 1
        else:
            answer = answer_of(each)
            said.update(["answered"] * len(answer.answered) + [refusal.code for refusal in answer.refusals])
    return said


def rows(world: ScoringWorld, table: type[AnswerRow] | type[UseRow]) -> int:
    with world.nodes[SOURCE].runtime.store.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_limited_consent_is_used_no_more_often(world: ScoringWorld) -> None:
    model_id = world.release()
    record = world.give(frequency=Frequency(count=2, per="month"))
    answers = together(world, [world.request(record, model_id) for _ in range(AT_ONCE)])
    assert codes(answers) == Counter({"answered": 2, "frequency-exceeded": AT_ONCE - 2})
    assert rows(world, UseRow) == 2
    journal = world.nodes[SOURCE].journal
    lines = [line for line in journal.lines() if line.type == "query"]
    assert len(lines) == AT_ONCE
    verify_lines(journal.lines())


def test_one_nonce_is_answered_once(world: ScoringWorld) -> None:
    model_id = world.release()
    record, nonce = world.give(), secrets.token_bytes(16)
    tokens = [
        world.request(record, model_id, nonce=nonce, expires_at=world.now + timedelta(seconds=60 + n))
        for n in range(AT_ONCE)
    ]
    assert len(set(tokens)) == AT_ONCE
    assert codes(together(world, tokens)) == Counter({"answered": 1, "nonce-reused": AT_ONCE - 1})
    assert rows(world, AnswerRow) == 1


def test_copies_of_one_request_get_the_same_bytes(world: ScoringWorld) -> None:
    token = world.request(world.give(), world.release())
    answers = together(world, [token] * AT_ONCE)
    assert len(answers) == AT_ONCE
    assert len(set(answers)) == 1
    assert (rows(world, AnswerRow), rows(world, UseRow)) == (1, 1)


def test_a_refusal_of_one_leaves_the_others_alone(world: ScoringWorld) -> None:
    model_id = world.release()
    gone = world.newcomer()
    revoked, given = world.give(gone), world.give(world.newcomer())
    world.change(revoked, "revoked", merchant=gone)
    before = world.now - timedelta(seconds=600)
    late = world.request(given, model_id, issued_at=before, expires_at=before + timedelta(seconds=300))
    tokens = [late, *(world.request(each, model_id) for each in (revoked, given, given))]
    said = codes(together(world, tokens))
    assert said == Counter({"answered": 2, "consent-revoked": 1, "request-expired": 1})
    with world.nodes[SOURCE].runtime.store.reading() as session:
        stored = set(session.scalars(select(AnswerRow.request_hash)))
    assert digest(late.encode()) not in stored
    assert len(stored) == 3


def test_a_model_that_was_used_before_is_not_used_after_its_withdrawal(world: ScoringWorld) -> None:
    model_id = world.release()
    record = world.give()
    assert codes(together(world, [world.request(record, model_id)])) == Counter(answered=1)
    world.withdraw(model_id)
    answers = together(world, [world.request(record, model_id) for _ in range(2)])
    assert codes(answers) == Counter({"model-not-released": 2})
