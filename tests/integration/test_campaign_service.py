"""Campaigns of a served hub: over HTTP and real links, with refusals, losses, aborts and restarts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from crypto.blocks import terms_blocks
from crypto.manifest import holdout_mask
from hub.campaign_plan import ReleasedTable
from hub.campaign_record import CampaignRecord
from hub.cli import app as hub_cli
from hub.cohort import Holding
from hub.opened_tables import opened_table
from hub.simulation import Budget, Federation, NodeData
from models.artefact import ModelArtefact, ScorecardEntry
from models.central import train_with_opacus
from models.encoder_spec import EncoderSpec
from models.pooling import pooled
from models.scorecard_fit import train
from tests.assessments import assess
from tests.gates import Gate
from tests.served_world import Agent, ServedWorld, wait_until


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    """Nodes with large budgets but tax-2's; what a test disturbs it puts right again."""
    made = ServedWorld(
        tmp_path_factory.mktemp("served"),
        budgets=dict.fromkeys(("witness", "bank-1", "bank-2", "bank-3", "tax-1", "utility-1", "utility-2"), 95.0)
        | {"tax-2": 0.5},
    )
    try:
        yield made
    finally:
        made.close()


def local_counts(world: ServedWorld, state: dict[str, object], base: Path):
    """The same campaign over LocalGrid: other keys, same merchants, same hold-out."""
    parties = [party for party in world.agents if party != "witness"]
    nodes = [NodeData(party, party.partition("-")[0], world.training_data(party)) for party in parties]
    federation = Federation(
        world.schema,
        nodes,
        {kind: Holding.of(named) for kind, named in world.sources.items()},
        world.pseudonyms,
        base,
        budget=Budget(90, 1e-5),
        insecure_noise_off=True,
    )
    campaign = world.hub.campaigns.book.get(str(state["campaign_id"]))
    plan = federation.plan(
        epsilon=3.0, delta=1e-5, holdout_salt=campaign.holdout_salt, holdout_fraction=0.2, noise_on=False
    )
    try:
        return federation.run(plan, lambda _: None).counts
    finally:
        federation.close()


def opened_of(world: ServedWorld, campaign_id: str) -> ReleasedTable:
    book = world.hub.campaigns.book
    record = CampaignRecord(book, campaign_id, hub_key=world.hub.keys.identity)
    released = record.released()
    assert released is not None
    return released


def opened_counts(world: ServedWorld, campaign_id: str):
    return opened_of(world, campaign_id).counts


def log_types(world: ServedWorld, campaign_id: str) -> list[str]:
    """Types of an ended campaign's entries, once the log's sequencer has put them in order."""

    def read() -> list[str]:
        entries: list[dict[str, Any]] = []
        while page := world.hub.log.reader.entries(len(entries), 1000):
            entries += [json.loads(leaf) for leaf in page]
        return [each["type"] for each in entries if each["facts"].get("campaign_id") == campaign_id]

    wait_until(lambda: "campaign-ended" in read(), what="the log's last entry")
    return read()


def test_a_campaign_over_links_gives_the_table_of_the_local_grid(world: ServedWorld, tmp_path: Path) -> None:
    campaign_id = world.start(noise="off")
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    assert np.array_equal(opened_counts(world, campaign_id), local_counts(world, state, tmp_path))
    assert [each["what"] for each in state["progress"] if each["done"] == each["total"]] == [
        "cosign",
        "accept",
        "seeds",
        "exchange",
        "share",
        "release",
        "open",
    ]
    assert log_types(world, campaign_id) == [
        "campaign-started",
        "manifest",
        "table-opened",
        "attempt-decision",
        "model-registered",
        "campaign-ended",
    ]
    assess(world.hub, campaign_id)
    # The model is registered with what the witness needs to fit it again, and does.
    release = world.http.post(f"/v1/models/{state['model_id']}/release", headers={"Idempotency-Key": campaign_id})
    assert release.status_code == 200, release.text
    artefact = ModelArtefact.from_bytes(world.http.get(f"/v1/models/{state['model_id']}").content)
    assert artefact.campaign == campaign_id


