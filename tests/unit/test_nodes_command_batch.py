"""`query batch` and the gateway's batches: asked once, stopped, killed, and gone on with."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select
from typer.testing import Result

from crypto.wire.scoring import ScoreRequest
from nodes.config import load_node_config
from nodes.tables.scoring import UseRow
from tests.node_commands import RelayServer, call, done, free_port, refused, running
from tests.scoring_answers import expected_score, write_config
from tests.scoring_world import SOURCES, ScoringWorld


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, RelayServer]]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    # Commands have the machine's clock.
    world.now = _now()
    world.heartbeat()
    server = RelayServer(world)
    write_config(world, "lender", server.url)
    yield world, server
    server.close()
    world.close()


@pytest.fixture
def world(served: tuple[ScoringWorld, RelayServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScoringWorld]:
    monkeypatch.setenv("DIGUA_LANG", "en")
    served[0].now = _now()
    served[0].heartbeat()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield served[0]
    for number, handler in before.items():  # a batch takes them over for its process, which is this one here
        signal.signal(number, handler)


def _now() -> datetime:
    return datetime.now(UTC)


def batch(world: ScoringWorld, file: Path, out: Path, *more: str) -> Result:
    return call(world, "lender", "query", "batch", file, "--out", out, *more)


def rows_of(out: Path) -> list[dict[str, str]]:
    with out.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_file_is_scored_once_and_again_when_asked_to(
    world: ScoringWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release()
    for merchant in ("M002", "M004"):
        world.give(merchant)
    file, out = tmp_path / "ids.csv", tmp_path / "scores.csv"
    file.write_text("id\nM002\nM004\nstranger\n", encoding="utf-8")
    facts = done(batch(world, file, out, "--json"))
    assert (facts["state"], facts["total"], facts["scored"]) == ("finished", 3, 2)
    assert facts["refused"] == {"consent-unknown": 1}
    rows = rows_of(out)
    assert [row["score"] for row in rows] == [str(expected_score(world, m)) for m in ("M002", "M004")] + [""]
    assert [row["code"] for row in rows] == ["", "", "consent-unknown"]

    forwarded, first = len(world.relay.seen), out.read_bytes()
    monkeypatch.setenv("DIGUA_LANG", "zh")
    again = batch(world, file, out)
    assert again.exit_code == 0, again.output
    assert "该文件此前已查询过" in again.stdout
    assert len(world.relay.seen) == forwarded
    assert [row["评分"] for row in rows_of(out)] == [row["score"] for row in rows]
    monkeypatch.setenv("DIGUA_LANG", "en")

    world.relay.lost = {"tax-01"}
    anew = done(batch(world, file, out, "--anew", "--json"))
    world.relay.lost = set()
    assert (anew["scored"], anew["refused"]) == (0, {"consent-unknown": 1, "source-unreachable": 2})
    assert {row["party"] for row in rows_of(out)} == {"tax-01", ""}
    retried = done(batch(world, file, out, "--retry", "--json"))
    assert (retried["batch_id"], retried["scored"]) == (anew["batch_id"], 2)
    assert [row["score"] for row in rows_of(out)] == [row["score"] for row in rows]
    assert first != out.read_bytes()  # other log entries


def test_an_interrupted_file_goes_on(world: ScoringWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.release()
    for merchant in ("M002", "M004"):
        world.give(merchant)
    file, out = tmp_path / "ids.csv", tmp_path / "scores.csv"
    file.write_text("id\nM002\nM004\nnobody\n", encoding="utf-8")
    monkeypatch.setattr("nodes.batches.MAX_ITEMS", 1)
    # Ctrl-C while the first request is under way.
    world.relay.after = lambda _request: os.kill(os.getpid(), signal.SIGINT)
    stopped = batch(world, file, out)
    world.relay.after = lambda _request: None
    assert stopped.exit_code == 130, stopped.output
    assert "interrupted after" in stopped.stdout
    assert not out.exists()
    # The hub fails at what follows.
    forwarded = len(world.relay.seen)
    world.relay.before = lambda _request: httpx.Response(500)
    failed = batch(world, file, out)
    assert failed.exit_code == 1, failed.output
    assert "interrupted after 1 of 3; run the same command to go on" in failed.stderr
    refused(batch(world, file, out, "--json"), "hub-failed")
    world.relay.before = lambda _request: None
    facts = done(batch(world, file, out, "--json"))
    assert (facts["scored"], facts["refused"]) == (2, {"consent-unknown": 1})
    assert len(world.relay.seen) == forwarded + len(SOURCES)
    assert len(rows_of(out)) == 3


@pytest.mark.parametrize(
    ("text", "code", "what"),
    [
        ("merchant\nM002\n", "batch-invalid", "has no column id"),
        ("id\nM002\nM002\n", "batch-invalid", "row 2, column id: the merchant is already in row 1"),
        ("id\nM002\n,\n", "batch-invalid", "row 2, column id: is empty"),
        ("id\nM\x00\n", "identifier-invalid", "row 1, column id"),
    ],
)
def test_a_file_that_cannot_be_asked_about_is_named(
    world: ScoringWorld, tmp_path: Path, text: str, code: str, what: str
) -> None:
    world.release()
    file, out = tmp_path / "ids.csv", tmp_path / "scores.csv"
    file.write_text(text, encoding="utf-8")
    assert what in refused(batch(world, file, out, "--json"), code)["what"]
    refused(batch(world, tmp_path / "absent.csv", out, "--json"), "batch-invalid")
    refused(batch(world, file, out, "--purpose", "fun", "--json"), "config-invalid")
    assert not out.exists()


@pytest.fixture
def gateway(served: tuple[ScoringWorld, RelayServer], tmp_path: Path) -> Path:
    """The lender's configuration, with a gateway on a free port; its token's file."""
    token = tmp_path / "gateway.token"
    listen = {"port": free_port(), "token_file": str(token)}
    assert load_node_config(write_config(served[0], "lender", served[1].url, gateway=listen)).gateway is not None
    return token


def opened(world: ScoringWorld, process: subprocess.Popen[bytes], token: Path) -> httpx.Client:
    """A client of the running node's gateway."""
    config = load_node_config(world.config_path("lender")).gateway
    assert config is not None
    url = f"http://127.0.0.1:{config.port}"
    for _ in range(600):
        try:
            assert httpx.get(f"{url}/health", trust_env=False).json()["party_id"] == "lender"
            break
        except httpx.TransportError:
            assert process.poll() is None
            time.sleep(0.1)
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)


