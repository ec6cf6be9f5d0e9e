"""Evaluations of a served hub over links, under merchants' signed consents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hub.campaign_plan import ReleasedTable
from hub.campaign_record import CampaignRecord
from models.artefact import ModelArtefact
from models.evaluation_result import EvaluationResult
from nodes.errors import PolicyRefusal
from nodes.evaluation_consents import EvaluationConsents
from nodes.points_book import PointsRequest, Seal
from tests.assessments import assess
from tests.served_world import ServedWorld, wait_until

PARTIES = ("witness", "bank-1", "bank-2", "bank-3", "tax-1", "tax-2", "utility-1", "utility-2")


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    """Each consent lets its bank have one score a month."""
    made = ServedWorld(tmp_path_factory.mktemp("served"), budgets=dict.fromkeys(PARTIES, 95.0), scores=1)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def first(world: ServedWorld) -> str:
    """The first campaign with an evaluation; without noise."""
    campaign_id = world.start(
        noise="off", stages=["scorecard", "evaluation"], evaluation={"bands": 6, "parity": ["b2"]}, holdout=0.5
    )
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    return campaign_id


def opened(world: ServedWorld, campaign_id: str) -> ReleasedTable:
    book = world.hub.campaigns.book
    record = CampaignRecord(book, campaign_id, hub_key=world.hub.keys.identity)
    found = record.released("evaluation")
    assert found is not None
    return found


def result_of(world: ServedWorld, campaign_id: str) -> EvaluationResult:
    model_id = world.state(campaign_id)["model_id"]
    found = world.hub.evaluations.newest(str(model_id))
    assert found is not None
    return found


def allowed(world: ServedWorld, campaign_id: str) -> NDArray[np.bool_]:
    return world.evaluated(campaign_id, 0.5)


def test_counted_are_those_whose_consent_lets_their_bank_have_a_score(world: ServedWorld, first: str) -> None:
    kept, found = allowed(world, first), result_of(world, first)
    known = world.outcome[kept]
    assert sum(band.count_bad for band in found.bands) == int((known == 0).sum()) > 0
    assert sum(band.count_good for band in found.bands) == int((known == 1).sum()) > 0
    model_id = str(world.state(first)["model_id"])
    card = ModelArtefact.from_bytes(world.hub.models.artefact(model_id, unreleased=True)).card()
    scores = card.score({kind: codes[kept] for kind, codes in world.codes.items()})
    evaluation = opened(world, first).terms.evaluation
    assert evaluation is not None
    bands = np.searchsorted(evaluation.edges, scores)
    assert [band.count_bad for band in found.bands] == [
        int(((bands == band) & (known == 0)).sum()) for band in range(len(found.bands))
    ]
    assert {each.group for each in found.groups["b2"]} == set(world.schema.bin_labels("b2", "en"))


def test_the_log_names_whose_points_went_to_whom_and_nodes_journals_how_many(world: ServedWorld, first: str) -> None:
    def types() -> list[dict[str, object]]:
        entries: list[dict[str, object]] = []
        while page := world.hub.log.reader.entries(len(entries), 1000):
            entries += [json.loads(leaf) for leaf in page]
        return [each for each in entries if each["facts"].get("campaign_id") == first]  # type: ignore[attr-defined]

    wait_until(lambda: "campaign-ended" in [each["type"] for each in types()], what="the log's last entry")
    entries = types()
    passed = [each["facts"] for each in entries if each["type"] == "evaluation-points"]
    pairs = {(each["source"], each["recipient"]) for each in passed}  # type: ignore[index]
    assert pairs == {(s, b) for s in PARTIES[4:] for b in PARTIES[1:4]}
    assert [each["type"] for each in entries if each["type"] == "histogram-opened"] == ["histogram-opened"]
    notes = [
        json.loads(line.entry)["facts"]
        for line in world.agents["tax-1"].services.journal.lines()
        if line.type == "evaluation-points"
    ]
    with_tax = np.array([party == "tax-1" for party in world.sources["tax"]])
    assert sum(note.get("answered", 0) for note in notes) == int((allowed(world, first) & with_tax).sum())


def test_the_model_may_be_released_after_it(world: ServedWorld, first: str) -> None:
    model_id = str(world.state(first)["model_id"])
    assert world.hub.models.status(model_id) == "evaluation"
    assess(world.hub, first)
    assert world.hub.models.release(model_id, "release")
    response = world.http.get(f"/v1/models/{model_id}/evaluation").raise_for_status()
    assert EvaluationResult.model_validate_json(response.content) == result_of(world, first)
    unknown = world.http.get("/v1/models/sha256:" + "0" * 64 + "/evaluation")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


def test_an_evaluation_uses_a_consent_up(world: ServedWorld, first: str) -> None:
    """One score a month: whoever was evaluated is left out of the next campaign's evaluation."""
    again = world.start(noise="off", stages=["scorecard", "evaluation"], evaluation={"bands": 6}, holdout=0.5)
    state = world.ended(again)
    assert state["status"] == "succeeded", state["failure"]
    kept = allowed(world, again) & ~allowed(world, first)
    known = world.outcome[kept]
    found = result_of(world, again)
    assert sum(band.count_bad for band in found.bands) == int((known == 0).sum())
    assert sum(band.count_good for band in found.bands) == int((known == 1).sum())


def test_orders_that_no_evaluation_could_follow_are_refused(world: ServedWorld) -> None:
    for fields, named in (
        ({"stages": ["scorecard", "evaluation"], "holdout": 0}, "holdout"),
        ({"stages": ["evaluation"]}, "stages"),
        ({"stages": ["scorecard"], "evaluation": {"bands": 5}}, "evaluation"),
        ({"stages": ["scorecard", "evaluation"], "evaluation": {"parity": ["t1"]}}, "evaluation.parity"),
    ):
        response = world.order(**fields)
        assert response.status_code in (400, 422), fields
        assert named in response.text
    assert Path(world.base).exists()


def test_a_node_that_refuses_in_an_evaluation_is_named_with_its_reason(
    world: ServedWorld, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scorecard stage is over by then; the campaign ends where its quorum needs the node."""
    honest = EvaluationConsents.settle

    def refusing(self: EvaluationConsents, request: PointsRequest, seal: Seal) -> bytes:
        if self._party_id == "utility-2":
            raise PolicyRefusal(
                "feed-stale", "the feed is 90 s old", field="feed", remedy="look at the node's connection"
            )
        return honest(self, request, seal)

    monkeypatch.setattr(EvaluationConsents, "settle", refusing)
    campaign_id = world.start(
        noise="off", stages=["scorecard", "evaluation"], evaluation={"bands": 6}, holdout=0.5, quorum={"utility": 2}
    )
    state = world.ended(campaign_id)
    assert (state["status"], state["failure"]["code"]) == ("failed", "quorum-missed")
    assert "utility-2: feed-stale" in state["failure"]["detail"]
    assert state["failure"]["remedy"]
    (refusal,) = state["refusals"]
    assert (refusal["party"], refusal["code"]) == ("utility-2", "feed-stale")
    assert refusal["attempt"] == f"{campaign_id}/evaluation/1"
    assert world.hub.campaigns.book.decision(refusal["attempt"]) is not None  # void, charges taken back
    (model,) = [each for each in world.hub.models.all() if each.campaign_id == campaign_id]
    assert model.status == "evaluation"  # no release without the evaluation that its terms promise
