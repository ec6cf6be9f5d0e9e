"""The local API: closed without its token, problems everywhere, and scores for the owner alone."""

from __future__ import annotations

import csv
import io
import json
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from crypto.wire.consent import ConsentRecord
from crypto.wire.scoring import ScoreRequest
from nodes.config import GatewayConfig
from nodes.enquiries import Enquiry
from nodes.errors import ConfigError
from nodes.gateway import GatewayServer, create_gateway, gateway_token
from nodes.gateway_batches import BatchDesk
from nodes.gateway_keys import KeyedScores
from nodes.tables.batches import BatchRow
from nodes.tables.scoring import UseRow
from tests.scoring_answers import expected_score
from tests.scoring_world import ScoringWorld

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    world.release()
    yield world
    world.close()


@pytest.fixture
def client(world: ScoringWorld) -> Iterator[TestClient]:
    world.heartbeat()
    lender = world.nodes["lender"]
    desk = BatchDesk(lender.batches)
    app = create_gateway(lender, desk, token=TOKEN, connected=lambda: True)
    desk.start()
    yield TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False)
    desk.stop()


def finished(client: TestClient, batch_id: str) -> dict[str, object]:
    """A batch's status once it is finished."""
    for _ in range(600):
        status: dict[str, object] = client.get(f"/batches/{batch_id}").json()
        if status["state"] == "finished":
            return status
        time.sleep(0.05)
    raise AssertionError(status)


def hand_in(client: TestClient, body: object, *, key: str | None = None, **query: str) -> httpx.Response:
    """A batch as JSON, or as CSV where it is text."""
    headers = {"Idempotency-Key": key or secrets.token_hex(8)}
    if not isinstance(body, str):
        return client.post("/batches", json=body, headers=headers)
    headers["Content-Type"] = "text/csv; charset=utf-8"
    return client.post("/batches", content=body.encode(), headers=headers, params=query)


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


def test_the_owners_account_of_a_query_says_what_came_of_it(world: ScoringWorld, client: TestClient) -> None:
    (first, _), (second, _) = customer(world), customer(world)
    journal = world.nodes["lender"].journal
    before = journal.count()
    client.post("/score", json={"id": first})
    world.relay.lost = {"utility-01"}
    client.post("/score", json={"id": second})
    world.relay.lost = set()
    notes = [json.loads(line.entry)["facts"] for line in journal.of_types("query-ended") if line.seq > before]
    assert [(each["items"], each["purpose"], each["scored"]) for each in notes] == [
        (1, "credit-scoring", 1),
        (1, "credit-scoring", 0),
    ]
    assert notes[1]["code:source-unreachable"] == 1
    sent = [json.loads(line.entry)["facts"] for line in journal.of_types("query-sent") if line.seq > before]
    assert [each["request_hash"] for each in sent] == [each["request_hash"] for each in notes]


def test_a_key_tells_which_consent_was_used(world: ScoringWorld) -> None:
    merchant, record = customer(world)
    lender = world.nodes["lender"]
    keyed = KeyedScores(lender.runtime.store, lender.enquiries, clock=world.clock)
    answer = keyed.score("page-1", "ab", Enquiry(merchant), purpose="credit-scoring", model_id=None)
    request = keyed.request_of("page-1")
    assert request is not None
    assert request.items[0].consent_id == record.record_id
    assert request.model_id == answer.model_id
    assert keyed.request_of("page-2") is None


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


def test_a_batch_is_asked_in_the_background(world: ScoringWorld, client: TestClient) -> None:
    record = world.give("M004")
    body = {"items": [{"id": "M004", "consent_id": record.record_id}, {"id": "M003"}]}
    handed = hand_in(client, body, key="the-first-batch")
    assert handed.status_code == 202
    batch_id = handed.json()["batch_id"]
    status = finished(client, batch_id)
    assert (status["total"], status["done"], status["scored"]) == (2, 2, 1)
    assert status["refused"] == {"consent-unknown": 1}
    first, second = csv.DictReader(io.StringIO(client.get(f"/batches/{batch_id}/results").text))
    assert (first["id"], first["score"], first["code"]) == ("M004", str(expected_score(world, "M004")), "")
    assert (second["id"], second["score"], second["code"]) == ("M003", "", "consent-unknown")
    assert second["meaning"] == "There is no such consent"
    chinese = client.get(f"/batches/{batch_id}/results", headers={"Accept-Language": "zh"})
    assert chinese.headers["content-type"] == "text/csv; charset=utf-8"
    (row, _) = csv.DictReader(io.StringIO(chinese.content.decode("utf-8-sig")))
    assert (row["商户标识"], row["评分"]) == ("M004", first["score"])

    forwarded = len(world.relay.seen)
    assert hand_in(client, body, key="the-first-batch").json()["batch_id"] == batch_id
    other = hand_in(client, {"items": [{"id": "M004"}]}, key="the-first-batch")
    assert problem(other, 422, "batch-invalid")["field"] == "Idempotency-Key"
    assert len(world.relay.seen) == forwarded
    assert client.delete(f"/batches/{batch_id}").status_code == 204
    problem(client.get(f"/batches/{batch_id}"), 404, "batch-unknown")