def test_a_campaign_in_blocks_over_links_gives_the_same_table(world: ServedWorld, tmp_path: Path) -> None:
    campaign_id = world.start(noise="off", block_rows=128)
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    opened = opened_of(world, campaign_id)
    blocks = terms_blocks(opened.terms)
    assert blocks.rows <= 64
    assert blocks.count > 4
    whole = local_counts(world, state, tmp_path)  # in one block
    assert np.array_equal(opened.counts, whole)
    trips = [each["what"] for each in state["progress"] if each["done"] == each["total"]]
    assert trips.count("share") == blocks.count


def test_a_node_over_its_budget_is_left_out_and_named_with_the_numbers(world: ServedWorld) -> None:
    state = world.ended(world.start(epsilon=3.0))
    assert state["status"] == "succeeded", state["failure"]
    (refusal,) = state["refusals"]
    assert (refusal["party"], refusal["code"]) == ("tax-2", "budget-exceeded")
    assert re.search(r"epsilon 0 is spent and (3|2\.99\d*) is asked.*more than the budget 0\.5", refusal["detail"])
    assert refusal["attempt"].endswith("/scorecard/1")
    assert state["progress"][-1]["attempt"].endswith("/scorecard/2")


def test_a_quorum_that_is_missed_names_who_is_missing(world: ServedWorld) -> None:
    agent = world.agents["bank-3"]
    agent.link.stop()
    wait_until(lambda: "bank-3" not in world.hub.links.connected(), what="bank-3's absence")
    try:
        state = world.ended(world.start(noise="off", quorum={"bank": 3}))
    finally:
        reconnect(world, "bank-3")
    assert state["status"] == "failed"
    assert state["failure"]["code"] == "quorum-missed"
    assert "bank-3 is not connected" in state["failure"]["detail"]
    assert state["failure"]["remedy"]


def test_a_campaign_that_begins_while_a_needed_link_opens_anew_goes_on(world: ServedWorld) -> None:
    world.agents["bank-3"].link.stop()
    wait_until(lambda: "bank-3" not in world.hub.links.connected(), what="bank-3's absence")
    campaign_id = world.start(noise="off", quorum={"bank": 3})
    wait_until(lambda: world.state(campaign_id)["progress"], what="the campaign's wait")
    reconnect(world, "bank-3")
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    assert "bank-3" in {entry.party_id for entry in opened_of(world, campaign_id).terms.roster}


def reconnect(world: ServedWorld, party: str) -> None:
    world.agents[party].close()
    world.agents[party] = Agent.open(world.agents[party].config)
    world.agents[party].connect()


def test_an_aborted_campaign_is_voided_and_charges_nobody(world: ServedWorld) -> None:
    before = world.agents["bank-1"].runtime.ledger.spent().epsilon
    with Gate(world.agents["bank-2"], "train.share") as gate:
        campaign_id = world.start(epsilon=3.0, nodes=["bank-1", "bank-2", "tax-1", "utility-1"])
        assert gate.reached.wait(120)
        assert world.state(campaign_id)["status"] == "running"
        answer = world.http.post(f"/v1/campaigns/{campaign_id}/abort", headers={"Idempotency-Key": campaign_id})
        assert answer.status_code == 200
        gate.opened.set()
        state = world.ended(campaign_id)
    assert state["status"] == "aborted"
    assert state["failure"]["code"] == "campaign-aborted"
    assert "attempt-decision" in log_types(world, campaign_id)
    charges = [each for each in world.agents["bank-1"].runtime.ledger.charges() if each.campaign_id == campaign_id]
    assert [each.refunded for each in charges] == [True]
    assert world.agents["bank-1"].runtime.ledger.spent().epsilon == before
    again = world.http.post(f"/v1/campaigns/{campaign_id}/abort", headers={"Idempotency-Key": f"{campaign_id}-2"})
    assert (again.status_code, again.json()["code"]) == (409, "campaign-state")


def test_a_node_that_was_away_hears_of_the_void_when_it_is_back(world: ServedWorld) -> None:
    agent = world.agents["utility-2"]
    with Gate(agent, "train.share", lose="reply") as lost, Gate(agent, "train.outcome", lose="message"):
        campaign_id = world.start(epsilon=3.0, nodes=["bank-1", "bank-2", "tax-1", "utility-1", "utility-2"])
        state = world.ended(campaign_id)
        assert lost.reached.is_set()
    assert state["status"] == "succeeded", state["failure"]
    assert state["refusals"][0]["party"] == "utility-2"
    charged = [each for each in agent.runtime.ledger.charges() if each.campaign_id == campaign_id]
    assert len(charged) == 1
    wait_until(
        lambda: all(e.refunded for e in agent.runtime.ledger.charges() if e.campaign_id == campaign_id),
        what="the refund",
    )
    wait_until(lambda: world.hub.campaigns.book.undelivered() == {}, what="the hub's note of it")


