"""Which version of a line is used: the witness's word alone says it, and the hub keeps, logs and tells it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, update

from crypto.errors import SignatureError
from crypto.jws import verify_model
from crypto.keys import IdentityKey
from crypto.wire.campaign import ModelRelease, ModelRollback
from crypto.wire.consent import FeedPage
from crypto.wire.link import ProblemBody
from hub.app import create_app
from hub.errors import NotFoundError, PeerRefused, PeerUnreachable
from hub.model_errors import ApprovalPendingError, ApprovalRefusedError, ModelStateError, ReleaseError
from hub.tables.models import ModelRollbackRow
from tests.hub_merchants import MarketWorld, json_of, small_artefact
from tests.hub_world import Member


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def versions(world: MarketWorld) -> list[str]:
    """Three released versions of one line."""
    return [world.released_model(seed) for seed in (1, 2, 3)]


def states(world: MarketWorld) -> dict[int, str]:
    """Status by version, the current one marked."""
    return {each.version: each.status + ("*" if each.current else "") for each in world.hub.models.all()}


def fed(world: MarketWorld, party: str) -> list[tuple[str, str | None]]:
    page = FeedPage.model_validate_json(world.hub.feed.page(party, 0).body)
    return [(item.kind, item.model_id) for item in page.items if item.kind.startswith("model-")]


def test_rollback_makes_an_older_version_the_current_one_and_can_be_taken_back(
    world: MarketWorld, versions: list[str]
) -> None:
    assert states(world) == {1: "release", 2: "release", 3: "release*"}
    done = world.hub.rollbacks.roll_back("c-1", 1, "drift in the tax features")
    assert (done.model_id, done.over) == (versions[0], (versions[1], versions[2]))
    assert done.token is not None
    signed = verify_model(done.token, world.witness.identity.public, ModelRollback, typ="model-rollback")
    assert (signed.line, signed.reason) == ("c-1", "drift in the tax features")
    assert states(world) == {1: "release*", 2: "rolled-back", 3: "rolled-back"}
    assert world.hub.models.word(versions[2]).rollback == signed
    forward = world.hub.rollbacks.roll_back("c-1", 2, "only the newest was at fault")
    assert forward.over == ()
    assert states(world) == {1: "release", 2: "release*", 3: "rolled-back"}
    assert world.hub.rollbacks.tokens() == (done.token, forward.token)


def test_rollback_is_logged_and_told_to_everybody(world: MarketWorld, versions: list[str]) -> None:
    world.hub.rollbacks.roll_back("c-1", 2, "drift")
    for party in (*world.members, "witness-zj"):
        assert fed(world, party)[-1] == ("model-rollback", versions[1])
    world.settle()
    leaf = next(
        each for each in map(json_of, world.hub.log.reader.entries(0, 1000)) if each["type"] == "model-rollback"
    )
    assert leaf["actor"] == "witness-zj"
    assert leaf["facts"] == {"serial": 1, "line": "c-1", "version": 2, "model_id": versions[1], "over": "3"}


def test_rolling_back_to_the_current_version_signs_nothing(world: MarketWorld, versions: list[str]) -> None:
    done = world.hub.rollbacks.roll_back("c-1", 3, "nothing to do")
    assert (done.model_id, done.over, done.token) == (versions[2], (), None)
    assert world.hub.rollbacks.tokens() == ()
    assert world.rollbacks == 0


def test_a_release_after_a_rollback_is_the_current_one(world: MarketWorld, versions: list[str]) -> None:
    world.hub.rollbacks.roll_back("c-1", 1, "drift")
    assert world.released_model(4) not in versions
    assert states(world) == {1: "release", 2: "rolled-back", 3: "rolled-back", 4: "release*"}


def test_what_is_no_released_version_is_refused(world: MarketWorld, versions: list[str]) -> None:
    with pytest.raises(NotFoundError, match="version 9"):
        world.hub.rollbacks.roll_back("c-1", 9, "x")
    with pytest.raises(NotFoundError):
        world.hub.rollbacks.roll_back("c-2", 1, "x")
    world.hub.models.register(small_artefact(4).to_bytes(), campaign_id="c-1", attempt=None)
    with pytest.raises(ModelStateError, match="registered"):
        world.hub.rollbacks.roll_back("c-1", 4, "x")
    world.hub.models.withdraw(versions[0], "a bin was wrong")
    with pytest.raises(ModelStateError, match="withdrawn"):
        world.hub.rollbacks.roll_back("c-1", 1, "x")
    world.hub.rollbacks.roll_back("c-1", 2, "drift")
    with pytest.raises(ModelStateError, match="rolled-back") as caught:
        world.hub.models.release(versions[2], "release")
    assert "rollback" in str(caught.value.remedy)
    world.hub.models.withdraw(versions[2], "never again")
    assert world.hub.models.status(versions[2]) == "withdrawn"


@pytest.mark.parametrize(
    "changes",
    [{"line": "c-2"}, {"model_id": "sha256:" + "0" * 64}, {"over": ()}, {"reason": "another"}, {"serial": 1}],
)
def test_signature_over_something_else_or_older_rolls_nothing_back(
    world: MarketWorld, versions: list[str], changes: dict[str, object]
) -> None:
    world.hub.rollbacks.roll_back("c-1", 2, "drift")
    before = states(world)
    world.peers.handlers["witness-zj", "rollback-model"] = lambda body: world.sign_rollback(body, **changes)
    with pytest.raises(ReleaseError):
        world.hub.rollbacks.roll_back("c-1", 1, "more drift")
    assert states(world) == before
    assert len(fed(world, "bank-01")) == len(versions) + 1


def test_another_signer_or_an_absent_witness_rolls_nothing_back(world: MarketWorld, versions: list[str]) -> None:
    honest, world.witness.identity = world.witness.identity, IdentityKey.generate()
    with pytest.raises(SignatureError):
        world.hub.rollbacks.roll_back("c-1", 1, "drift")
    world.witness.identity = honest
    del world.peers.handlers["witness-zj", "rollback-model"]
    with pytest.raises(PeerUnreachable):
        world.hub.rollbacks.roll_back("c-1", 1, "drift")
    assert states(world) == {1: "release", 2: "release", 3: "release*"}
    assert len(versions) == 3


def test_database_alone_rolls_nothing_back(world: MarketWorld, versions: list[str]) -> None:
    token = world.hub.rollbacks.roll_back("c-1", 1, "drift").token
    world.hub.rollbacks.roll_back("c-1", 3, "it was not the model")
    with world.hub.db.session() as session:  # the older one, under a serial that it does not have
        forged = {"serial": 7, "line": "c-1", "model_id": versions[0], "token": token, "received_at": 0}
        session.execute(insert(ModelRollbackRow).values(forged))
    assert states(world) == {1: "release", 2: "rolled-back", 3: "release*"}
    with world.hub.db.session() as session:
        session.execute(update(ModelRollbackRow).values(token="no.signature.here"))
    assert world.hub.models.status(versions[1]) == "release"


def test_rollback_over_http_is_the_administrators_and_its_signatures_are_public(
    world: MarketWorld, versions: list[str]
) -> None:
    client = TestClient(create_app(world.hub))
    order = {"line": "c-1", "version": 2, "reason": "drift"}
    assert client.post("/v1/models/rollback", json=order, headers={"Idempotency-Key": "a"}).status_code == 401
    admin = {"Authorization": f"Bearer {world.hub.config.admin_token_file.read_text().strip()}", "Idempotency-Key": "b"}
    done = client.post("/v1/models/rollback", json=order, headers=admin).json()
    assert (done["model_id"], done["over"]) == (versions[1], [versions[2]])
    assert client.get("/v1/models/rollbacks").json() == {"rollbacks": [done["token"]]}
    listed = {each["version"]: each for each in client.get("/v1/models").json()["models"]}
    assert (listed[2]["current"], listed[3]["status"]) == (True, "rolled-back")
    release = client.get(f"/v1/models/{versions[2]}/release").text
    assert verify_model(release, world.witness.identity.public, ModelRelease, typ="model-release").scope == "release"
    card = client.get(f"/v1/models/{versions[2]}/card?lang=en").text
    assert "State: rolled back: nodes answer with another version instead" in card
    assert "Why rolled back: drift" in card
    assert "回退原因：drift" in client.get(f"/v1/models/{versions[2]}/card?lang=zh").text


def test_a_party_that_joins_later_is_told_of_all_models(world: MarketWorld, versions: list[str]) -> None:
    world.hub.rollbacks.roll_back("c-1", 2, "drift")
    world.hub.models.withdraw(versions[0], "a bin was wrong")
    world.join(Member("bank-09", "bank"))
    told = fed(world, "bank-09")
    assert sorted(told, key=str) == sorted(fed(world, "bank-01"), key=str)
    with world.hub.db.session() as session:
        for party in ("bank-01", "bank-09"):
            world.hub.models.tell(session, party)
    assert fed(world, "bank-09") == told
    assert len(fed(world, "bank-01")) == len(told) == len(versions) + 2


def test_a_release_waits_for_the_regulator_and_can_be_refused(world: MarketWorld) -> None:
    model_id = world.hub.models.register(small_artefact().to_bytes(), campaign_id="c-1", attempt=None)

    def answer(code: str, remedy: str) -> None:
        def refuse(_body: bytes) -> bytes:
            raise PeerRefused("witness-zj", ProblemBody(code=code, title="No", detail="not yet", remedy=remedy))

        world.peers.handlers["witness-zj", "release-model"] = refuse

    answer("approval-pending", "propose again")
    for _ in range(2):
        with pytest.raises(ApprovalPendingError) as pending:
            world.hub.models.release(model_id, "release")
    assert (pending.value.party, pending.value.remedy) == ("witness-zj", "propose again")
    assert world.hub.models.summary(model_id).waiting
    assert "waiting for the regulator" in world.hub.cards.card(model_id, "en", "md", unreleased=True)
    assert "等待监管方批准" in world.hub.cards.card(model_id, "zh", "html", unreleased=True)
    answer("approval-refused", "speak with the owner")
    with pytest.raises(ApprovalRefusedError) as refused:
        world.hub.models.release(model_id, "release")
    assert (refused.value.party, refused.value.remedy) == ("witness-zj", "speak with the owner")
    assert world.hub.models.status(model_id) == "registered"
    world.let_witness_release()
    world.hub.models.release(model_id, "release")
    assert not world.hub.models.summary(model_id).waiting
    world.settle()
    types = [str(json_of(leaf)["type"]) for leaf in world.hub.log.reader.entries(0, 1000)]
    assert [each for each in types if each.startswith("model-")] == [
        "model-registered",
        "model-proposed",
        "model-release",
    ]