def test_a_batch_comes_as_csv_as_well(world: ScoringWorld, client: TestClient) -> None:
    merchant, _ = customer(world)
    handed = hand_in(client, f'\ufeffname,id\n"two\nlines",{merchant}\n', purpose="credit-scoring")
    assert handed.status_code == 202, handed.text
    batch_id = handed.json()["batch_id"]
    assert finished(client, batch_id)["scored"] == 1
    assert client.post(f"/batches/{batch_id}/retry").json()["done"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "what"),
    [
        ("name\nM001\n", 422, "batch-invalid", "has no column id"),
        ("id\nM001\n \nM002\n", 422, "batch-invalid", "row 2, column id: is empty"),
        ("id,consent_id\nM001,\nM002,abc\n", 422, "batch-invalid", "row 2, column consent_id"),
        ("id\nM001\nM002\nm001\n", 422, "batch-invalid", "row 3, column id: the merchant is already in row 1"),
        ("id\n", 422, "batch-invalid", "no merchants"),
        ({"items": [{"id": "M001"}, {"id": "a\tb"}]}, 422, "identifier-invalid", "row 2, column id"),
        ({"items": []}, 400, "gateway-refused", "items"),
        ({"items": [{"id": "M001", "consent_id": "x"}]}, 400, "gateway-refused", "items.0.consent_id"),
        ({"items": [{"id": "M001"}], "purpose": "fun"}, 400, "gateway-refused", "purpose"),
    ],
)
def test_bad_batches_are_named_exactly_and_not_stored(
    world: ScoringWorld, client: TestClient, body: object, status: int, code: str, what: str
) -> None:
    key = secrets.token_hex(8)
    assert what in str(problem(hand_in(client, body, key=key), status, code)["detail"])
    with world.nodes["lender"].runtime.store.reading() as session:
        assert session.scalar(select(BatchRow).where(BatchRow.key == key)) is None


def test_batches_that_are_too_large_or_without_a_key_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.gateway_batches.MAX_BODY", 100)
    problem(hand_in(client, "id\n" + "M001\n" * 50), 413, "request-too-large")
    problem(client.post("/batches", json={"items": [{"id": "M001"}]}), 400, "gateway-refused")
    problem(client.get(f"/batches/{'0' * 32}/results"), 404, "batch-unknown")


def test_a_running_batch_has_no_results_yet(world: ScoringWorld, client: TestClient) -> None:
    lender = world.nodes["lender"]
    made = lender.batches.create(iter([Enquiry("M001")]), source_sha256="0" * 64)  # without a key: nobody works on it
    problem(client.get(f"/batches/{made}/results"), 409, "batch-running")
    with lender.batches.alone(made):
        problem(client.delete(f"/batches/{made}"), 409, "batch-running")
    assert client.delete(f"/batches/{made}").status_code == 204


def test_a_batch_goes_on_after_a_restart(tmp_path: Path) -> None:
    world = ScoringWorld(tmp_path)
    world.release()
    world.give("M001")
    lender = world.nodes["lender"]
    desk = BatchDesk(lender.batches)
    app = create_gateway(lender, desk, token=TOKEN, connected=lambda: True)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    # The process ends before its desk has begun.
    batch_id = hand_in(TestClient(app, headers=headers), {"items": [{"id": "M001"}]}).json()["batch_id"]
    lender = world.reopen("lender")
    desk = BatchDesk(lender.batches)
    client = TestClient(create_gateway(lender, desk, token=TOKEN, connected=lambda: True), headers=headers)
    assert client.get(f"/batches/{batch_id}").json()["done"] == 0
    desk.start()
    assert finished(client, batch_id)["scored"] == 1
    desk.stop()
    world.close()


