"""What each party receives is what docs/privacy.md says, part for part; nothing that is sealed opens at the hub.

All that looks at the two recorded worlds stands in this file, so that one worker records them, once.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from crypto.canonical import canonical_bytes, digest
from crypto.errors import ExchangeError, SealError
from crypto.jws import parse_canonical
from crypto.score_masks import open_points
from crypto.sealed import open_sealed
from crypto.wire.scoring import AnswerBody, QueryForward, QueryResult
from models.artefact import ModelArtefact
from nodes.scoring import answer_context
from nodes.training import NODE_STEPS, WITNESS_STEPS
from tests.scoring_world import SOURCES, answer_of
from tests.views.described import Item, described, rows
from tests.views.opening import masked_points, payload, row_boxes
from tests.views.recorder import HUB, text_form
from tests.views.services import RecordedWorld
from tests.views.world import REFUSES, Campaign
from tests.walk_world import KINDS

CAMPAIGN, QUERIES = "In a campaign", "In queries and between"
NODES = {"bank": "bank", "tax": "tax", "utility": "tax"}
"""Kind → by which name the table has it: kinds without a label receive alike."""


def items_of(campaign: Campaign, party: str, name: str) -> set[Item]:
    """What a party received in both recorded campaigns."""
    seen = [*campaign.record.of(party), *campaign.bins.of(party)]
    return {(name, each.message, part, form) for each in seen for part, form in each.parts().items()}


def kind_of(party: str) -> str:
    return party.partition("-")[0]


def test_a_campaigns_messages_are_exactly_those_described(campaign: Campaign) -> None:
    received = set()
    for party in campaign.world.federation.parties:
        received |= items_of(campaign, party, NODES.get(kind_of(party), party))
    received |= items_of(campaign, HUB, HUB)
    assert received == set(described(CAMPAIGN))


@pytest.mark.parametrize("kind", ["bank", "tax", "utility"])
def test_nodes_of_one_sort_receive_the_same_parts(campaign: Campaign, kind: str) -> None:
    expected = {item for item in described(CAMPAIGN) if item[0] == NODES[kind]}
    for party in campaign.world.federation.contexts:
        if kind_of(party) == kind and party != REFUSES:
            assert items_of(campaign, party, NODES[kind]) == expected, party


def test_every_step_of_node_and_witness_is_recorded(campaign: Campaign) -> None:
    """A new message fails here until a recorded campaign has it, and above until it is described."""
    messages = {each.message for record in (campaign.record, campaign.bins) for each in record.seen if each.by != HUB}
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
    assert items_of(campaign, "bank-1", "bank") - {("bank", "train.share", "from.*", "uint8")} != {
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


# Queries.


def test_nothing_that_the_hub_received_opens_or_holds_points_or_score(queries: RecordedWorld) -> None:
    """Over a whole query through the product's own hub: sealed answers open at the requester alone."""
    score = queries.scores[0]
    assert score is not None
    asked = next(body for body in queries.bodies.of(HUB) if body.channel == "POST /v1/queries")
    request_hash = digest(asked.body)
    answers = [body for body in queries.bodies.of(HUB) if body.channel == "query" and body.reply][:3]
    requester = queries.nodes["platform"].runtime.box
    masked: list[int] = []
    for body in answers:
        answer = answer_of(body.body)
        assert answer.request_hash == request_hash
        context = answer_context(request_hash, body.sender)
        for party, node in queries.nodes.items():
            if party != "platform":
                with pytest.raises(SealError):
                    open_sealed(answer.sealed, node.runtime.box, context=context)
        plain = open_sealed(answer.sealed, requester, context=context)
        masked += [item.masked_points for item in parse_canonical(plain.rstrip(b" "), AnswerBody).items]
    card = next(iter(artefacts(queries))).card()
    assert len(masked) == 3
    assert int(card.score_of(open_points(masked))) == score
    everything = b"\n".join(body.body for body in queries.bodies.of(HUB))
    for number in masked:  # as a number: short ones are met within digests and times
        assert not re.search(rb"(?<![0-9A-Za-z_-])%d(?![0-9A-Za-z_-])" % number, everything)
    members = {name for body in queries.bodies.of(HUB) for name in names_in(body.body)}
    assert not members & {"score", "points", "masked_points", "pd", "band", "reasons", "outcome"}


def artefacts(queries: RecordedWorld) -> Iterator[Any]:
    for body in queries.bodies.of("platform"):
        if "artefact" in body.parts():
            yield ModelArtefact.from_bytes(body.body)


def names_in(data: bytes) -> set[str]:
    """Names of all members of a JSON body, or of a signed document's payload."""
    text = data.decode("utf-8", errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = payload(text) if text.count(".") == 2 else {}
    return set(_walk(found))


def _walk(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


# A source: it hears the request.


def test_every_source_hears_the_signed_request_and_nothing_of_other_answers(queries: RecordedWorld) -> None:
    asked = [body.body.decode() for body in queries.bodies.of(HUB) if body.channel == "POST /v1/queries"]
    assert len(asked) == 2
    frames = {canonical_bytes(QueryForward(request=token)) for token in asked}
    for source in SOURCES:
        heard = [body for body in queries.bodies.of(f"{source}-01") if body.channel not in ("feed", "voprf")]
        assert {body.body for body in heard if body.channel == "query"} == frames
        assert {body.name for body in heard} <= {
            "query",
            "reply to POST /v1/voprf",
            "reply to POST /v1/charges",  # about its own sends
            "reply to GET /v1/models/ID",
        }


def test_the_requester_hears_what_the_sources_said_and_proofs(queries: RecordedWorld) -> None:
    replies = [body for body in queries.bodies.of("platform") if body.name == "reply to POST /v1/queries"]
    first = QueryResult.model_validate_json(replies[0].body)
    said = [body.body.decode() for body in queries.bodies.of(HUB) if body.channel == "query" and body.reply]
    assert sorted(first.answers) == sorted(said[:3])
    assert first.failures == ()
    assert len(first.proofs) == 1


# A bank in an evaluation: as a requester, of its held-out merchants.


def test_a_banks_boxes_in_an_evaluation_add_up_to_others_points_and_none_of_them_shows_its_own(
    campaign: Campaign,
) -> None:
    assert campaign.artefact is not None
    card, world = campaign.artefact.card(), campaign.world
    row_of = {row.tobytes(): index for index, row in enumerate(world.pseudonyms)}
    sums: dict[int, int] = {}
    bare = shown = 0
    for box in (*masked_points(campaign, "bank-1"), *masked_points(campaign, "bank-2")):
        kind = box.sender.partition("-")[0]
        rows = [row_of[each.tobytes()] for each in box.pseudonyms]
        assert box.answered.all()
        points = card.kind_points(kind, world.codes[kind][rows])
        bare += len(rows)
        shown += int((box.words.view(np.int32) == points).sum())
        for row, word in zip(rows, box.words, strict=True):
            sums[row] = (sums.get(row, 0) + int(word)) % 2**32
    others = [kind for kind in world.codes if kind != "bank"]
    assert len(sums) >= 20
    for row, total in sums.items():
        expected = sum(int(card.kind_points(kind, world.codes[kind][[row]])[0]) for kind in others)
        assert total == expected % 2**32
    assert bare == 2 * len(sums)
    assert shown == 0
