"""Campaigns on Flower's SuperLink, as processes with TLS and node keys; what dies, what is refused, what never runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from flwr.cli.build import build_fab_from_files
from flwr.supernode.fleet_http_client import FleetHttpClient

from crypto.manifest import holdout_mask
from crypto.training_key import TrainingKey, public_pem
from hub.campaign_record import CampaignRecord
from hub.cohort import Holding
from hub.simulation import Budget, Federation, NodeData
from hub.superlink import api as superlink_api
from hub.superlink.api import SuperLinkApi
from hub.superlink.files import address_file
from models.artefact import ModelArtefact
from models.central import train_with_opacus
from models.encoder_spec import EncoderSpec
from nodes.supernode import SuperNode
from tests.deployment.superlink_world import SuperLinkWorld
from tests.served_world import wait_until

PATIENCE_S = 240.0
pytestmark = [pytest.mark.deployment, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLinkWorld]:
    made = SuperLinkWorld(tmp_path_factory.mktemp("superlink"))
    try:
        yield made
    finally:
        made.close()


def api_of(world: SuperLinkWorld) -> SuperLinkApi:
    options = world.hub.config.superlink
    assert options is not None
    return SuperLinkApi(options)


def opened_counts(world: SuperLinkWorld, campaign_id: str):
    record = CampaignRecord(world.hub.campaigns.book, campaign_id, hub_key=world.hub.keys.identity)
    released = record.released()
    assert released is not None
    return released.counts


def local_counts(world: SuperLinkWorld, campaign_id: str, base: Path):
    """The same campaign over LocalGrid: other keys, same merchants, same hold-out."""
    parties = [party for party in world.agents if party != "witness"]
    federation = Federation(
        world.schema,
        [NodeData(party, party.partition("-")[0], world.training_data(party)) for party in parties],
        {kind: Holding.of(named) for kind, named in world.sources.items()},
        world.pseudonyms,
        base,
        budget=Budget(90, 1e-5),
        insecure_noise_off=True,
    )
    salt = world.hub.campaigns.book.get(campaign_id).holdout_salt
    plan = federation.plan(epsilon=3.0, delta=1e-5, holdout_salt=salt, holdout_fraction=0.2, noise_on=False)
    try:
        return federation.run(plan, lambda _: None).counts
    finally:
        federation.close()


def submissions(world: SuperLinkWorld, campaign_id: str) -> int:
    return sum(what == "engine" and "submitted" in detail for _, what, detail in world.steps(campaign_id))


def wait_for_step(world: SuperLinkWorld, campaign_id: str, step: str) -> None:
    """A trip takes seconds, a run's start more, and many times that on a busy machine."""
    wait_until(
        lambda: any(what == step for _, what, _ in world.steps(campaign_id)),
        what=f"{step} of {campaign_id}",
        seconds=PATIENCE_S,
    )


def test_the_table_is_the_local_grids_bit_for_bit(world: SuperLinkWorld, tmp_path: Path) -> None:
    campaign_id = world.start(engine="superlink", noise="off")
    state = world.ended(campaign_id, seconds=PATIENCE_S)
    assert state["status"] == "succeeded", state["failure"]
    assert submissions(world, campaign_id) == 1
    assert np.array_equal(opened_counts(world, campaign_id), local_counts(world, campaign_id, tmp_path))
    runs = api_of(world).runs(campaign_id)
    assert len(runs) == 1


def test_a_campaign_of_all_stages_is_what_one_party_would_have_had(world: SuperLinkWorld) -> None:
    campaign_id = world.start(
        engine="superlink",
        noise="off",
        stages=["encoder", "scorecard", "evaluation"],
        encoder={"rounds": 4, "learning_rate": 2.0},
        evaluation={"bands": 6},
        holdout=0.5,
    )
    state = world.ended(campaign_id, seconds=PATIENCE_S)
    assert state["status"] == "succeeded", state["failure"]
    models = world.hub.models
    encoder = ModelArtefact.from_bytes(models.artefact(state["models"]["encoder"], unreleased=True)).encoder
    assert encoder is not None
    kept = ~holdout_mask(world.pseudonyms, world.hub.campaigns.book.get(campaign_id).holdout_salt, 0.5)
    rows, outcome = world.codes["bank"][kept], world.outcome[kept]
    central = train_with_opacus(EncoderSpec.model_validate_json(encoder.spec), rows, outcome, n_public=len(rows))
    assert np.abs(encoder.parameters() - central).max() < 1e-4
    assert np.abs(central).max() > 0.05
    found = world.hub.evaluations.newest(state["models"]["scorecard"])
    assert found is not None
    known = world.outcome[world.evaluated(campaign_id, 0.5)]
    assert sum(band.count_bad for band in found.bands) == int((known == 0).sum()) > 0
    assert sum(band.count_good for band in found.bands) == int((known == 1).sum()) > 0