def test_a_restarted_hub_voids_what_was_under_way_and_tries_again(world: ServedWorld) -> None:
    with Gate(world.agents["bank-1"], "train.exchange") as gate:
        campaign_id = world.start(noise="off")
        assert gate.reached.wait(120)
        world.process.restart()
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    assert state["progress"][-1]["attempt"].endswith("/scorecard/2")
    types = log_types(world, campaign_id)
    assert types.count("manifest") == 2
    assert types.count("attempt-decision") == 2
    assert world.hub.campaigns.book.undecided(campaign_id) == ()
    world.wait_connected()


def test_a_campaign_killed_after_the_release_opens_what_was_released(world: ServedWorld, tmp_path: Path) -> None:
    with Gate(world.witness, "query.release", answer_first=True) as gate:
        campaign_id = world.start(noise="off")
        assert gate.reached.wait(120)
        world.kill_campaign(campaign_id)
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    assert {each["attempt"] for each in state["progress"]} == {f"{campaign_id}/scorecard/1"}
    assert np.array_equal(opened_counts(world, campaign_id), local_counts(world, state, tmp_path))
    assert log_types(world, campaign_id).count("attempt-decision") == 1
    charges = [e for e in world.agents["bank-1"].runtime.ledger.charges() if e.campaign_id == campaign_id]
    assert [each.refunded for each in charges] == [False]
    world.wait_connected()


def test_an_encoder_goes_on_from_its_checkpoint_after_a_restart(world: ServedWorld) -> None:
    with Gate(world.agents["bank-1"], "train.round", skip=4) as gate:
        campaign_id = world.start(
            stages=["encoder", "scorecard"], noise="off", encoder={"rounds": 8, "learning_rate": 2.0}
        )
        assert gate.reached.wait(120)
        world.process.restart()
    state = world.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    told = [each for each in state["progress"] if each["stage"] == "encoder" and each["what"] == "round"]
    assert {each["attempt"] for each in told} == {f"{campaign_id}/encoder/1"}
    assert told[-1]["done"] == 8
    sent = [e.attempt for e in world.agents["bank-2"].runtime.ledger.charges() if e.campaign_id == campaign_id]
    assert sum("/encoder/" in each for each in sent) == 8

    # It is the model that one party holding all rows would have trained without any interruption.
    encoder = ModelArtefact.from_bytes(world.hub.models.artefact(state["models"]["encoder"], unreleased=True)).encoder
    assert encoder is not None
    kept = ~holdout_mask(world.pseudonyms, world.hub.campaigns.book.get(campaign_id).holdout_salt, 0.2)
    rows, outcome = world.codes["bank"][kept], world.outcome[kept]
    central = train_with_opacus(EncoderSpec.model_validate_json(encoder.spec), rows, outcome, n_public=len(rows))
    assert np.abs(encoder.parameters() - central).max() < 1e-4
    assert np.abs(central).max() > 0.05

    assess(world.hub, campaign_id)
    for model_id in (state["models"]["encoder"], state["models"]["scorecard"]):
        release = world.http.post(f"/v1/models/{model_id}/release", headers={"Idempotency-Key": model_id})
        assert release.status_code == 200, release.text
    world.wait_connected()


def test_orders_that_cannot_run_are_refused_at_once(world: ServedWorld) -> None:
    cases = {
        "campaign-order-invalid": [
            {"nodes": ["bank-9"]},
            {"quorum": {"airline": 1}},
            {"stages": ["encoder"], "encoder": {"kind": "tax"}},
        ],
        "request-invalid": [{"stages": ["scorecard", "encoder"]}, {"epsilon": -1}, {"unknown": 1}],
        "schema-invalid": [{"stages": ["encoder"], "encoder": {"clip": 1e-9}}],
    }
    for code, orders in cases.items():
        for fields in orders:
            response = world.order(**fields)
            assert response.status_code == 422, (fields, response.text)
            assert response.json()["code"] == code, (fields, response.text)
            assert response.json()["remedy"]
    assert world.http.get("/v1/campaigns/none").json()["code"] == "not-found"
    nobody = httpx.get(f"{world.url}/v1/campaigns", trust_env=False)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthorised")


