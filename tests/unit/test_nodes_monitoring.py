"""A node's status, beside it and by its own listener; its metrics; and that it listens to nobody outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from typer.testing import CliRunner

from nodes import readiness
from nodes.cli import app as commands
from nodes.config import MonitorConfig
from nodes.keys import IDENTITY_FILE
from nodes.metrics import known_code
from nodes.monitor import MonitorServer, create_monitor
from nodes.own_files import hold_alone
from nodes.readiness import examine, look
from tests.scoring_world import NOW, ScoringWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    made = ScoringWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(world: ScoringWorld) -> TestClient:
    services = world.nodes["bank-02"]
    return TestClient(create_monitor(services, MonitorConfig(), connected=lambda: True), base_url="http://localhost")


def scraped(client: TestClient) -> dict[str, float]:
    return {
        f"{sample.name}{sample.labels or ''}": sample.value
        for family in text_string_to_metric_families(client.get("/metrics").raise_for_status().text)
        for sample in family.samples
    }


def verdicts(world: ScoringWorld, later: timedelta = timedelta()) -> dict[str, bool]:
    runtime = world.nodes["bank-02"].runtime
    return {each.name: each.ok for each in examine(runtime.config, runtime.store, runtime.roster, NOW + later)}


def test_a_node_with_all_it_needs_is_ready(world: ScoringWorld, client: TestClient) -> None:
    assert verdicts(world) == dict.fromkeys(("store", "keys", "roster", "feed", "budget"), True)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["status"] == "ready"


def test_what_is_missing_is_named_with_its_remedy(
    world: ScoringWorld, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not verdicts(world, timedelta(seconds=61))["feed"]
    monkeypatch.setattr(readiness, "ROOM_BYTES", 1 << 60)
    assert not verdicts(world)["store"]
    (world.nodes["bank-02"].runtime.config.keys_dir / IDENTITY_FILE).chmod(0o644)
    answer = client.get("/readyz", headers={"Accept-Language": "zh"})
    assert answer.status_code == 503
    faulty = {each["name"]: each for each in answer.json()["checks"] if not each["ok"]}
    assert set(faulty) == {"store", "keys"}
    assert "磁盘" in faulty["store"]["remedy"]


def test_a_nearly_spent_budget_is_told_but_blocks_nothing(world: ScoringWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "NEARLY", 0.0)
    runtime = world.nodes["bank-02"].runtime
    (budget,) = [each for each in examine(runtime.config, runtime.store, runtime.roster, NOW) if each.name == "budget"]
    assert (budget.ok, budget.blocking) == (False, False)
    assert "0.00" in str(budget.what)


def test_the_command_looks_from_beside(world: ScoringWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    config = world.nodes["bank-02"].runtime.config
    assert {each.name: each.ok for each in look(config, NOW)}["running"] is False
    monkeypatch.setattr("nodes.commands.status.load_node_config", lambda _path: config)
    monkeypatch.setattr("nodes.commands.status.system_clock", lambda: NOW)
    with hold_alone(config):
        done = CliRunner().invoke(commands, ["status", "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["ready"] is True
    done = CliRunner().invoke(commands, ["status"], env={"DIGUA_LANG": "zh", "COLUMNS": "200"})
    assert done.exit_code == 1
    assert "节点未运行" in done.stdout


def test_metrics_tell_the_nodes_own_state(world: ScoringWorld, client: TestClient) -> None:
    found = scraped(client)
    runtime = world.nodes["bank-02"].runtime
    assert found["digua_node_link_up"] == 1
    assert found["digua_node_epsilon_spent"] == 0
    assert found["digua_node_epsilon_budget"] == runtime.config.budget.epsilon
    assert found["digua_node_feed_limit_seconds"] == runtime.config.feed_limit_seconds
    assert found["digua_node_feed_items"] == runtime.feed_seq > 0
    assert found["digua_node_batch_items{'state': 'waiting'}"] == 0
    assert any(name.startswith("digua_build_info") for name in found)


def test_another_name_is_not_answered(client: TestClient) -> None:
    assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "8.8.8.8", "node.example.org", "2001:4860:4860::8888"])
def test_it_never_listens_for_the_outside(host: str) -> None:
    with pytest.raises(ValidationError):
        MonitorConfig(host=host)


def test_it_listens_where_it_is_told_and_stops(world: ScoringWorld) -> None:
    config = MonitorConfig(port=0)
    server = MonitorServer(create_monitor(world.nodes["tax-01"], config, connected=lambda: False), config)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok"}
        assert "digua_node_link_up 0.0" in httpx.get(f"{url}/metrics", trust_env=False).text
    finally:
        server.stop()


def test_codes_of_others_are_no_labels() -> None:
    assert known_code("consent-revoked") == "consent-revoked"
    assert known_code("91330000MA2ABCDE1X") == "other"
