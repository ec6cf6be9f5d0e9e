"""Two versions of a served hub's model over real links: approval, release, queries, rollback, and forward again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from crypto.keys import IdentityKey
from nodes.config import ModelReleaseConfig
from nodes.enquiries import Enquiry
from nodes.errors import PolicyRefusal
from nodes.witness.model_approvals import ModelApprovals
from tests.assessments import assess
from tests.served_world import Agent, ServedWorld, wait_until

LINE = "small"


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    """The regulator decides on releases by hand."""
    made = ServedWorld(tmp_path_factory.mktemp("served"), scores=20)
    try:
        reopen_witness(made)
        yield made
    finally:
        made.close()


def reopen_witness(world: ServedWorld) -> None:
    """The witness's process ends; another begins with its files, its owner deciding by hand."""
    world.witness.close()
    wait_until(lambda: "witness" not in world.hub.links.connected(), what="the end of the witness's link")
    config = world.witness.config.model_copy(update={"model_release": ModelReleaseConfig(approval="owner")})
    world.agents["witness"] = Agent.open(config)
    world.witness.connect()
    world.wait_connected()


def post(world: ServedWorld, path: str, body: dict[str, Any]) -> httpx.Response:
    return world.http.post(path, json=body, headers={"Idempotency-Key": IdentityKey.generate().raw.hex()})


def followed(world: ServedWorld) -> None:
    wait_until(
        lambda: all(agent.runtime.feed_seq == world.hub.feed.end(name) for name, agent in world.agents.items()),
        what="the feeds at the nodes",
    )


def asker(world: ServedWorld) -> tuple[Agent, str]:
    """A bank's agent and a customer of its own that two other sources know and that lets it have a score."""
    row = next(
        row
        for row in range(len(world.ids))
        if world.lets_score(row) and all(world.sources[kind][row] is not None for kind in ("tax", "utility"))
    )
    bank = world.sources["bank"][row]
    assert bank is not None
    return world.agents[bank], world.ids[row]


def used(world: ServedWorld) -> str:
    """The model that a score without a named model comes from."""
    followed(world)
    agent, merchant = asker(world)
    return agent.services.enquiries.score(Enquiry(merchant), purpose="credit-scoring").model_id


def versions(world: ServedWorld) -> dict[int, dict[str, Any]]:
    return {each["version"]: each for each in world.http.get("/v1/models").raise_for_status().json()["models"]}


def trained(world: ServedWorld) -> str:
    state = world.ended(world.start(noise="off"))
    assert state["status"] == "succeeded", state["failure"]
    assess(world.hub, str(state["campaign_id"]))
    return str(state["model_id"])


def approve(world: ServedWorld, model_id: str) -> None:
    """The owner's command, beside the running witness."""
    ModelApprovals(world.witness.runtime.store, world.witness.services.journal).approve(model_id)


def test_two_versions_are_approved_released_rolled_back_and_brought_forward(world: ServedWorld) -> None:
    first = trained(world)
    refused = post(world, f"/v1/models/{first}/release", {})
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["party"]) == (409, "approval-pending", "witness")
    assert problem["remedy"]
    assert (versions(world)[1]["waiting"], versions(world)[1]["status"]) == (True, "registered")
    approve(world, first)
    assert post(world, f"/v1/models/{first}/release", {}).status_code == 200
    assert used(world) == first

    second = trained(world)
    assert post(world, f"/v1/models/{second}/release", {}).status_code == 409
    approve(world, second)
    assert post(world, f"/v1/models/{second}/release", {}).status_code == 200
    assert used(world) == second
    assert (versions(world)[1]["current"], versions(world)[2]["current"]) == (False, True)
    compared = world.http.get(f"/v1/models/{first}/comparison", params={"with": second, "lang": "zh"}).json()
    assert compared["same_schema"] is True

    back = post(world, "/v1/models/rollback", {"line": LINE, "version": 1, "reason": "drift"})
    assert back.status_code == 200, back.text
    assert back.json()["over"] == [second]
    assert used(world) == first
    assert (versions(world)[2]["status"], versions(world)[1]["current"]) == ("rolled-back", True)
    agent, merchant = asker(world)
    with pytest.raises(PolicyRefusal) as caught:
        agent.services.enquiries.score(Enquiry(merchant), purpose="credit-scoring", model_id=second)
    assert caught.value.reason == "model-rolled-back"

    reopen_witness(world)
    forward = post(world, "/v1/models/rollback", {"line": LINE, "version": 2, "reason": "it was the data"})
    assert forward.status_code == 200, forward.text
    assert used(world) == second
    tokens = world.http.get("/v1/models/rollbacks").json()["rollbacks"]
    assert tokens == [back.json()["token"], forward.json()["token"]]


def test_both_rollbacks_are_in_the_log_and_in_everybodys_journal(world: ServedWorld) -> None:
    def logged() -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        while page := world.hub.log.reader.entries(len(entries), 1000):
            entries += [json.loads(leaf) for leaf in page]
        return [each for each in entries if each["type"] == "model-rollback"]

    wait_until(lambda: len(logged()) == 2, what="both rollbacks in the log")
    assert [(each["actor"], each["facts"]["serial"], each["facts"]["version"]) for each in logged()] == [
        ("witness", 1, 1),
        ("witness", 2, 2),
    ]
    for name, agent in world.agents.items():
        notes = [line for line in agent.services.journal.lines() if line.type == "model-rollback"]
        serials = [json.loads(line.entry)["facts"]["serial"] for line in notes]
        assert sorted(set(serials)) == [1, 2], name
