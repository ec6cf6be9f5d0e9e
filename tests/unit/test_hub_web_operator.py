"""What the operator's pages show, without a browser: progress, refusals in words, costs, orders as files."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient

from crypto.wire.campaign import Stage
from hub.app import create_app
from hub.campaign_errors import CampaignOrderError, QuorumError
from hub.campaign_plan import Progress, Step
from hub.campaign_record import CampaignRecord
from hub.node_overview import nodes_view
from hub.spending import NodeCost
from hub.waiting import Wait
from hub.web import operator, operator_campaigns, operator_words
from hub.web.operator_views import STEP_NAMES, campaign_lines, campaign_view
from hub.web.order_upload import UploadRefused, read_order, refused_order
from models.campaign_file import CampaignFile
from models.i18n import catalogue
from models.yaml_file import _LIMITS, _TYPES
from nodes.terms_check import T_COLLUDE_TOO_SMALL
from tests.federation import small_schema
from tests.hub_world import HubWorld, Member

SCHEMA = small_schema()
ORDER = {"name": "small", "schema": "elsewhere/small.yaml", "stages": ["scorecard"], "epsilon": 3.0}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path)
    world.join(world.witness, Member("bank-1", "bank"))
    yield world
    world.hub.close()


def order(world: HubWorld, **fields: object) -> str:
    return world.hub.campaigns.order(CampaignFile.model_validate(ORDER | fields), SCHEMA)


def texts(**fields: object) -> tuple[str, str]:
    return yaml.safe_dump(ORDER | fields), SCHEMA.canonical_json().decode()


def test_a_campaign_shows_the_last_word_on_each_step(world: HubWorld) -> None:
    campaign_id = order(world)
    attempt = f"{campaign_id}/scorecard/2"
    for done in range(4):
        world.hub.campaigns.book.note(campaign_id, Progress("scorecard", attempt, "accept", done, 3, done / 2))
    world.hub.campaigns.book.note(campaign_id, Progress("scorecard", attempt, "share", 1, 3, 9.0))
    view = campaign_view(world.hub, campaign_id)
    assert [(step.step, step.number, step.done, step.total) for step in view.steps] == [
        ("share", "2", 1, 3),
        ("accept", "2", 3, 3),
    ]
    assert view.now == view.steps[0]
    assert view.line.state == "waits for a worker"
    assert campaign_lines(world.hub) == (view.line,)


def test_a_campaign_says_for_whom_it_waits_until_it_has_ended(world: HubWorld) -> None:
    campaign_id = order(world)
    book = world.hub.campaigns.book
    wait = Wait(until=world.now + timedelta(minutes=2), parties=("bank-1",))
    book.note(campaign_id, Progress("scorecard", "a/1", "wait", 2, 3, 0.0, wait.model_dump_json()))
    waiting = campaign_view(world.hub, campaign_id).waiting
    assert waiting is not None
    assert (waiting.parties, waiting.done, waiting.total) == (("bank-1",), 2, 3)
    book.end(campaign_id, "aborted")
    ended = campaign_view(world.hub, campaign_id)
    assert (ended.waiting, ended.now, ended.unfinished) == (None, None, False)


def test_refusals_are_told_in_words_with_a_remedy(world: HubWorld) -> None:
    campaign_id = order(world)
    record = CampaignRecord(world.hub.campaigns.book, campaign_id, hub_key=world.hub.keys.identity)
    told = {"bank-1": "budget-exceeded: 3 of 2 left", "bank-2": "no reply in time", "tax-1": "quite-new: x=1"}
    record.lost(f"{campaign_id}/scorecard/1", told)
    refusals = campaign_view(world.hub, campaign_id).refusals
    assert [(each.party_id, each.attempt, each.code, each.detail) for each in refusals] == [
        ("bank-1", "scorecard/1", "budget-exceeded", "3 of 2 left"),
        ("bank-2", "scorecard/1", "no reply in time", ""),
        ("tax-1", "scorecard/1", "quite-new", "x=1"),
    ]
    assert refusals[0].reason.title == "The node's privacy budget does not allow it"
    assert refusals[2].reason == operator_words.UNKNOWN
    assert T_COLLUDE_TOO_SMALL in operator_words.REASONS


def test_nodes_show_approval_and_what_they_spent(world: HubWorld) -> None:
    world.hub.enrolment.enrol(world.enrolment(Member("tax-1", "tax")))
    view = nodes_view(world.hub, (), {"bank-1": NodeCost(2, 5.0)})
    shown = {node.party_id: node for node in view.nodes}
    assert list(shown) == ["bank-1", "tax-1", "witness-zj"]
    assert (shown["bank-1"].approval, shown["tax-1"].approval) == ("approved", "proposed")
    assert (shown["witness-zj"].connected, shown["bank-1"].connected, view.connected) == (True, False, 1)
    assert shown["bank-1"].lag is None
    assert shown["bank-1"].cost == NodeCost(2, 5.0)
    assert view.roster_version == world.hub.roster.current()[1].version  # type: ignore[index]


def test_an_uploaded_order_takes_the_schema_beside_it_and_follows_no_path() -> None:
    campaign, schema = read_order(*texts(schema="/etc/passwd"))
    assert schema.hash() == SCHEMA.hash()
    assert campaign.schema_path == Path(SCHEMA.name)


def test_an_uploaded_order_is_refused_field_by_field() -> None:
    with pytest.raises(UploadRefused) as refused:
        read_order(texts(epsilon=-1, stages=["all"], surprise=1, name=3)[0], "kinds: [\n")
    found = {(each.file, each.problem.field): str(each.problem.what) for each in refused.value.problems}
    assert found["campaign", "epsilon"] == "must be greater than 0.0"
    assert found["campaign", "surprise"] == "is not a known field"
    assert found["campaign", "name"] == "must be a text"
    assert [file for file, _ in found].count("schema") == 1
    assert all(each.problem.line > 0 for each in refused.value.problems)


def test_a_contradiction_with_the_hub_is_said_of_the_campaign_file() -> None:
    error = CampaignOrderError("Kind x is not here.", field="quorum.x", remedy="Correct the campaign file.")
    (only,) = refused_order(error).problems
    assert (only.file, only.problem.field, only.problem.remedy) == (
        "campaign",
        "quorum.x",
        "Correct the campaign file.",
    )
    assert refused_order(QuorumError("None.")).problems[0].problem.remedy == "correct the file"


def test_pages_of_the_operator_ask_for_a_sign_in(world: HubWorld) -> None:
    with TestClient(create_app(world.hub), base_url="http://127.0.0.1:18440", follow_redirects=False) as client:
        for path in ("/operator", "/operator/nodes", "/operator/campaigns/x", "/operator/log"):
            answer = client.get(path, headers={"accept": "text/html"})
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/signin?next=/operator")
        posted = client.post("/operator/campaigns/x/abort", data={"sure": "yes"}, headers={"accept": "text/html"})
        assert posted.status_code in (401, 403)


def test_all_words_of_the_operator_s_pages_are_translated() -> None:
    columns = (*operator.NODES, *operator.MODELS, *operator_campaigns.CAMPAIGNS, *operator_campaigns.COSTS)
    reasons = (operator_words.UNKNOWN, *operator_words.REASONS.values())
    wanted = {
        *(column.title for column in columns),
        *(item.text for item in operator.NAV),
        *(text for reason in reasons for text in (reason.title, reason.remedy)),
        *(f"{stage} stage" for stage in typing.get_args(Stage)),
        *(text for text, _ in _LIMITS.values()),
        *_TYPES.values(),
        *operator_campaigns.STATES,
        *(STEP_NAMES.get(step, step) for step in typing.get_args(Step)),
    }
    known = (catalogue("hub"), catalogue("models"))
    assert sorted(text for text in wanted if not any(each.has("zh", text) for each in known)) == []
