"""The HTTP side: every refusal is problem details, POSTs take effect once, signed requests count once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from crypto.checkpoint import verify_note
from crypto.errors import CryptoError
from crypto.jws import sign_model, verify_model
from crypto.merkle import leaf_hash, verify_consistency, verify_inclusion
from crypto.wire.base import SUITE
from crypto.wire.link import ProblemBody
from crypto.wire.party import Roster
from crypto.wire.service import HubInfo, LogPage, LogProof, SignedRequest
from hub.api.dependencies import SignedParty
from hub.app import create_app
from hub.audit import verify_export
from hub.errors import HubError, PeerRefused
from hub.log import NewEntry
from hub.problem_details import BELOW, describe, kind_of, language_of_request
from models.errors import ModelsError
from models.i18n import catalogue, title_of
from tests.hub_world import HubWorld, Member, merchant_batch, merchant_leaves

extra = APIRouter()


@extra.get("/v1/test/whoami")
def whoami(party: SignedParty) -> str:
    return party.party_id


@extra.post("/v1/test/count")
def count() -> dict[str, int]:
    extra.calls = getattr(extra, "calls", 0) + 1  # type: ignore[attr-defined]
    return {"calls": extra.calls}  # type: ignore[attr-defined]


@extra.post("/v1/test/fail")
def fail() -> None:
    raise ZeroDivisionError("secret detail")


@extra.post("/v1/test/away")
def away() -> str:
    if getattr(extra, "away", False):
        raise OperationalError("a secret statement", None, Exception("server closed the connection"))
    return "here"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path)
    world.join(world.witness)
    yield world
    world.hub.close()


@pytest.fixture
def client(world: HubWorld) -> TestClient:
    app = create_app(world.hub)
    app.include_router(extra)
    return TestClient(app, base_url=world.hub.config.page_site.origin, raise_server_exceptions=False)


def admin(world: HubWorld) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.hub.config.admin_token_file.read_text().strip()}"}


def key(name: str = "k") -> dict[str, str]:
    return {"Idempotency-Key": name}


def tree(base: type[Exception]) -> list[type]:
    return [base, *(each for child in base.__subclasses__() for each in tree(child))]


def routes(app: FastAPI) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path, operations in app.openapi()["paths"].items():
        found += [(method.upper(), path) for method in operations if method.upper() in ("GET", "POST", "DELETE")]
    return found


def test_every_endpoint_refuses_in_the_same_shape(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    known = routes(app)
    assert ("POST", "/v1/enrolments") in known
    assert ("GET", "/v1/log/inclusion") in known
    refusals = 0
    for method, path in known:
        url = path.replace("{", "").replace("}", "")
        for headers in ({}, key()):
            response = client.request(method, url, headers=headers, content=b"\xff{" if method == "POST" else None)
            if response.status_code >= 400:
                refusals += 1
                assert response.headers["content-type"] == "application/problem+json", (method, path)
                body = response.json()
                assert {"type", "title", "status", "detail", "code"} <= set(body), (method, path)
                assert body["status"] == response.status_code
                assert body["type"].endswith(body["code"])
        wrong = client.request("PATCH", url)
        assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed"), path
    assert refusals > 8
    absent = client.get("/nowhere")
    assert (absent.status_code, absent.json()["code"]) == (404, "not-found")


def test_the_openapi_document_is_served_and_no_page_loads_scripts(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"/v1/info", "/v1/queries", "/v1/merchants/records", "/v1/log/checkpoint"} <= set(document["paths"])
    assert [client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3
    assert "/v1/openapi.json" in client.get("/nowhere").json()["remedy"]


def test_unforeseen_error_tells_nothing(client: TestClient) -> None:
    response = client.post("/v1/test/fail", headers=key())
    assert (response.status_code, response.json()["code"]) == (500, "internal-error")
    assert "secret" not in response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_query_faults_name_their_field(client: TestClient) -> None:
    response = client.get("/v1/log/inclusion?index=x&size=3")
    assert (response.status_code, response.json()["field"]) == (422, "query.index")


def test_every_code_has_status_and_both_titles() -> None:
    for error in tree(CryptoError) + tree(ModelsError):
        assert error.code in BELOW, error
        assert title_of(error.code, "zh"), error.code
    hub_errors = [error for error in tree(HubError) if re.fullmatch(r"hub\.\w+", error.__module__)]
    codes = [error.code for error in hub_errors]
    assert len(set(codes)) == len(codes)
    for error in hub_errors:
        assert 400 <= error.status < 600
        assert catalogue("hub").has("zh", error.code), error.code


def test_titles_follow_the_language(client: TestClient) -> None:
    response = client.get("/v1/parties", headers={"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"})
    assert response.json()["title"] == "缺少授权或授权无效"
    assert response.headers["content-language"] == "zh"
    assert [language_of_request(header) for header in (None, "fr", "en;q=0.2,zh;q=0.3", "zh;q=x", "zh;q=0")] == [
        "en",
        "en",
        "zh",
        "en",
        "en",
    ]


def test_refusal_of_another_party_keeps_its_words() -> None:
    problem = ProblemBody(code="budget-exceeded", title="Budget", detail="2 of 1", remedy="raise it", party="bank-01")
    described = describe(PeerRefused("bank-01", problem))
    assert (described.status, described.party, described.remedy) == (502, "bank-01", "raise it")
    assert described.cause == problem
    assert kind_of(PeerRefused("bank-01", problem)).status == 502


def test_post_needs_its_key_and_takes_effect_once(client: TestClient) -> None:
    assert client.post("/v1/test/count").json()["code"] == "idempotency-key-missing"
    first = client.post("/v1/test/count", headers=key("a"), content=b"1")
    again = client.post("/v1/test/count", headers=key("a"), content=b"1")
    assert first.json() == again.json()
    assert (again.headers["idempotent-replayed"], again.headers["content-type"]) == ("true", "application/json")
    other = client.post("/v1/test/count", headers=key("a"), content=b"2")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    fresh = client.post("/v1/test/count", headers=key("b"), content=b"1")
    assert fresh.json()["calls"] == first.json()["calls"] + 1
    # Another caller's key is another key: an answer goes to nobody else.
    stranger = client.post("/v1/test/count", headers={**key("a"), "Authorization": "Bearer x"}, content=b"1")
    assert stranger.json()["calls"] == first.json()["calls"] + 2
    assert client.post("/v1/test/count", headers=key("x" * 200)).status_code == 422


def test_refused_post_may_be_tried_again(client: TestClient, world: HubWorld) -> None:
    member = Member("bank-01", "bank")
    request = world.enrolment(member)
    world.now += timedelta(hours=1)
    assert client.post("/v1/enrolments", content=request, headers=key()).status_code == 403
    world.now -= timedelta(hours=1)
    created = client.post("/v1/enrolments", content=request, headers=key())
    assert (created.status_code, created.json()) == (201, {"party_id": "bank-01", "approved": False})
    replayed = client.post("/v1/enrolments", content=request, headers=key())
    assert (replayed.status_code, replayed.json()) == (201, {"party_id": "bank-01", "approved": False})
    assert client.post("/v1/test/fail", headers=key("f")).status_code == 500
    assert client.post("/v1/test/fail", headers=key("f")).json()["code"] == "internal-error"


def test_unfinished_and_old_keys(client: TestClient, world: HubWorld) -> None:
    import hashlib

    scope = hashlib.sha256(b"k\x00/v1/test/count\x00").digest()
    assert world.hub.idempotency.begin(scope, hashlib.sha256(b"").digest()) is None
    assert client.post("/v1/test/count", headers=key()).json()["code"] == "idempotency-in-progress"
    world.hub.idempotency.release_unfinished()
    calls = client.post("/v1/test/count", headers=key()).json()["calls"]
    assert client.post("/v1/test/count", headers=key()).json()["calls"] == calls
    world.now += timedelta(hours=25)
    assert client.post("/v1/test/count", headers=key()).json()["calls"] == calls + 1


def test_body_has_a_limit(world: HubWorld) -> None:
    world.hub.config = world.hub.config.model_copy(update={"max_body_mib": 1})
    client = TestClient(create_app(world.hub))
    response = client.post("/v1/enrolments", content=b"x" * (1 << 20) + b"x", headers=key())
    assert (response.status_code, response.json()["code"]) == (413, "request-too-large")

    def chunks() -> Iterator[bytes]:
        yield from (b"x" * (1 << 19) for _ in range(3))

    assert client.post("/v1/enrolments", content=chunks(), headers=key()).status_code == 413


def signed(member: Member, world: HubWorld, path: str, nonce: bytes = bytes(16), **changed: object) -> dict[str, str]:
    body = {"suite": SUITE, "party_id": member.party_id, "method": "GET", "path": path, "nonce": nonce}
    request = SignedRequest.model_validate(body | {"issued_at": world.now} | changed)
    return {"Authorization": "Digua " + sign_model(request, member.identity, typ="request", kid=member.party_id)}


def test_signed_request_counts_once_for_its_path(client: TestClient, world: HubWorld) -> None:
    bank, tax = Member("bank-01", "bank"), Member("tax-01", "tax")
    world.join(bank, tax)
    path = "/v1/test/whoami?a=%E5%9C%B0&b=2"
    headers = signed(bank, world, path)
    assert client.get(path, headers=headers).json() == "bank-01"
    assert client.get(path, headers=headers).json()["code"] == "request-replayed"
    assert client.get(path, headers=signed(tax, world, path)).json() == "tax-01"
    for number, (code, bad) in enumerate(
        [
            ("unauthorised", signed(bank, world, "/v1/test/whoami", b"1" * 16)),
            ("unauthorised", signed(bank, world, path, b"2" * 16, method="POST")),
            ("unauthorised", signed(bank, world, path, b"3" * 16, issued_at=world.now - timedelta(minutes=6))),
            ("unauthorised", signed(bank, world, path, b"4" * 16, party_id="tax-01")),
            ("unauthorised", {}),
            ("unauthorised", admin(world)),
            ("party-unknown", signed(Member("bank-99", "bank"), world, path)),
            ("signature-invalid", signed(Member("bank-01", "bank"), world, path)),
        ]
    ):
        assert client.get(path, headers=bad).json()["code"] == code, number


def test_administrator_sees_who_waits(client: TestClient, world: HubWorld) -> None:
    world.join(Member("bank-01", "bank"))
    world.hub.enrolment.enrol(world.enrolment(Member("bank-02", "bank")))
    listed = client.get("/v1/parties", headers=admin(world)).json()["parties"]
    assert {each["party_id"]: each["approved"] for each in listed} == {
        "bank-01": True,
        "bank-02": False,
        "witness-zj": True,
    }
    assert client.get("/v1/parties", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_info_and_roster(client: TestClient, world: HubWorld) -> None:
    info = HubInfo.model_validate_json(client.get("/v1/info").content)
    assert (info.hub_id, info.sign_key) == ("hub-lishui", world.hub.keys.identity.public)
    assert info.witness is not None
    assert info.witness.voprf_key == world.witness_voprf.public
    response = client.get("/v1/roster")
    assert response.headers["content-type"].startswith("application/jose")
    roster = verify_model(response.text, world.witness.identity.public, Roster, typ="roster", kid="witness-zj")
    assert [party.party_id for party in roster.parties] == ["witness-zj"]


def test_merchant_keys_over_http(client: TestClient, world: HubWorld) -> None:
    platform, bank = Member("platform", "client"), Member("bank-01", "bank")
    world.join(platform, bank)
    batch = merchant_batch(merchant_leaves(3), platform, bank)
    body = batch.model_dump_json()
    stored = client.post("/v1/merchant-keys", content=body, headers=key())
    assert (stored.status_code, stored.json()) == (201, {"batch_id": "0" * 32, "stored": 3})
    unknown = client.post("/v1/merchant-keys", content=b'{"batch": 1}', headers=key("2"))
    assert (unknown.status_code, unknown.json()["field"]) == (422, "batch")


def test_log_over_http_is_verifiable(client: TestClient, world: HubWorld, tmp_path: Path) -> None:
    with world.hub.db.session() as session:
        world.hub.log.append_many(session, [NewEntry("query", "bank-01", facts={"item": i}) for i in range(300)])
    world.settle()
    required = set(world.verifiers())
    checkpoint = verify_note(client.get("/v1/log/checkpoint").text, world.verifiers(), required=required)
    assert checkpoint.size == 304
    page = LogPage.model_validate_json(client.get("/v1/log/entries?start=300&limit=10").content)
    assert (page.size, len(page.entries)) == (304, 4)
    proof = LogProof.model_validate_json(client.get("/v1/log/inclusion?index=301&size=304").content)
    verify_inclusion(leaf_hash(page.entries[1].encode()), 301, 304, proof.hashes, checkpoint.root)
    growth = LogProof.model_validate_json(client.get("/v1/log/consistency?old=1&new=304").content)
    first = leaf_hash(client.get("/v1/log/entries?limit=1").json()["entries"][0].encode())
    verify_consistency(1, first, 304, checkpoint.root, growth.hashes)
    assert client.get("/v1/log/tile/0/000").content[:32] == first
    assert len(client.get("/v1/log/tile/0/001.p/48").content) == 48 * 32
    for bad in ("0/001", "0/1", "99/000", "0/000.p/0", "0/000.p/256", "0/x000/000", "../x"):
        assert client.get(f"/v1/log/tile/{bad}").status_code == 404, bad
    path = tmp_path / "export"
    path.write_bytes(client.get("/v1/log/export").content)
    assert verify_export(path, world.verifiers()).ok
    assert client.get("/v1/log/inclusion?index=400&size=304").json()["code"] == "proof-invalid"
    assert client.get("/v1/log/inclusion?index=1&size=9999").json()["code"] == "request-invalid"


def test_health_and_background(world: HubWorld) -> None:
    with TestClient(create_app(world.hub)) as client:
        with world.hub.db.session() as session:
            pending_id = world.hub.log.append(session, "query", "bank-01")
        world.hub.log.proof_sync(pending_id, 5)
        health = client.get("/v1/health").json()
    assert health["status"] == "ok"
    assert health["log_size"] == health["log_cosigned"] == 5
    assert (health["roster_version"], health["connected_parties"]) == (1, 1)


@pytest.mark.parametrize("name", ["begin", "finish"])
def test_a_key_is_free_again_once_the_database_is_back(world: HubWorld, client: TestClient, name: str) -> None:
    def away(*_: object) -> None:
        raise OperationalError("a secret statement", None, Exception("server closed the connection"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world.hub.idempotency, name, away)
        answer = client.post("/v1/test/away", headers=key("away-0002"))
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    for _ in range(2):
        again = client.post("/v1/test/away", headers=key("away-0002"))
        assert (again.status_code, again.json()) == (200, "here")


def test_a_database_that_is_away_is_told_with_party_and_remedy(world: HubWorld, client: TestClient) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(extra, "away", True, raising=False)
        answer = client.post("/v1/test/away", headers={"Idempotency-Key": "away-0001"})
    assert answer.status_code == 503
    problem = answer.json()
    assert (problem["code"], problem["party"]) == ("database-unavailable", world.hub.config.hub_id)
    assert "Idempotency-Key" in problem["remedy"]
    assert "secret" not in answer.text
    again = client.post("/v1/test/away", headers={"Idempotency-Key": "away-0001"})
    assert again.json() == "here"