def test_the_command_line_starts_watches_lists_shows_and_aborts(world: ServedWorld, tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(f"name: by hand\nschema: {world.schema_file}\nstages: [scorecard]\nepsilon: 3\nnoise: off\n")
    config = ["--config", str(world.base / "hub" / "hub.yaml")]
    run = CliRunner()
    started = run.invoke(hub_cli, ["campaign", "start", str(file), "--watch", "--json", *config])
    assert started.exit_code == 0, started.output
    # The hub in this process logs to standard output, too.
    lines = [json.loads(line) for line in started.stdout.splitlines() if line.startswith("{")]
    assert next(line["what"] for line in lines[:-1]) == "cosign"
    assert lines[-1]["status"] == "succeeded"
    campaign_id = lines[-1]["campaign_id"]
    listed = json.loads(run.invoke(hub_cli, ["campaign", "list", "--json", *config]).stdout.splitlines()[-1])
    assert listed[0]["campaign_id"] == campaign_id
    shown = run.invoke(hub_cli, ["campaign", "show", campaign_id, *config])
    assert shown.exit_code == 0
    assert campaign_id in shown.stdout
    watched = run.invoke(hub_cli, ["campaign", "watch", campaign_id, *config])
    assert watched.exit_code == 0
    late = run.invoke(hub_cli, ["campaign", "abort", campaign_id, *config])
    assert late.exit_code != 0
    assert "campaign-state" in str(late.exception)


def test_a_later_campaign_counts_the_table_of_an_earlier_one(world: ServedWorld) -> None:
    first = world.ended(world.start(epsilon=3.0, nodes=["bank-1", "bank-2", "bank-3", "tax-1", "utility-1"]))
    assert first["status"] == "succeeded", first["failure"]
    refused = world.order(epsilon=3.0, earlier=[first["model_id"]])
    assert (refused.status_code, refused.json()["field"]) == (422, "earlier")
    assert "not released" in refused.json()["detail"]
    released(world, first)
    assert "noise" in world.order(noise="off", earlier=[first["model_id"]]).json()["detail"]
    second = world.ended(
        world.start(
            epsilon=3.0, nodes=["bank-1", "bank-2", "bank-3", "tax-1", "utility-1"], earlier=[first["model_id"]]
        )
    )
    assert second["status"] == "succeeded", second["failure"]
    released(world, second)
    artefact = ModelArtefact.from_bytes(world.http.get(f"/v1/models/{second['model_id']}").content)
    assert [each.model_id for each in artefact.earlier] == [first["model_id"]]
    card = world.http.get(f"/v1/models/{second['model_id']}/card", headers={"Accept-Language": "en"})
    assert f"{first['model_id']} (×" in card.text
    before, now = (opened_table(opened_of(world, str(each["campaign_id"]))) for each in (first, second))
    assert ScorecardEntry.of(train(pooled(now, [before])[0])) == artefact.scorecard


def released(world: ServedWorld, state: dict[str, Any]) -> None:
    campaign_id = str(state["campaign_id"])
    assess(world.hub, campaign_id)
    answer = world.http.post(f"/v1/models/{state['model_id']}/release", headers={"Idempotency-Key": campaign_id})
    assert answer.status_code == 200, answer.text


def test_an_encoder_starts_from_a_released_one(world: ServedWorld) -> None:
    options = {"rounds": 3, "learning_rate": 2.0}
    first = world.ended(world.start(stages=["encoder"], noise="off", encoder=options))
    assert first["status"] == "succeeded", first["failure"]
    again = options | {"start": first["model_id"]}
    refused = world.order(stages=["encoder"], noise="off", encoder=again)
    assert (refused.status_code, refused.json()["field"]) == (422, "encoder.start")
    released(world, first)
    other = world.order(stages=["encoder"], noise="off", encoder=again | {"hidden": [4]})
    assert (other.status_code, other.json()["field"]) == (422, "encoder.start")
    second = world.ended(world.start(stages=["encoder"], noise="off", encoder=again))
    assert second["status"] == "succeeded", second["failure"]
    released(world, second)  # the witness takes the same steps from the first one's parameters
    encoder = ModelArtefact.from_bytes(world.http.get(f"/v1/models/{second['model_id']}").content).encoder
    assert encoder is not None
    assert EncoderSpec.model_validate_json(encoder.spec).start == first["model_id"]
