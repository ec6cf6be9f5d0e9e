"""What each party receives is what docs/privacy.md says, part for part, and nothing is sealed to the hub."""

from __future__ import annotations

from collections import Counter

import pytest

from crypto.errors import ExchangeError
from nodes.training import NODE_STEPS, WITNESS_STEPS
from tests.views.described import Item, described, rows
from tests.views.opening import row_boxes
from tests.views.recorder import HUB, Record, text_form
from tests.views.services import RecordedWorld
from tests.views.world import REFUSES, Campaign
from tests.walk_world import KINDS

CAMPAIGN, QUERIES = "In a campaign", "In queries and between"
NODES = {"bank": "bank", "tax": "tax", "utility": "tax"}
"""Kind → by which name the table has it: kinds without a label receive alike."""


def items_of(record: Record, party: str, name: str) -> set[Item]:
    return {(name, each.message, part, form) for each in record.of(party) for part, form in each.parts().items()}


def kind_of(party: str) -> str:
    return party.partition("-")[0]


def test_a_campaigns_messages_are_exactly_those_described(campaign: Campaign) -> None:
    record, received = campaign.record, set()
    for party in campaign.world.federation.parties:
        received |= items_of(record, party, NODES.get(kind_of(party), party))
    received |= items_of(record, HUB, HUB)
    assert received == set(described(CAMPAIGN))


@pytest.mark.parametrize("kind", ["bank", "tax", "utility"])
def test_nodes_of_one_sort_receive_the_same_parts(campaign: Campaign, kind: str) -> None:
    expected = {item for item in described(CAMPAIGN) if item[0] == NODES[kind]}
    for party in campaign.world.federation.contexts:
        if kind_of(party) == kind and party != REFUSES:
            assert items_of(campaign.record, party, NODES[kind]) == expected, party


def test_every_step_of_node_and_witness_is_recorded(campaign: Campaign) -> None:
    """A new message fails here until a recorded campaign has it, and above until it is described."""
    messages = {each.message for each in campaign.record.seen if each.by != HUB}
    assert messages == {f"train.{step}" for step in NODE_STEPS} | {f"query.{step}" for step in WITNESS_STEPS}


def test_queries_bring_exactly_what_is_described(queries: RecordedWorld) -> None:
    names = {party: NODES.get(kind, kind) for party, kind in KINDS.items()} | {HUB: HUB}
    received = {
        (names[body.by], body.name, part, form) for body in queries.bodies.seen for part, form in body.parts().items()
    }
    assert received == set(described(QUERIES))


def test_every_sort_of_frame_is_recorded(queries: RecordedWorld) -> None:
    handled = {sort for node in queries.nodes.values() for sort in node.runtime.handlers}
    frames = {body.channel for body in queries.bodies.seen if body.by != HUB and not body.reply} - {"feed"}
    assert frames | {"flower"} == handled


@pytest.mark.parametrize("title", [CAMPAIGN, QUERIES])
def test_the_tables_say_everything_once_and_leave_nothing_out(title: str) -> None:
    assert [item for item, times in Counter(described(title)).items() if times > 1] == []
    assert all(len(cells) == 5 and all(cells) for cells in rows(title))


def test_a_part_that_is_not_described_would_be_noticed(campaign: Campaign) -> None:
    assert items_of(campaign.record, "bank-1", "bank") - {("bank", "train.share", "from.*", "uint8")} != {
        item for item in described(CAMPAIGN) if item[0] == "bank"
    }


def test_boxes_of_rows_have_the_size_that_slices_imply_and_open_with_their_receivers_key_alone(
    campaign: Campaign,
) -> None:
    boxes = [box for party in ("bank-1", "bank-2", "tax-1", "utility-1") for box in row_boxes(campaign, party)]
    assert boxes
    for box in boxes:
        opened = box.open(campaign.keys[box.trip.receiver, box.trip.attempt])
        # Before the words only a signed header of public facts; behind them HPKE's tag.
        assert 0 < len(box.sealed) - opened.rows.nbytes < 1200
        others = [key for (party, _), key in campaign.keys.items() if party != box.trip.receiver]
        for key in others:
            with pytest.raises(ExchangeError):
                box.open(key)


def test_forms_are_told_apart() -> None:
    assert text_form("c1/scorecard/1") == "text"
    assert text_form("eyJ0eXAiOiJkaWd1YS90ZXJtcytqc29uIn0.e30.c2ln") == "JWS terms"
