"""The registry of models: named by hash, released by the witness's signature and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, update

from crypto.errors import SignatureError
from crypto.jws import verify_model
from crypto.keys import IdentityKey
from crypto.wire.campaign import ModelRelease, ModelWithdrawal
from crypto.wire.consent import FeedPage
from crypto.wire.link import ProblemBody, ReleaseProposal
from hub.app import create_app
from hub.errors import NotFoundError, PeerRefused, PeerUnreachable
from hub.model_errors import ModelNotReleasedError, ModelStateError, ReleaseError
from hub.tables.models import ModelRow, ModelSignatureRow
from models.artefact import ModelArtefact
from models.errors import ArtefactError
from tests.hub_cli import command_line
from tests.hub_merchants import MarketWorld, json_of, small_artefact


@pytest.fixture(scope="module")
def artefact() -> ModelArtefact:
    return small_artefact()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def model_id(world: MarketWorld, artefact: ModelArtefact) -> str:
    return world.hub.models.register(
        artefact.to_bytes(), campaign_id="c-1", attempt="c-1/scorecard/1", shares={"bank-01": b"ab", "tax-01": b"cd"}
    )


def kinds_in_feed(world: MarketWorld, party: str) -> list[str]:
    page = FeedPage.model_validate_json(world.hub.feed.page(party, 0).body)
    return [f"{item.kind}:{item.model_id}" for item in page.items if item.model_id]


def logged(world: MarketWorld) -> list[str]:
    world.settle()
    leaves = [json_of(leaf) for leaf in world.hub.log.reader.entries(0, 1000)]
    return [str(leaf["type"]) for leaf in leaves if str(leaf["type"]).startswith("model-")]


def test_model_is_named_by_its_hash_and_registered_once(
    world: MarketWorld, artefact: ModelArtefact, model_id: str
) -> None:
    data = artefact.to_bytes()
    assert model_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert world.hub.models.register(data, campaign_id="c-1", attempt=None) == model_id
    assert world.hub.models.artefact(model_id, unreleased=True) == data
    assert logged(world) == ["model-registered"]
    with pytest.raises(ModelStateError):
        world.hub.models.register(data, campaign_id="c-2", attempt=None)
    with pytest.raises(ArtefactError):
        world.hub.models.register(data + b" ", campaign_id="c-1", attempt=None)


def test_release_is_proposed_with_shares_and_told_to_everybody(
    world: MarketWorld, artefact: ModelArtefact, model_id: str
) -> None:
    proposals: list[ReleaseProposal] = []

    def sign(body: bytes) -> bytes:
        proposals.append(ReleaseProposal.model_validate_json(body))
        return world.sign_release(body)

    world.peers.handlers["witness-zj", "release-model"] = sign
    token = world.hub.models.release(model_id, "evaluation")
    assert world.hub.models.status(model_id) == "evaluation"
    assert world.hub.models.release(model_id, "evaluation") == token
    released = world.hub.models.release(model_id, "release")
    assert world.hub.models.status(model_id) == "release"
    assert [proposal.scope for proposal in proposals] == ["evaluation", "release"]
    assert proposals[0].artefact == artefact.to_bytes().decode()
    assert proposals[0].attempt == "c-1/scorecard/1"
    assert proposals[0].shares == {"bank-01": b"ab", "tax-01": b"cd"}
    signed = verify_model(released, world.witness.identity.public, ModelRelease, typ="model-release")
    assert signed.model_id == model_id
    assert world.hub.models.release_token(model_id) == released
    for party in (*world.members, "witness-zj"):
        assert kinds_in_feed(world, party) == [f"model-release:{model_id}"] * 2
    assert logged(world) == ["model-registered", "model-release", "model-release"]
    with pytest.raises(ModelStateError):
        world.hub.models.release(model_id, "evaluation")


def test_what_the_witness_refuses_stays_unreleased(world: MarketWorld, model_id: str) -> None:
    def refuse(_body: bytes) -> bytes:
        problem = ProblemBody(code="model-not-reproduced", title="No", detail="other points")
        raise PeerRefused("witness-zj", problem)

    with pytest.raises(PeerUnreachable):
        world.hub.models.release(model_id, "release")
    world.peers.handlers["witness-zj", "release-model"] = refuse
    with pytest.raises(PeerRefused, match="model-not-reproduced"):
        world.hub.models.release(model_id, "release")
    with pytest.raises(ModelNotReleasedError):
        world.hub.models.artefact(model_id)
    assert kinds_in_feed(world, "bank-01") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "evaluation"},
        {"model_id": "sha256:" + "0" * 64},
        {"campaign_id": "c-9"},
        {"table_sha256": b"\x00" * 32},
        {"table_sha256": None},
    ],
)
def test_signature_over_something_else_is_no_release(
    world: MarketWorld, model_id: str, changes: dict[str, object]
) -> None:
    world.peers.handlers["witness-zj", "release-model"] = lambda body: world.sign_release(body, **changes)
    with pytest.raises(ReleaseError):
        world.hub.models.release(model_id, "release")
    assert world.hub.models.status(model_id) == "registered"


def test_another_signer_is_not_the_witness(world: MarketWorld, model_id: str) -> None:
    honest, world.witness.identity = world.witness.identity, IdentityKey.generate()
    world.let_witness_release()
    with pytest.raises(SignatureError):
        world.hub.models.release(model_id, "release")
    world.witness.identity = honest
    assert world.hub.models.status(model_id) == "registered"


def test_database_alone_releases_nothing(world: MarketWorld, model_id: str) -> None:
    other = small_artefact(2)
    second = world.hub.models.register(other.to_bytes(), campaign_id="c-1", attempt=None)
    world.let_witness_release()
    token = world.hub.models.release(model_id, "release")
    with world.hub.db.session() as session:
        values = {"model_id": second, "kind": "release", "token": token, "received_at": 0}
        session.execute(insert(ModelSignatureRow).values(values))
    assert world.hub.models.status(second) == "registered"
    with world.hub.db.session() as session:
        session.execute(update(ModelSignatureRow).values(token=token[:-8] + "AAAAAAAA"))
    assert world.hub.models.status(model_id) == "registered"
    with pytest.raises(ModelNotReleasedError):
        world.hub.models.release_token(model_id)


def test_withdrawal_is_final_and_stays_readable(world: MarketWorld, artefact: ModelArtefact, model_id: str) -> None:
    world.let_witness_release()
    with pytest.raises(ModelStateError, match="never released"):
        world.hub.models.withdraw(model_id, "test")
    world.hub.models.release(model_id, "release")
    token = world.hub.models.withdraw(model_id, "a bin was wrong")
    signed = verify_model(token, world.witness.identity.public, ModelWithdrawal, typ="model-withdrawal")
    assert (signed.model_id, signed.reason) == (model_id, "a bin was wrong")
    assert world.hub.models.status(model_id) == "withdrawn"
    assert world.hub.models.withdraw(model_id, "again") == token == world.hub.models.release_token(model_id)
    assert world.hub.models.artefact(model_id) == artefact.to_bytes()
    assert kinds_in_feed(world, "tax-01")[-1] == f"model-withdrawal:{model_id}"
    with pytest.raises(ModelStateError):
        world.hub.models.release(model_id, "release")
    with pytest.raises(NotFoundError):
        world.hub.models.withdraw("sha256:" + "1" * 64, "unknown")


def admin(world: MarketWorld) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.hub.config.admin_token_file.read_text().strip()}"}


def test_over_http_unreleased_models_are_the_administrators(
    world: MarketWorld, artefact: ModelArtefact, model_id: str
) -> None:
    world.let_witness_release()
    client = TestClient(create_app(world.hub))
    path = f"/v1/models/{model_id}"
    assert client.get("/v1/models").json() == {"models": []}
    assert client.get("/v1/models", headers=admin(world)).json()["models"][0]["status"] == "registered"
    assert client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get(path).json()["code"] == "model-not-released"
    assert client.get(path, headers=admin(world)).content == artefact.to_bytes()
    assert client.post(f"{path}/release", headers={"Idempotency-Key": "a"}).status_code == 401
    headers = admin(world) | {"Idempotency-Key": "b"}
    released = client.post(f"{path}/release", json={"scope": "release"}, headers=headers)
    assert released.status_code == 200
    assert client.get(path).content == artefact.to_bytes()
    assert client.get(f"{path}/release").text == released.text
    english = client.get(f"{path}/card")
    chinese = client.get(f"{path}/card", headers={"Accept-Language": "zh-CN"})
    assert english.headers["content-type"].startswith("text/markdown")
    assert english.text.startswith("# Model card")
    assert chinese.text.startswith("# 模型说明卡")
    assert client.get(f"{path}/card?lang=zh").text == chinese.text
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "zh-CN"}
    page = client.get(f"{path}/card", headers=browser)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.text.startswith("<!DOCTYPE html>")
    assert client.get(f"{path}/card?format=html&lang=zh").text == page.text
    assert client.get(f"{path}/card?format=md", headers=browser).text == chinese.text
    assert client.get(f"{path}/card?format=pdf").status_code == 422
    assert client.get("/v1/models/sha256:00").status_code == 404
    headers = admin(world) | {"Idempotency-Key": "c"}
    assert client.post(f"{path}/withdrawal", json={"reason": "old"}, headers=headers).status_code == 200
    assert client.get("/v1/models").json()["models"][0]["status"] == "withdrawn"


def test_command_line_works_with_the_running_hub(
    world: MarketWorld,
    artefact: ModelArtefact,
    model_id: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.let_witness_release()
    run = command_line(world, "model", monkeypatch, capsys)
    code, out, _ = run("list", "--json")
    assert (code, json.loads(out)[0]["model_id"]) == (0, model_id)
    code, out, _ = run("release", model_id, "--json")
    assert (code, json.loads(out)["scope"]) == (0, "release")
    target = world.base / "model.json"
    code, _, _ = run("show", model_id, "--out", str(target))
    assert (code, target.read_bytes()) == (0, artefact.to_bytes())
    code, out, _ = run("card", model_id, "--lang", "zh")
    assert out.startswith("# 模型说明卡")
    page = world.base / "card.html"
    code, _, _ = run("card", model_id, "--lang", "zh", "--out", str(page))
    assert (code, page.read_text(encoding="utf-8")[:15]) == (0, "<!DOCTYPE html>")
    code, _, err = run("release", model_id, "--scope", "evaluation", "--json")
    assert code == 1
    assert "model-state" in json.loads(err)["detail"]
    code, _, err = run("show", "sha256:" + "0" * 64)
    assert code == 1
    assert "hub-refused" in err
    with world.hub.db.session() as session:
        session.execute(update(ModelRow).values(artefact=b"{}"))
    code, _, err = run("show", model_id)
    assert code == 1
    assert "hash" in err
