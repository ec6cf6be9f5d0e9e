"""What the running hub foretells of an order, beside what its terms state and what the nodes' ledgers then say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from crypto.jws import peek_payload
from crypto.keys import IdentityKey
from crypto.wire.campaign import TablesMechanism, Terms
from hub.cli import app
from tests.served_world import ServedWorld

PARTIES = ("witness", "bank-1", "bank-2", "bank-3", "tax-1", "tax-2", "utility-1", "utility-2")
ORDER = {"name": "small", "schema": "small", "stages": ["scorecard"], "epsilon": 3.0, "holdout": 0.2}


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    made = ServedWorld(tmp_path_factory.mktemp("served"), budgets=dict.fromkeys(PARTIES, 20.0))
    try:
        yield made
    finally:
        made.close()


def ask(world: ServedWorld, *, language: str = "en", **query: float) -> httpx.Response:
    body = {"campaign": ORDER, "schema": json.loads(world.schema.canonical_json())}
    headers = {"Idempotency-Key": IdentityKey.generate().raw.hex(), "Accept-Language": language}
    return world.http.post("/v1/campaigns/plan", json=body, params=query, headers=headers)


def planned(world: ServedWorld, **query: float) -> dict[str, Any]:
    answer = ask(world, **query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_plan_keeps_what_it_foretells(world: ServedWorld) -> None:
    before = planned(world, campaigns=3, limit=20)
    assert before["basis"] == "assumed"
    assert before["nodes_by_kind"] == {"bank": 3, "tax": 2, "utility": 2}
    assert all(node["connected"] and node["before"] == 0 for node in before["nodes"])
    assert not world.hub.campaigns.book.all()  # nothing was ordered

    campaign_id = world.start(epsilon=3.0)
    state = world.ended(campaign_id)
    terms = Terms.model_validate_json(peek_payload(world.hub.campaigns.book.terms(f"{campaign_id}/scorecard/1") or ""))
    stated = [each.sigma for each in terms.privacy.mechanisms if isinstance(each, TablesMechanism)]
    counts = {each["of"]: each for each in before["counts"]}
    assert [counts["defaulted"]["sigma"], counts["pairs"]["sigma"]] == stated
    # The campaign draws a hold-out salt of its own.
    everyone = before["trained"] + before["held_out"]
    assert abs(terms.cohort_size - before["trained"]) < 0.1 * everyone

    assert state["status"] == "succeeded", state["failure"]
    spent = world.agents["bank-1"].runtime.ledger.spent()
    after = planned(world, campaigns=3, limit=20)
    bank = next(node for node in after["nodes"] if node["party_id"] == "bank-1")
    foretold = next(node for node in before["nodes"] if node["party_id"] == "bank-1")
    assert bank["before"] == pytest.approx(foretold["after"], rel=1e-6)
    assert bank["before"] == pytest.approx(spent.epsilon, rel=1e-6)
    assert bank["after"] > bank["before"]
    assert bank["allowed"] == foretold["allowed"] - 1
    assert after["allowed"] == bank["allowed"]
    assert (after["basis"], after["from_campaign"]) == ("published", campaign_id)
    # Its counts are the table's own, scaled to the merchants of now.
    of = {each["of"]: each for each in after["counts"]}
    assert of["pairs"]["expected_smallest"] < counts["pairs"]["expected_smallest"]
    assert after["default_rate"] != before["default_rate"]


def test_warnings_come_in_the_callers_language(world: ServedWorld) -> None:
    # A few hundred merchants are too few, and the limit is below one campaign.
    english = {each["code"]: each for each in ask(world, limit=1.0).json()["warnings"]}
    chinese = {each["code"]: each for each in ask(world, limit=1.0, language="zh").json()["warnings"]}
    assert english.keys() == chinese.keys()
    assert english["limit-short"]["what"] == "A limit of epsilon 1 allows 0 of the 4 campaigns."
    assert chinese["limit-short"]["remedy"] == "请调小 ε 或减少次数，或请节点负责人提高 budget.epsilon。"


def test_the_command_asks_the_running_hub(world: ServedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")
    file = tmp_path / "campaign.yaml"
    file.write_text(yaml.safe_dump(ORDER | {"schema": str(world.schema_file)}), encoding="utf-8")
    call = ["campaign", "plan", str(file), "--config", str(world.base / "hub" / "hub.yaml"), "--campaigns", "5"]
    told = CliRunner().invoke(app, [*call, "--limit", "20", "--json"])
    assert told.exit_code == 0, told.output
    document = json.loads(told.output)
    assert [each["campaigns"] for each in document["yearly"]] == [1, 2, 4, 5, 12]
    assert {node["party_id"] for node in document["nodes"]} == set(PARTIES) - {"witness"}
    shown = CliRunner().invoke(app, call)
    assert shown.exit_code == 0, shown.output
    assert "bank-3" in shown.output
    assert "Several such campaigns" in shown.output


def test_orders_and_wishes_that_cannot_be_are_refused(world: ServedWorld) -> None:
    assert ask(world, target=0.9).status_code == 422
    assert ask(world, campaigns=0).status_code == 422
    body = {"campaign": ORDER | {"nodes": ["nobody"]}, "schema": json.loads(world.schema.canonical_json())}
    refused = world.http.post("/v1/campaigns/plan", json=body, headers={"Idempotency-Key": "plan-of-nobody"})
    assert (refused.status_code, refused.json()["code"]) == (422, "campaign-order-invalid")
    key = {"Idempotency-Key": "plan-of-a-stranger"}
    stranger = httpx.post(f"{world.url}/v1/campaigns/plan", json=body, headers=key, trust_env=False)
    assert stranger.status_code == 401