def test_a_score_under_one_key_is_asked_once(world: ScoringWorld, client: TestClient) -> None:
    merchant, record = customer(world)
    body, headers = {"id": merchant}, {"Idempotency-Key": "score-of-today"}
    answers = [client.post("/score", json=body, headers=headers).json() for _ in range(3)]
    assert answers[0]["score"] == expected_score(world, merchant)
    assert answers[1] == answers[2] == answers[0]
    other = client.post("/score", json={"id": "M001"}, headers=headers)
    assert problem(other, 400, "gateway-refused")["field"] == "Idempotency-Key"
    assert uses(world, record.record_id) == 1
    client.post("/score", json=body)
    assert uses(world, record.record_id) == 2


def test_a_key_whose_first_request_runs_is_refused(world: ScoringWorld, client: TestClient) -> None:
    merchant, record = customer(world)
    body, headers = {"id": merchant}, {"Idempotency-Key": "score-under-way"}
    meanwhile: list[httpx.Response] = []

    def ask_too(request: ScoreRequest) -> None:
        meanwhile.append(client.post("/score", json=body, headers=headers))

    world.relay.before = ask_too
    assert client.post("/score", json=body, headers=headers).json()["score"] == expected_score(world, merchant)
    world.relay.before = lambda request: None
    (second,) = meanwhile
    assert "has not ended" in str(problem(second, 400, "gateway-refused")["detail"])
    assert uses(world, record.record_id) == 1


def test_a_lost_answer_is_asked_for_again_under_its_key(world: ScoringWorld, client: TestClient) -> None:
    merchant, record = customer(world)
    headers = {"Idempotency-Key": "score-that-is-lost"}

    def lose(request: ScoreRequest) -> None:
        raise httpx.ReadError("the connection broke")

    world.relay.after = lose
    problem(client.post("/score", json={"id": merchant}, headers=headers), 503, "hub-unreachable")
    world.relay.after = lambda request: None
    assert client.post("/score", json={"id": merchant}, headers=headers).json()["score"]
    assert uses(world, record.record_id) == 1
    headers["Idempotency-Key"] = "score-that-is-late"
    world.relay.after = lose
    problem(client.post("/score", json={"id": merchant}, headers=headers), 503, "hub-unreachable")
    world.relay.after = lambda request: None
    world.pass_time(minutes=5)
    problem(client.post("/score", json={"id": merchant}, headers=headers), 410, "answer-expired")
    headers["Idempotency-Key"] = "score-that-is-lost"
    world.pass_time(hours=25)  # a day later the key is forgotten
    assert client.post("/score", json={"id": merchant}, headers=headers).json()["score"]
    assert uses(world, record.record_id) == 3


def customer(world: ScoringWorld) -> tuple[str, ConsentRecord]:
    """One more merchant that the lender knows, with its consent."""
    merchant = world.newcomer()
    world.know("lender", merchant)
    return merchant, world.give(merchant)


def uses(world: ScoringWorld, record_id: str) -> int:
    """How often a consent was used, by a source's own count."""
    with world.nodes["tax-01"].runtime.store.reading() as session:
        query = select(func.count()).select_from(UseRow).where(UseRow.record_id == record_id)
        return session.scalar(query) or 0


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
    for method, path in (
        ("POST", "/score"),
        ("POST", "/batches"),
        ("GET", "/batches/x/results"),
        ("GET", "/models"),
        ("GET", "/consents?id=x"),
    ):
        body = {"id": "M001"} if method == "POST" else None
        response = bare.request(method, path, json=body, headers={"Idempotency-Key": "x" * 8})
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
        "/score", "/batches", "/batches/{batch_id}", "/batches/{batch_id}/results", "/batches/{batch_id}/retry",
        "/models", "/consents", "/health", "/v1/consents/collect", "/v1/consents/requests/{request_id}",
        "/v1/consents/revoke-link", "/v1/consents/status",
        "/v1/programme-statistics", "/v1/programme-statistics/{campaign_id}",
    }  # fmt: skip


def test_the_server_listens_on_loopback_with_its_own_token(world: ScoringWorld, tmp_path: Path) -> None:
    config = GatewayConfig(port=0, token_file=tmp_path / "token")
    token = gateway_token(config)
    assert gateway_token(config) == token
    assert stat.S_IMODE(config.token_file.stat().st_mode) == 0o600
    lender = world.nodes["lender"]
    desk = BatchDesk(lender.batches)
    app = create_gateway(lender, desk, token=token, connected=lambda: False)
    server = GatewayServer(app, config, desk)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{url}/health", trust_env=False).json()["connected"] is False
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 401
        other = GatewayServer(app, GatewayConfig(port=server.port, token_file=config.token_file), desk)
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
