"""Alive, ready, metrics: what each says, to whom, and that a scrape names no merchant."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from hub import readiness
from hub.admin_client import HubAnswerError
from hub.app import create_app
from hub.commands.health import ask
from hub.readiness import FRESH_S, Readiness, examine
from hub.worker_pulse import WorkerPulse
from tests.hub_world import HubWorld, Member


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path)
    made.join(made.witness, Member("bank-01", "bank"))
    made.settle()
    yield made
    made.hub.close()


@pytest.fixture
def client(world: HubWorld) -> TestClient:
    return TestClient(create_app(world.hub), raise_server_exceptions=False)  # parts are not started


def bearer(world: HubWorld) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.hub.config.metrics_token_file.read_text().strip()}"}


def scraped(client: TestClient, world: HubWorld) -> dict[str, float]:
    """Sample with its labels → value."""
    text = client.get("/metrics", headers=bearer(world)).raise_for_status().text
    return {
        f"{sample.name}{sample.labels or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def verdicts(world: HubWorld) -> dict[str, bool]:
    return {each.name: each.ok for each in examine(world.hub)}


def test_a_hub_with_all_it_needs_is_ready(world: HubWorld, client: TestClient) -> None:
    WorkerPulse(world.hub.db, clock=world.hub.clock).beat()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert [each["name"] for each in answer.json()["checks"]] == [
        "database", "schema", "log", "keys", "witness", "worker",
    ]  # fmt: skip
    assert set(answer.json()["checks"][0]) == {"name", "ok", "blocking"}


def test_without_worker_or_witness_it_is_ready_but_says_so(world: HubWorld, client: TestClient) -> None:
    world.links.reachable = False
    english, chinese = client.get("/readyz"), client.get("/readyz", headers={"Accept-Language": "zh"})
    assert english.status_code == 200
    assert english.json()["status"] == "degraded"
    faulty = {each["name"]: each for each in english.json()["checks"] if not each["ok"]}
    assert set(faulty) == {"witness", "worker"}
    assert "digua-hub worker" in faulty["worker"]["remedy"]
    assert "训练进程" in next(each["what"] for each in chinese.json()["checks"] if each["name"] == "worker")


def test_a_worker_that_hangs_is_noticed(world: HubWorld) -> None:
    WorkerPulse(world.hub.db, clock=world.hub.clock).beat()
    assert verdicts(world)["worker"]
    world.now += timedelta(seconds=readiness.WORKER_LATE_S + 1)
    assert not verdicts(world)["worker"]


def test_keys_that_are_gone_or_others_readable_or_foreign_block(world: HubWorld, client: TestClient) -> None:
    file = world.hub.config.keys_dir / "voprf.seed"
    own = file.read_bytes()
    file.chmod(0o644)
    assert not verdicts(world)["keys"]
    file.chmod(0o600)
    assert verdicts(world)["keys"]
    file.write_bytes(bytes(reversed(own)))
    assert not verdicts(world)["keys"]
    file.unlink()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not-ready"
    assert "keys_dir" in next(each["remedy"] for each in answer.json()["checks"] if each["name"] == "keys")


def test_a_schema_of_another_program_blocks(world: HubWorld) -> None:
    with world.hub.db.session() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert not verdicts(world)["schema"]


def test_a_full_disk_blocks(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    if world.hub.db.engine.dialect.name != "sqlite":
        pytest.skip("a server's disk is the server's: its writes fail instead, see the next test")
    monkeypatch.setattr(readiness, "ROOM_BYTES", 1 << 60)
    assert not verdicts(world)["log"]


def test_a_database_that_takes_no_writes_blocks(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    if world.hub.db.engine.dialect.name == "sqlite":
        holder = sqlite3.connect(world.base / "hub.sqlite")
        monkeypatch.setattr("hub.db.BUSY_TIMEOUT_MS", 50)
        world.hub.db.engine.dispose()
        holder.execute("BEGIN IMMEDIATE")
        assert not verdicts(world)["log"]
        holder.close()
    else:
        with world.hub.db.autocommit() as connection:
            connection.exec_driver_sql("ALTER TABLE workers ADD CONSTRAINT shut CHECK (machine = '') NOT VALID")
        assert not verdicts(world)["log"]
        with world.hub.db.autocommit() as connection:
            connection.exec_driver_sql("ALTER TABLE workers DROP CONSTRAINT shut")
    assert verdicts(world)["log"]


def test_looking_changes_nothing(world: HubWorld) -> None:
    before = world.hub.log.reader.size()
    assert verdicts(world)["log"]
    assert world.hub.log.reader.size() == before
    assert WorkerPulse(world.hub.db, clock=world.hub.clock, machine="readiness-probe").age() is None


def test_the_command_says_what_is_missing(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(world.hub)
    monkeypatch.setattr("hub.commands.health.httpx.Client", lambda **_given: TestClient(app))
    assert ask(world.hub.config)["status"] == "ok"
    app = create_app(world.hub)
    (world.hub.config.keys_dir / "sign.pem").chmod(0o644)
    with pytest.raises(HubAnswerError) as caught:
        ask(world.hub.config)
    assert caught.value.field == "keys"
    assert "keys_dir" in (caught.value.remedy or "")


def test_who_asks_often_gets_the_same_answer(world: HubWorld) -> None:
    now = [100.0]
    watch = Readiness(world.hub, monotonic=lambda: now[0])
    first = watch.checks()
    (world.hub.config.keys_dir / "sign.pem").unlink()
    assert watch.checks() is first
    now[0] += FRESH_S
    assert not all(each.ok for each in watch.checks() if each.blocking)


def test_alive_asks_no_database(world: HubWorld, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.hub.db, "reading", None)
    monkeypatch.setattr(world.hub.db, "session", None)
    assert client.get("/healthz", headers={"Host": "10.1.2.3:8440"}).json() == {"status": "ok"}


def test_metrics_are_for_the_collector_alone(world: HubWorld, client: TestClient) -> None:
    assert client.get("/metrics").status_code == 401
    admin = world.hub.config.admin_token_file.read_text().strip()
    assert client.get("/metrics", headers={"Authorization": f"Bearer {admin}"}).status_code == 401
    assert client.get("/metrics", headers=bearer(world)).headers["content-type"].startswith("text/plain")


def test_without_its_file_nobody_collects(world: HubWorld) -> None:
    own = bearer(world)
    world.hub.config.metrics_token_file.unlink()
    closed = TestClient(create_app(world.hub))
    assert closed.get("/metrics", headers=own).status_code == 401
    assert closed.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


def test_the_state_is_told_as_it_is(world: HubWorld, client: TestClient) -> None:
    found = scraped(client, world)
    size = world.hub.log.reader.size()
    assert found["digua_log_entries"] == found["digua_log_cosigned_entries"] == size > 0
    assert found["digua_cosignature_wait_seconds"] == 0
    assert found["digua_campaigns{'status': 'running'}"] == 0
    with world.hub.db.session() as session:
        world.hub.log.append(session, "enrolment", "hub-lishui")
    assert scraped(client, world)["digua_log_pending_entries"] == 1
    world.links.reachable = False
    world.hub.log.sequence()
    world.now += timedelta(seconds=90)
    found = scraped(client, world)
    assert found["digua_log_pending_entries"] == 0
    assert found["digua_cosignature_wait_seconds"] == found["digua_checkpoint_age_seconds"] == 90
    assert found["digua_alarm{'code': 'checkpoint-overdue'}"] == 1
    assert found["digua_alarm{'code': 'log-stalled'}"] == 0


def test_requests_and_refusals_are_counted(world: HubWorld, client: TestClient) -> None:
    def of(name: str, found: dict[str, float]) -> float:
        return next((value for key, value in found.items() if key.startswith(name)), 0.0)

    served = (
        "digua_http_requests_total{'app': 'hub', 'method': 'GET', 'route': '/v1/models/{model_id}', 'status': '404'}"
    )
    refused = "digua_problems_total{'app': 'hub', 'code': 'not-found'}"
    before = scraped(client, world)
    client.get("/v1/models/sha256:" + "a" * 64)
    after = scraped(client, world)
    assert of(served, after) == of(served, before) + 1
    assert of(refused, after) == of(refused, before) + 1


def test_labels_are_few_and_ours(world: HubWorld, client: TestClient) -> None:
    for path in ("/v1/consents/91330000MA2ABCDE1X", "/nowhere/" + "ab" * 32, "/v1/models/" + "cd" * 32):
        client.get(path)
    text = client.get("/metrics", headers=bearer(world)).text
    assert not re.search(r"[0-9a-f]{32}|91330000|bank-01|witness-zj|hub-lishui", text)
