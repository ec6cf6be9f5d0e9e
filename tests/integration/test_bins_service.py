"""A served hub's campaign on a schema that leaves bins to quantiles, over links, from the order to a score."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from crypto.keys import IdentityKey
from crypto.manifest import holdout_mask
from models.artefact import ModelArtefact
from models.codes import ABSENT
from models.quantile_bins import open_form, settled, settled_codes, tree_counts
from models.schema import Schema
from nodes.enquiries import Enquiry
from tests.assessments import assess
from tests.bins_world import open_schema
from tests.served_world import ServedWorld, wait_until

PARTIES = ("witness", "bank-1", "bank-2", "bank-3", "tax-1", "tax-2", "utility-1", "utility-2")


class OpenWorld(ServedWorld):
    """As a `ServedWorld`, on the schema that gives no bins for two features."""

    def _make_schema(self) -> Schema:
        return open_schema()


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWorld]:
    made = OpenWorld(tmp_path_factory.mktemp("served"), budgets=dict.fromkeys(PARTIES, 95.0), scores=20)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def first(world: OpenWorld) -> str:
    """A campaign with an evaluation; without noise, so that its bins can be foretold."""
    state = world.ended(world.start(noise="off", stages=["scorecard", "evaluation"], holdout=0.4))
    assert state["status"] == "succeeded", state["failure"]
    return str(state["campaign_id"])


def artefact_of(world: OpenWorld, campaign_id: str) -> ModelArtefact:
    model_id = str(world.state(campaign_id)["model_id"])
    return ModelArtefact.from_bytes(world.hub.models.artefact(model_id, unreleased=True))


def joined(world: OpenWorld, kept: NDArray[np.bool_]) -> dict[str, NDArray[np.uint8]]:
    held = {kind: np.array([party is not None for party in parties]) for kind, parties in world.sources.items()}
    return {kind: np.where(held[kind][:, None], codes, np.uint8(ABSENT))[kept] for kind, codes in world.codes.items()}


def test_the_model_is_on_the_bins_that_the_training_merchants_quantiles_give(world: OpenWorld, first: str) -> None:
    salt = world.hub.campaigns.book.get(first).holdout_salt
    codes = joined(world, ~holdout_mask(world.pseudonyms, salt, 0.4))
    counts = np.sum([tree_counts(world.schema, kind, each) for kind, each in codes.items()], axis=0)
    schema = artefact_of(world, first).schema_of()
    assert schema == settled(world.schema, counts)
    assert open_form(schema) == world.schema


def test_the_campaigns_course_and_the_log_show_the_stage(world: OpenWorld, first: str) -> None:
    events = world.hub.campaigns.book.events(first)
    assert list(dict.fromkeys(event.stage for _, event in events)) == ["bins", "scorecard", "evaluation"]

    def types() -> list[str]:
        entries: list[dict[str, object]] = []
        while page := world.hub.log.reader.entries(len(entries), 1000):
            entries += [json.loads(leaf) for leaf in page]
        return [each["type"] for each in entries if each["facts"].get("campaign_id") == first]  # type: ignore[attr-defined, misc]

    wait_until(lambda: "campaign-ended" in types(), what="the log's last entry")
    assert [each for each in types() if each.endswith("-opened")] == [
        "bins-opened",
        "table-opened",
        "histogram-opened",
    ]


def test_scores_come_from_tables_that_follow_the_schema_as_it_was(world: OpenWorld, first: str) -> None:
    assess(world.hub, first)
    artefact = artefact_of(world, first)
    key = {"Idempotency-Key": IdentityKey.generate().raw.hex()}
    assert world.http.post(f"/v1/models/{artefact.model_id}/release", json={}, headers=key).status_code == 200
    wait_until(
        lambda: all(agent.runtime.feed_seq == world.hub.feed.end(name) for name, agent in world.agents.items()),
        what="the feeds at the nodes",
    )
    rows = [
        row
        for row in range(len(world.ids))
        if world.lets_score(row) and all(world.sources[kind][row] is not None for kind in ("tax", "utility"))
    ][:5]
    schema = artefact.schema_of()
    everybody = joined(world, np.ones(len(world.ids), dtype=np.bool_))
    for row in rows:
        bank = world.sources["bank"][row]
        assert bank is not None
        answer = world.agents[bank].services.enquiries.score(Enquiry(world.ids[row]), purpose="credit-scoring")
        codes = {kind: settled_codes(schema, kind, each[row : row + 1]) for kind, each in everybody.items()}
        assert answer.score == int(artefact.card().score(codes)[0])
        told = world.agents[bank].services.explanations.explain(world.ids[row], author="test")
        names = [feature.name for feature in schema.features("bank")]
        assert {each.feature: each.bin for each in told.standings} == dict(zip(names, codes["bank"][0], strict=True))


def test_with_noise_both_stages_together_are_charged_the_budget(world: OpenWorld) -> None:
    before = {party: world.agents[party].runtime.ledger.spent().epsilon for party in PARTIES[1:]}
    state = world.ended(world.start(stages=["bins", "scorecard"], epsilon=8.0, bins_share=0.1))
    assert state["status"] == "succeeded", state["failure"]
    campaign_id = str(state["campaign_id"])
    privacy = artefact_of(world, campaign_id).privacy
    assert privacy.stages == ("bins", "scorecard")
    mu2 = [each.count / each.sigma**2 for each in privacy.mechanisms]  # type: ignore[union-attr]
    assert mu2[0] / sum(mu2) == pytest.approx(0.1)
    for party in PARTIES[1:]:
        ledger = world.agents[party].runtime.ledger
        standing = [each.attempt for each in ledger.charges() if each.campaign_id == campaign_id]
        assert standing == [f"{campaign_id}/bins/1", f"{campaign_id}/scorecard/1"]
        assert ledger.spent().epsilon - before[party] <= 8.0 + 1e-6


def test_an_encoder_on_bins_that_are_still_to_come_is_refused_with_what_to_do(world: OpenWorld) -> None:
    refused = world.order(stages=["encoder", "scorecard"])
    assert (refused.status_code, refused.json()["field"]) == (422, "stages")
    assert "take the schema that a campaign with a scorecard alone has settled" in refused.json()["detail"]
