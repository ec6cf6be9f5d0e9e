"""The local API: closed without its token, problems everywhere, and scores for the owner alone."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from nodes.config import GatewayConfig
from nodes.errors import ConfigError
from nodes.gateway import GatewayServer, create_gateway, gateway_token
from tests.scoring_world import ScoringWorld, expected_score

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    world.release()
    yield world
    world.close()


@pytest.fixture
def client(world: ScoringWorld) -> TestClient:
    world.heartbeat()
    lender = world.nodes["lender"]
    app = create_gateway(lender.enquiries, lender.models, party_id="lender", token=TOKEN, connected=lambda: True)
    return TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = response.json()
    assert {"type", "title", "status", "code", "detail"} <= set(document)
    assert (document["code"], document["status"]) == (code, status)
    return document


def test_a_score_with_its_proof(world: ScoringWorld, client: TestClient) -> None:
    record = world.give("M001")
    answer = client.post("/score", json={"id": "m001"}).json()
    assert answer["score"] == expected_score(world, "M001")
    assert answer["refusals"] == {}
    assert answer["proof"]["entry"]
    assert answer["reasons"] == ["age", "income", "late"]
    assert len(answer["reason_texts"]) == 3
    assert all(text.endswith(": lowered the score") for text in answer["reason_texts"])
    chinese = client.post("/score", json={"id": "M001"}, headers={"Accept-Language": "zh-CN"}).json()["reason_texts"]
    assert all(text.endswith("：降低了评分") for text in chinese)
    named = client.post("/score", json={"id": "M001", "consent_id": record.record_id, "model_id": answer["model_id"]})
    assert named.json()["score"] == answer["score"]


def test_a_source_gives_reasons_of_its_own_kind_only(
    world: ScoringWorld, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.give("M001")
    said = ("late", "call 555", "income", "age")
    monkeypatch.setattr("nodes.points.reasons_of", lambda card, kind, codes: [said] * len(codes))
    answer = client.post("/score", json={"id": "M001"}).json()
    assert answer["reasons"] == ["age", "income", "late"]
    assert len(answer["reason_texts"]) == 3


def test_a_refusal_names_source_and_code(world: ScoringWorld, client: TestClient) -> None:
    record = world.give("M002")
    world.relay.lost = {"utility-01"}
    document = problem(client.post("/score", json={"id": "M002"}), 409, "score-unavailable")
    world.relay.lost = set()
    assert document["refusals"] == {"utility-01": "source-unreachable"}
    world.change(record, "revoked", merchant="M002")
    problem(client.post("/score", json={"id": "M002"}), 403, "consent-revoked")
    by_id = client.post("/score", json={"id": "M002", "consent_id": record.record_id})
    refused = problem(by_id, 409, "score-unavailable")["refusals"]
    assert refused == dict.fromkeys(("bank-01", "tax-01", "utility-01"), "consent-revoked")
    problem(client.post("/score", json={"id": "M003"}), 404, "consent-unknown")


def test_batches_stand_for_themselves(world: ScoringWorld, client: TestClient) -> None:
    world.give("M004")
    outcomes = client.post("/score/batch", json={"items": [{"id": "M004"}, {"id": "M003"}]}).json()["outcomes"]
    assert outcomes[0]["answer"]["score"] == expected_score(world, "M004")
    assert (outcomes[1]["answer"], outcomes[1]["code"]) == (None, "consent-unknown")


def test_lists(world: ScoringWorld, client: TestClient) -> None:
    (model,) = client.get("/models").json()
    assert (model["model_type"], model["usable"], model["epsilon"]) == ("scorecard", True, None)
    record = world.give("M003", recipients=("lender",))
    (line,) = client.get("/consents", params={"id": "M003"}).json()
    assert (line["consent_id"], line["state"]) == (record.record_id, "active")
    assert client.get("/consents", params={"id": "nobody"}).json() == []
    world.change(record, "revoked", merchant="M003")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic dDp0"])
def test_nothing_without_the_token(client: TestClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    bare = TestClient(client.app, headers=headers)
    for method, path in (("POST", "/score"), ("POST", "/score/batch"), ("GET", "/models"), ("GET", "/consents?id=x")):
        response = bare.request(method, path, json={"id": "M001"} if method == "POST" else None)
        problem(response, 401, "gateway-refused")
        assert response.headers["www-authenticate"] == "Bearer"
    assert bare.get("/health").json()["party_id"] == "lender"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": ""},
        {"id": "M001", "more": 1},
        {"id": "M001", "consent_id": "x"},
        {"id": "M001", "purpose": "fun"},
        [],
    ],
)
def test_malformed_requests_are_problems(client: TestClient, body: object) -> None:
    problem(client.post("/score", json=body), 400, "gateway-refused")


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    problem(client.get("/nothing"), 404, "not-found")
    problem(client.get("/score"), 405, "not-found")


def test_faults_say_nothing_of_their_cause(
    world: ScoringWorld, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(world.nodes["lender"].enquiries, "score", fail)
    response = client.post("/score", json={"id": "M001"})
    assert "secret" not in response.text
    problem(response, 500, "node-failed")


def test_problems_speak_chinese(client: TestClient) -> None:
    response = client.post("/score", json={"id": "nobody"}, headers={"Accept-Language": "zh-CN"})
    title = str(problem(response, 404, "consent-unknown")["title"])
    assert any("\u4e00" <= char <= "\u9fff" for char in title)


def test_the_openapi_document_is_served(client: TestClient) -> None:
    assert set(client.get("/openapi.json").json()["paths"]) == {
        "/score", "/score/batch", "/models", "/consents", "/health",
    }  # fmt: skip


def test_the_server_listens_on_loopback_with_its_own_token(world: ScoringWorld, tmp_path: Path) -> None:
    config = GatewayConfig(port=0, token_file=tmp_path / "token")
    token = gateway_token(config)
    assert gateway_token(config) == token
    assert stat.S_IMODE(config.token_file.stat().st_mode) == 0o600
    lender = world.nodes["lender"]
    app = create_gateway(lender.enquiries, lender.models, party_id="lender", token=token, connected=lambda: False)
    server = GatewayServer(app, config)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{url}/health", trust_env=False).json()["connected"] is False
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401
        other = GatewayServer(app, GatewayConfig(port=server.port, token_file=config.token_file))
        with pytest.raises(ConfigError, match="cannot listen"):
            other.start()
    finally:
        server.stop()
    config.token_file.chmod(0o644)
    with pytest.raises(ConfigError, match="read by others"):
        gateway_token(config)
    config.token_file.write_text("short")
    config.token_file.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        gateway_token(config)
