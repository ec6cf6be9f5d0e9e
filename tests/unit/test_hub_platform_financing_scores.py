"""The consented score of an application: fetched once it is allowed, shown while it is, soon deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.platform.financing_scores import KEEP, Borrower, FinancingScores
from hub.platform.financing_states import State
from hub.platform.lending_errors import ConsentMissingError, FinancingStateError, FinancingUnknownError
from hub.platform.tables.lending import ScoreRow
from tests.lending_world import ACTOR, BANK, DAY, LendingWorld, apply, offer, order
from tests.scripted_consents import ScriptedConsents

ME = Borrower("91331100MA2E0QXX0A", "uscc")


class ScoreWorld:
    """One application, and the desk of its score."""

    def __init__(self, base: Path) -> None:
        self.lending = LendingWorld(base)
        self.consents = ScriptedConsents(bands={ME.identifier: "B"})
        self.desk = FinancingScores(self.lending.lending, self.lending.book, self.consents, own_party="platform")
        (made,) = self.lending.book.execute(BANK, ACTOR, [apply()])
        self.name = made.financing.financing_id

    def scored(self) -> None:
        request = self.desk.ask(self.name, ME, actor=ACTOR)
        self.consents.words[request.request_id] = "given"
        assert self.desk.refresh(self.name, ME).financing.state == State.SCORED

    def kept(self) -> list[str | None]:
        with self.lending.db.reading() as session:
            return list(session.scalars(select(ScoreRow.answer)))

    def actions(self) -> list[str]:
        return [action for _, action, _, _ in self.lending.audit_entries() if action.startswith("score-")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoreWorld]:
    world = ScoreWorld(tmp_path)
    yield world
    world.lending.close()


def test_it_waits_for_the_merchant(world: ScoreWorld) -> None:
    asked = world.desk.ask(world.name, ME, actor=ACTOR)
    assert world.consents.asked[asked.request_id] == (ME.identifier, "loan", {"recipients": ["platform", BANK]})
    assert world.desk.refresh(world.name, ME).financing.state == State.APPLIED
    assert world.consents.scored == []
    assert world.desk.ask(world.name, ME, actor=ACTOR) == asked
    assert world.actions() == ["score-ask"]
    with pytest.raises(ConsentMissingError):
        world.desk.show(world.name, BANK, ME, actor=ACTOR)


def test_the_bank_sees_it_and_that_is_written_down(world: ScoreWorld) -> None:
    world.scored()
    shown = world.desk.show(world.name, BANK, ME, actor=ACTOR)
    assert (shown.score, shown.band, shown.reasons) == (640, "B", ("用电稳定",))
    with pytest.raises(FinancingUnknownError):
        world.desk.show(world.name, "bank-02", ME, actor="bank:bank-02")
    assert world.actions() == ["score-ask", "score-show"]
    assert world.desk.refresh(world.name, ME).financing.state == State.SCORED
    assert len(world.consents.scored) == 1


@pytest.mark.parametrize("end", ["contract", "refuse"])
def test_it_goes_with_the_banks_decision(world: ScoreWorld, end: str) -> None:
    world.scored()
    world.lending.book.execute(BANK, ACTOR, [offer()])
    assert len(world.kept()) == 1
    world.lending.book.execute(BANK, ACTOR, [order(end, on=DAY)])
    assert world.kept() == []
    assert world.actions()[-1] == "score-delete"
    with pytest.raises(ConsentMissingError):
        world.desk.show(world.name, BANK, ME, actor=ACTOR)


def test_what_was_revoked_is_shown_no_more(world: ScoreWorld) -> None:
    world.scored()
    world.consents.words[world.consents.newest()] = "revoked"
    with pytest.raises(ConsentMissingError):
        world.desk.show(world.name, BANK, ME, actor=ACTOR)
    assert world.kept() == []


@pytest.mark.parametrize("word", ["refused", "expired", "revoked"])
def test_without_consent_the_application_is_withdrawn(world: ScoreWorld, word: str) -> None:
    asked = world.desk.ask(world.name, ME, actor=ACTOR)
    world.consents.words[asked.request_id] = word
    assert world.desk.refresh(world.name, ME).financing.state == State.WITHDRAWN
    assert world.kept() == []
    with pytest.raises(FinancingStateError):
        world.desk.ask(world.name, ME, actor=ACTOR)


def test_it_is_kept_no_longer_than_it_may(world: ScoreWorld) -> None:
    world.scored()
    assert world.desk.sweep() == 0
    world.lending.now += KEEP + timedelta(seconds=1)
    with pytest.raises(ConsentMissingError):
        world.desk.show(world.name, BANK, ME, actor=ACTOR)
    assert world.desk.sweep() == 1
    assert world.kept() == []
