"""Rollbacks at nodes: signed by the witness, never an older one again; sources and requesters follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto.errors import SignatureError
from nodes.enquiries import Enquiry
from nodes.errors import PolicyRefusal
from nodes.model_book import ModelBook
from tests.scoring_world import MERCHANTS, ScoringWorld

SOURCE = "tax-01"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path)
    yield world
    world.close()


def released(world: ScoringWorld, count: int = 3) -> list[str]:
    """Versions of one line, a second between them."""
    found = []
    for number in range(count):
        found.append(world.release(world.artefact(number)))
        world.pass_time(seconds=1)
    return found


def newest(models: ModelBook) -> str:
    model = models.newest()
    assert model is not None
    return model.model_id


def test_requesters_take_the_model_rolled_back_to_and_sources_refuse_the_others(world: ScoringWorld) -> None:
    first, second, third = released(world)
    record = world.give(MERCHANTS[0])
    lender = world.nodes["lender"]
    assert lender.enquiries.open_model(None).model_id == third
    world.roll_back(world.rollback_item(first, second, third, serial=1))
    assert lender.enquiries.open_model(None).model_id == first
    assert lender.enquiries.score(Enquiry(MERCHANTS[0]), purpose="credit-scoring").model_id == first
    with pytest.raises(PolicyRefusal) as caught:
        lender.enquiries.open_model(third)
    assert caught.value.reason == "model-rolled-back"
    assert caught.value.remedy is not None
    for model_id in (second, third):
        assert world.codes(SOURCE, world.request(record, model_id)) == ["model-rolled-back"]
    usable = {each.model_id: each.usable for each in lender.models.list()}
    assert usable == {first: True, second: False, third: False}


def test_a_line_goes_forward_again_and_a_later_release_is_the_newest(world: ScoringWorld) -> None:
    first, second, third = released(world)
    models = world.nodes["lender"].models
    world.roll_back(world.rollback_item(first, second, third, serial=1))
    world.pass_time(seconds=1)
    world.roll_back(world.rollback_item(second, serial=2))
    assert newest(models) == second
    assert models.require(first).usable
    with pytest.raises(PolicyRefusal):
        models.require(third)
    world.pass_time(seconds=1)
    assert newest(models) == second
    fourth = world.release(world.artefact(9))
    assert newest(models) == fourth


def test_what_the_witness_did_not_sign_rolls_nothing_back(world: ScoringWorld) -> None:
    first, second = released(world, 2)
    models = world.nodes["lender"].models
    forged = world.rollback_item(first, second, serial=1, key=world.hub_key)
    with pytest.raises(SignatureError):
        models.apply(forged)
    with pytest.raises(PolicyRefusal) as caught:
        models.apply(world.rollback_item(first, first, serial=1))
    assert caught.value.reason == "feed-item-invalid"
    world.roll_back(forged)
    assert [code for _, code in world.nodes["lender"].runtime.feed.refused()] == ["signature-invalid"]
    assert newest(models) == second


def test_an_older_rollback_cannot_be_played_again(world: ScoringWorld) -> None:
    first, second = released(world, 2)
    models = world.nodes["lender"].models
    back = world.rollback_item(first, second, serial=1)
    forth = world.rollback_item(second, serial=2)
    for item in (back, forth, forth, back):  # what was taken before changes nothing
        models.apply(item)
    assert newest(models) == second
    others = [
        world.rollback_item(first, second, serial=1, reason="another"),
        world.rollback_item(first, second, serial=2),
    ]
    for other in others:
        with pytest.raises(PolicyRefusal) as caught:
            models.apply(other)
        assert caught.value.reason == "rollback-replayed"
    assert newest(models) == second


def test_a_node_that_missed_some_takes_the_newest_alone(world: ScoringWorld) -> None:
    first, second, third = released(world)
    models = world.nodes["lender"].models
    models.apply(world.rollback_item(second, third, serial=5))
    with pytest.raises(PolicyRefusal):
        models.apply(world.rollback_item(first, second, third, serial=4))
    assert newest(models) == second


def test_rollbacks_survive_a_restart_and_a_withdrawal_outlasts_them(world: ScoringWorld) -> None:
    first, second = released(world, 2)
    world.roll_back(world.rollback_item(first, second, serial=1))
    again = world.reopen("lender")
    assert newest(again.models) == first
    world.withdraw(second)
    world.roll_back(world.rollback_item(second, serial=2))
    with pytest.raises(PolicyRefusal) as caught:
        again.models.require(second)
    assert caught.value.reason == "model-not-released"
    assert newest(again.models) == first
    assert [line.type for line in again.journal.lines()].count("model-rollback") == 2