def test_a_running_node_serves_its_gateway(world: ScoringWorld, gateway: Path) -> None:
    world.release(world.artefact(9))
    world.give("M001", data_life={"unit": "hour", "value": 1})
    process = running(world, "lender")
    try:
        with opened(world, process, gateway) as client:
            answer = client.post("/score", json={"id": "M001"})
        assert answer.json()["score"] == expected_score(world, "M001") + 9, answer.text
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_batch_of_a_killed_node_is_asked_once(world: ScoringWorld, gateway: Path) -> None:
    world.release(world.artefact(11))
    records = [world.give(merchant) for merchant in ("M003", "M004")]
    world.relay.seen.clear()
    process = running(world, "lender")

    def kill(_request: ScoreRequest) -> None:
        os.kill(process.pid, signal.SIGKILL)  # the sources have answered, and nobody hears it
        process.wait(60)

    world.relay.after = kill
    body = {"items": [{"id": merchant} for merchant in ("M003", "M004", "stranger")]}
    with opened(world, process, gateway) as client:
        handed = client.post("/batches", json=body, headers={"Idempotency-Key": "batch-of-today"}).json()
        assert process.wait(60) == -signal.SIGKILL
    world.relay.after = lambda _request: None
    process = running(world, "lender")
    try:
        with opened(world, process, gateway) as client:
            again = client.post("/batches", json=body, headers={"Idempotency-Key": "batch-of-today"}).json()
            assert again["batch_id"] == handed["batch_id"]
            for _ in range(600):
                status = client.get(f"/batches/{handed['batch_id']}").json()
                if status["state"] == "finished":
                    break
                time.sleep(0.1)
            assert (status["scored"], status["refused"]) == (2, {"consent-unknown": 1})
            rows = list(csv.DictReader(client.get(f"/batches/{handed['batch_id']}/results").text.splitlines()))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert [row["score"] for row in rows] == [str(expected_score(world, m) + 11) for m in ("M003", "M004")] + [""]
    assert len({request.nonce for _, request in world.relay.seen}) == 1
    with world.nodes["tax-01"].runtime.store.reading() as session:
        query = select(func.count()).where(UseRow.record_id.in_([record.record_id for record in records]))
        assert session.scalar(query) == 2