def test_code_that_the_hub_ships_is_never_fetched_or_run(
    world: SuperLinkWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, answers = tmp_path / "ran", tmp_path / "answers"
    server = f"""
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()

@app.main()
def main(grid, context):
    messages = [
        Message(RecordDict({{"texts": ConfigRecord({{"x": "y"}})}}), node, "train.steal", ttl=60.0)
        for node in grid.get_node_ids()
    ]
    replies = list(grid.send_and_receive(messages, timeout=30))
    Path({str(answers)!r}).write_text(" ".join(str(reply.error.code) for reply in replies if reply.has_error()))
"""
    client = f"""
from pathlib import Path
from flwr.clientapp import ClientApp
Path({str(ran)!r}).write_text("hostile code ran")
app = ClientApp()

@app.train("steal")
def steal(message, context):
    Path({str(ran)!r}).write_text("hostile code ran")
"""
    project = superlink_api.build_bundle.__globals__["_PROJECT"]
    hostile = build_fab_from_files(
        {
            "pyproject.toml": project.encode(),
            "LICENSE": b"none\n",
            "digua_campaign/__init__.py": b"",
            "digua_campaign/server.py": server.encode(),
            "digua_campaign/client.py": client.encode(),
        }
    )[0]
    fetched: list[str] = []
    monkeypatch.setattr(superlink_api, "build_bundle", lambda: hostile)
    for name in ("GetFab", "GetRun"):
        monkeypatch.setattr(FleetHttpClient, name, lambda *_, name=name: fetched.append(name))
    api_of(world).submit("hostile", Path("/nowhere"))
    wait_until(answers.exists, what="the hostile app's end", seconds=90)
    time.sleep(0.5)
    assert answers.read_text().split() == ["2"] * len(world.agents)  # each node's own app knows no such step
    assert not ran.exists()
    assert fetched == []


def test_a_key_that_is_not_on_the_roster_is_not_let_in(world: SuperLinkWorld, caplog: pytest.LogCaptureFixture) -> None:
    services = world.agents["bank-1"].services
    assert services.desk is not None
    stranger = TrainingKey.generate()
    node = SuperNode(world.address, world.root, stranger.private_key, services.desk.reply)
    node.start()
    wait_until(lambda: "does not know this node's training key" in caplog.text, what="the refusal")
    assert not node.connected
    node.stop()
    registered = {each.public_key for each in api_of(world).nodes()}
    roster = world._roster_parties()
    assert registered == {public_pem(party.training_key) for party in roster if party.training_key is not None}
    assert public_pem(stranger.public) not in registered


def test_only_the_fleet_api_is_to_be_had_from_outside(world: SuperLinkWorld) -> None:
    options = world.hub.config.superlink
    assert options is not None
    inner = address_file(options).read_text().strip()
    with httpx.Client(verify=str(world.root), trust_env=False) as outside:
        for path in ("/v1/control/list-runs", "/v1/control/start-run", "/v1/runtime/acquire-task", "/docs"):
            assert outside.post(f"https://{world.address}{path}").status_code == 404
        assert outside.post(f"https://{world.address}/v1/fleet/pull-messages").status_code != 404
        for token in ("", "Bearer wrong"):
            answer = outside.post(f"http://{inner}/v1/control/start-run", headers={"Authorization": token})
            assert answer.status_code == 404


def test_a_killed_superlink_comes_back_and_the_campaign_goes_on(world: SuperLinkWorld, tmp_path: Path) -> None:
    # All banks are needed: on a busy machine others would go on without one that is late at the new SuperLink.
    campaign_id = world.start(engine="superlink", noise="off", quorum={"bank": 3})
    wait_for_step(world, campaign_id, "accept")
    world.kill_superlink()
    state = world.ended(campaign_id, seconds=PATIENCE_S)
    assert state["status"] == "succeeded", state["failure"]
    assert submissions(world, campaign_id) >= 2
    assert np.array_equal(opened_counts(world, campaign_id), local_counts(world, campaign_id, tmp_path))
    world.wait_joined()


def test_a_killed_node_that_the_quorum_needs_comes_back_and_the_table_is_the_same(
    world: SuperLinkWorld, tmp_path: Path
) -> None:
    process = world.move_to_process("bank-3")
    campaign_id = world.start(engine="superlink", noise="off", quorum={"bank": 3})
    wait_for_step(world, campaign_id, "seeds")
    process.kill()
    process.wait()
    wait_for_step(world, campaign_id, "void")
    world.take_back("bank-3")
    state = world.ended(campaign_id, seconds=PATIENCE_S)
    assert state["status"] == "succeeded", state["failure"]
    assert {each["party"] for each in state["refusals"]} == {"bank-3"}
    assert np.array_equal(opened_counts(world, campaign_id), local_counts(world, campaign_id, tmp_path))


def test_a_node_with_another_partys_training_key_takes_no_part(world: SuperLinkWorld) -> None:
    for party in ("bank-1", "bank-2"):
        world.supernodes.pop(party).stop()
    stolen, thief = world.agents["bank-2"].services.runtime.keys.training, world.agents["bank-1"].services.desk
    assert stolen is not None
    assert thief is not None
    impostor = SuperNode(world.address, world.root, stolen.private_key, thief.reply, poll_seconds=0.1)
    impostor.start()
    wait_until(lambda: impostor.connected, what="the impostor at the SuperLink")
    try:
        nodes = ["bank-2", "bank-3", "tax-1", "utility-1"]
        state = world.ended(world.start(engine="superlink", noise="off", nodes=nodes), seconds=PATIENCE_S)
    finally:
        impostor.stop()
    assert state["status"] == "succeeded", state["failure"]
    assert {each["party"] for each in state["refusals"]} == {"bank-2"}
    for party in ("bank-1", "bank-2"):
        world.join(party)
    world.wait_joined()


def test_a_killed_worker_leaves_one_run_which_its_successor_watches(world: SuperLinkWorld, tmp_path: Path) -> None:
    campaign_id = world.start(engine="superlink", noise="off")
    wait_for_step(world, campaign_id, "cosign")
    world.kill_worker()
    state = world.ended(campaign_id, seconds=PATIENCE_S)
    assert state["status"] == "succeeded", state["failure"]
    assert submissions(world, campaign_id) == 1
    assert np.array_equal(opened_counts(world, campaign_id), local_counts(world, campaign_id, tmp_path))
    wait_until(lambda: not any(run.alive for run in api_of(world).runs(campaign_id)), what="the run's end")
    wait_until(lambda: world.processes_for("campaign-process") <= 1, what="the end of all but the warm process")
    wait_until(lambda: world.processes_for("flwr-serverapp") == 0, what="the end of the run's process")


def test_an_aborted_campaign_leaves_no_run(world: SuperLinkWorld) -> None:
    campaign_id = world.start(engine="superlink", noise="off")
    wait_for_step(world, campaign_id, "cosign")
    asked = world.http.post(f"/v1/campaigns/{campaign_id}/abort", headers={"Idempotency-Key": campaign_id})
    assert asked.status_code == 200, asked.text
    assert world.ended(campaign_id, seconds=PATIENCE_S)["status"] == "aborted"
    wait_until(lambda: not any(run.alive for run in api_of(world).runs(campaign_id)), what="the run's end", seconds=60)


def test_a_killed_node_is_named_and_the_quorum_decides(world: SuperLinkWorld) -> None:
    process = world.move_to_process("bank-3")
    campaign_id = world.start(engine="superlink", noise="off", quorum={"bank": 2})
    wait_for_step(world, campaign_id, "seeds")
    process.kill()
    state = world.ended(campaign_id, seconds=PATIENCE_S)
    assert state["status"] == "succeeded", state["failure"]
    assert {each["party"] for each in state["refusals"]} == {"bank-3"}

    short = world.ended(world.start(engine="superlink", noise="off", quorum={"bank": 3}), seconds=PATIENCE_S)
    assert short["status"] == "failed"
    assert short["failure"]["code"] == "quorum-missed"
    assert "bank-3 is not connected" in short["failure"]["detail"]
    waits = [each for each in short["progress"] if each["what"] == "wait"]
    assert [(each["done"], each["total"], each["wait"]["parties"]) for each in waits[-1:]] == [(5, 6, ["bank-3"])]
    world.take_back("bank-3")


def test_a_stopped_hub_leaves_no_process(tmp_path: Path) -> None:
    """Stopped while a run is under way: the SuperLink, its executor and the run's own process end with the hub."""
    world = SuperLinkWorld(tmp_path, nodes={"bank": 1, "tax": 1, "utility": 1})
    try:
        campaign_id = world.start(engine="superlink", noise="off")
        wait_for_step(world, campaign_id, "cosign")
    finally:
        world.close()
    wait_until(lambda: world.stray() == [], what="the end of all processes", seconds=60)
