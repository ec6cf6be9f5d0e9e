"""Impact assessments at the hub: registered for good, demanded before a release, told on the card."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from crypto.jws import sign_model, verify_model
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRelease
from crypto.wire.service import SignedRequest
from hub.app import create_app
from hub.assessments import Assessments
from hub.model_errors import AssessmentError, AssessmentMissingError, ReleaseError
from tests.assessments import assess, assessed, submission
from tests.hub_merchants import MarketWorld, json_of, small_artefact
from tests.hub_world import Member

CAMPAIGN = "c-7"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    world.let_witness_release()
    yield world
    world.hub.close()


@pytest.fixture
def model_id(world: MarketWorld) -> str:
    artefact = small_artefact(7, campaign=CAMPAIGN)
    return world.hub.models.register(artefact.to_bytes(), campaign_id=CAMPAIGN, attempt=None)


def test_no_model_is_released_for_scoring_without_one(world: MarketWorld, model_id: str) -> None:
    world.peers.requests.clear()
    with pytest.raises(AssessmentMissingError) as refused:
        world.hub.models.release(model_id, "release")
    assert (refused.value.code, refused.value.status) == ("assessment-missing", 409)
    assert "release-model" not in world.peers.requests
    assert world.hub.models.release(model_id, "evaluation")  # nobody is scored with it yet
    with pytest.raises(AssessmentMissingError):
        world.hub.models.release(model_id, "release")
    made = assess(world.hub, CAMPAIGN)
    token = world.hub.models.release(model_id, "release")
    key = world.witness.identity.public
    signed = verify_model(token, key, ModelRelease, typ="model-release", kid="witness-zj")
    assert signed.assessment_sha256 == bytes.fromhex(made.sha256)


def test_one_of_another_campaign_does_not_count(world: MarketWorld, model_id: str) -> None:
    assess(world.hub, "c-8")
    with pytest.raises(AssessmentMissingError):
        world.hub.models.release(model_id, "release")


def test_the_newest_conclusion_counts(world: MarketWorld, model_id: str) -> None:
    assess(world.hub, CAMPAIGN)
    assess(world.hub, CAMPAIGN, document="# 复评".encode(), conclusion="not-acceptable")
    with pytest.raises(AssessmentMissingError, match="not acceptable"):
        world.hub.models.release(model_id, "release")
    third = assess(world.hub, CAMPAIGN, document="# 再评".encode(), conclusion="acceptable-with-measures")
    assert world.hub.assessments.newest(CAMPAIGN) == third
    assert world.hub.models.release(model_id, "release")


def test_a_hub_may_leave_it_to_the_witness(world: MarketWorld) -> None:
    lenient = Assessments(world.hub.db, world.hub.log, hub_id="hub-lishui", clock=lambda: world.now, required=False)
    assert lenient.for_release(CAMPAIGN) is None
    assess(world.hub, CAMPAIGN, conclusion="not-acceptable")
    with pytest.raises(AssessmentMissingError):
        lenient.for_release(CAMPAIGN)


def test_a_witness_that_signs_another_report_is_not_believed(world: MarketWorld, model_id: str) -> None:
    assess(world.hub, CAMPAIGN)
    for other in (None, bytes(32)):
        world.peers.handlers["witness-zj", "release-model"] = lambda body, other=other: world.sign_release(  # type: ignore[misc]
            body, assessment_sha256=other
        )
        with pytest.raises(ReleaseError):
            world.hub.models.release(model_id, "release")
    assert world.hub.models.status(model_id) == "registered"


def test_a_registered_report_never_changes(world: MarketWorld) -> None:
    made = assess(world.hub, CAMPAIGN)
    assert assess(world.hub, CAMPAIGN) == made
    with pytest.raises(AssessmentError):
        assess(world.hub, CAMPAIGN, conclusion="not-acceptable")
    world.settle()
    leaves = [json_of(leaf) for leaf in world.hub.log.reader.entries(0, 1000)]
    logged = [leaf["facts"] for leaf in leaves if leaf["type"] == "assessment"]
    assert {"campaign_id": CAMPAIGN, "sha256": made.sha256, "conclusion": "acceptable"}.items() <= logged[-1].items()  # type: ignore[attr-defined]
    assert len([each for each in logged if each["campaign_id"] == CAMPAIGN]) == 1  # type: ignore[index]


@pytest.mark.parametrize(
    "changes",
    [
        {"media_type": "application/pdf"},
        {"document": b"\xff\xfe"},
        {"date": date(2026, 3, 2), "retained_until": date(2029, 3, 2)},  # tomorrow
    ],
)
def test_what_is_not_as_stated_is_refused(world: MarketWorld, changes: dict[str, object]) -> None:
    with pytest.raises(AssessmentError):
        assess(world.hub, CAMPAIGN, **changes)


def test_reports_are_kept_for_three_years() -> None:
    assert assessed(CAMPAIGN, retained_until=date(2029, 1, 31))
    with pytest.raises(ValidationError):
        assessed(CAMPAIGN, retained_until=date(2029, 1, 30))
    with pytest.raises(ValidationError):
        assessed(CAMPAIGN, date=date(2028, 2, 29), retained_until=date(2031, 2, 28))


def test_the_card_tells_of_it(world: MarketWorld, model_id: str) -> None:
    assert "Impact assessment" not in world.hub.cards.card(model_id, "en", "md", unreleased=True)
    made = assess(world.hub, CAMPAIGN, title="Scorecard 2026 | first")
    for language, words in (("en", "Impact assessment"), ("zh", "个人信息保护影响评估")):
        for form in ("md", "html"):
            text = world.hub.cards.card(model_id, language, form, unreleased=True)  # type: ignore[arg-type]
            assert words in text
            assert made.sha256 in text
            assert made.assessor in text


def test_reports_are_for_administrator_and_witness(world: MarketWorld) -> None:
    client = TestClient(create_app(world.hub), raise_server_exceptions=False)
    body = submission(CAMPAIGN).model_dump_json()
    token = world.hub.config.admin_token_file.read_text().strip()
    admin = {"Authorization": f"Bearer {token}"}
    key = {"Idempotency-Key": secrets.token_hex(8)}
    assert client.post("/v1/assessments", content=body, headers=key).status_code == 401
    made = client.post("/v1/assessments", content=body, headers=key | admin)
    assert made.status_code == 201
    sha256 = made.json()["sha256"]
    path = f"/v1/assessments/{sha256}"
    assert client.get("/v1/assessments", headers=admin).json()["assessments"][0]["sha256"] == sha256
    assert client.get("/v1/assessments").status_code == 401
    assert client.get(path).status_code == 401

    def signed(member: Member) -> dict[str, str]:
        request = SignedRequest(
            suite=SUITE,
            party_id=member.party_id,
            method="GET",
            path=path,
            nonce=secrets.token_bytes(16),
            issued_at=world.now,
        )
        return {"Authorization": "Digua " + sign_model(request, member.identity, typ="request", kid=member.party_id)}

    for headers in (admin, signed(world.witness)):
        answer = client.get(path, headers=headers)
        assert hashlib.sha256(answer.content).hexdigest() == sha256
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(path, headers=signed(world.members["bank-01"])).status_code == 403
    assert client.get(f"/v1/assessments/{'0' * 64}", headers=admin).status_code == 404
