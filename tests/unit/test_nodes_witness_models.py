"""The regulator's word on models: approval and refusal by its owner, and which released version is in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crypto.canonical import canonical_bytes
from crypto.errors import SignatureError
from crypto.jws import verify_model
from crypto.wire.assessment import ImpactAssessment
from crypto.wire.campaign import ModelRelease, ModelRollback
from crypto.wire.link import ReleaseProposal, RollbackProposal, WithdrawalProposal
from hub.scorecard_model import make_scorecard
from models.artefact import ModelArtefact
from models.card import model_card
from nodes.cli import app
from nodes.errors import ConfigError, PolicyRefusal
from nodes.journal import Journal
from nodes.store import Store
from nodes.witness.model_approvals import ModelApprovals
from nodes.witness.release import ReleaseDesk
from nodes.witness.rollback import RollbackDesk
from tests.assessments import assessed
from tests.federation import World, make_world, run_scorecard
from tests.scoring_answers import write_config
from tests.scoring_world import NOW, ScoringWorld


class Office:
    """A witness's desks over a scorecard that was really trained, with a fresh store; its owner decides by hand."""

    def __init__(self, trained: World, proposal: ReleaseProposal, store: Store) -> None:
        self.context = trained.federation.witness_context
        self.key = trained.federation.identity_of("witness").public
        self.journal = Journal(store, "witness", clock=lambda: NOW)
        self.approvals = ModelApprovals(store, self.journal, clock=lambda: NOW)
        self.desk = ReleaseDesk(store, self.context, self.journal, approvals=self.approvals)
        self.store = store
        self._proposal = proposal

    def version(self, number: int) -> ReleaseProposal:
        """The trained model under another date: other bytes, another id, and it fits again as well."""
        plain = ModelArtefact.from_bytes(self._proposal.artefact.encode())
        made = plain.model_copy(update={"created": plain.created + timedelta(days=number)})
        return self._proposal.model_copy(update={"artefact": made.to_bytes().decode()})

    def propose(self, proposal: ReleaseProposal) -> str:
        return self.desk.release(canonical_bytes(proposal)).decode()

    def released(self, number: int) -> str:
        """Id of a version that the owner approved and the witness released."""
        proposal = self.version(number)
        model_id = id_of(proposal)
        with pytest.raises(PolicyRefusal):
            self.propose(proposal)
        self.approvals.approve(model_id)
        self.propose(proposal)
        return model_id

    def roll_back(self, model_id: str, *over: str, reason: str = "drift") -> str:
        desk = RollbackDesk(self.store, self.context, self.journal)
        proposal = RollbackProposal(line="line", model_id=model_id, over=over, reason=reason)
        return desk.roll_back(canonical_bytes(proposal)).decode()

    def serial_of(self, token: str) -> int:
        return verify_model(token, self.key, ModelRollback, typ="model-rollback", kid="witness").serial


def id_of(proposal: ReleaseProposal) -> str:
    return ModelArtefact.from_bytes(proposal.artefact.encode()).model_id


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, ReleaseProposal]]:
    federation = make_world(tmp_path_factory.mktemp("federation"), merchants=300, absent=0.1, unlabelled=0.0)
    released = run_scorecard(federation)
    _, artefact = make_scorecard(released, NOW)
    proposal = ReleaseProposal(
        artefact=artefact.to_bytes().decode(),
        attempt=released.terms.attempt,
        scope="release",
        shares=dict(released.shares),
        assessment=assessed(released.terms.campaign_id),
    )
    yield federation, proposal
    federation.federation.grid.close()


@pytest.fixture
def office(trained: tuple[World, ReleaseProposal], tmp_path: Path) -> Iterator[Office]:
    store = Store.open(tmp_path / "node.db")
    yield Office(*trained, store)
    store.close()


def reason_of(office: Office, proposal: ReleaseProposal) -> PolicyRefusal:
    with pytest.raises(PolicyRefusal) as caught:
        office.propose(proposal)
    return caught.value


def test_a_release_waits_for_the_owners_word(office: Office) -> None:
    proposal = office.version(0)
    model_id = id_of(proposal)
    for _ in range(2):
        assert reason_of(office, proposal).reason == "approval-pending"
    assert [(each.model_id, each.state) for each in office.approvals.list()] == [(model_id, "pending")]
    assert office.approvals.artefact(model_id).to_bytes() == proposal.artefact.encode()
    office.approvals.approve(model_id)
    token = office.propose(proposal)
    assert verify_model(token, office.key, ModelRelease, typ="model-release", kid="witness").model_id == model_id
    assert [each.state for each in office.approvals.list()] == ["release"]
    kinds = [line.type for line in office.journal.lines()]
    assert kinds == ["model-proposed", "model-approved", "model-signed"]


def test_an_evaluation_needs_no_word_of_the_owner(office: Office) -> None:
    office.propose(office.version(0).model_copy(update={"scope": "evaluation"}))
    assert reason_of(office, office.version(0)).reason == "approval-pending"


def test_only_what_could_be_made_again_comes_before_the_owner(office: Office) -> None:
    plain = ModelArtefact.from_bytes(office.version(0).artefact.encode())
    forged = plain.model_copy(update={"cohort_size": plain.cohort_size + 1}).to_bytes().decode()
    refusal = reason_of(office, office.version(0).model_copy(update={"artefact": forged}))
    assert refusal.reason == "model-not-reproduced"
    assert office.approvals.list() == []


def test_a_refusal_names_its_reason_and_can_be_taken_back(office: Office) -> None:
    proposal = office.version(0)
    assert reason_of(office, proposal).reason == "approval-pending"
    office.approvals.refuse(id_of(proposal), "regions are judged too unlike")
    refusal = reason_of(office, proposal)
    assert refusal.reason == "approval-refused"
    assert "regions are judged too unlike" in str(refusal)
    assert refusal.remedy is not None
    office.approvals.approve(id_of(proposal))
    office.propose(proposal)
    with pytest.raises(ConfigError, match="state release"):
        office.approvals.refuse(id_of(proposal), "too late")


def test_approval_is_of_one_model_alone(office: Office) -> None:
    office.released(0)
    assert reason_of(office, office.version(1)).reason == "approval-pending"
    with pytest.raises(ConfigError, match="no model"):
        office.approvals.approve("sha256:" + "0" * 64)


def test_rollbacks_are_numbered_and_the_newest_is_repeated_byte_by_byte(office: Office) -> None:
    first, second = office.released(0), office.released(1)
    back = office.roll_back(first, second)
    signed = verify_model(back, office.key, ModelRollback, typ="model-rollback", kid="witness")
    assert (signed.serial, signed.line, signed.model_id, signed.over) == (1, "line", first, (second,))
    assert office.roll_back(first, second) == back
    forth = office.roll_back(second)
    assert office.serial_of(forth) == 2
    assert office.serial_of(office.roll_back(first, second)) == 3  # asked for anew, not the old one again
    assert [line.type for line in office.journal.lines()].count("model-rollback") == 3


def test_only_released_models_come_into_use(office: Office) -> None:
    first, second = office.released(0), office.released(1)
    office.propose(office.version(2).model_copy(update={"scope": "evaluation"}))
    evaluated = id_of(office.version(2))
    for case in ((evaluated, second), (first, evaluated), ("sha256:" + "0" * 64, second)):
        with pytest.raises(PolicyRefusal) as caught:
            office.roll_back(*case)
        assert caught.value.reason == "model-not-released"
    office.desk.withdraw(canonical_bytes(WithdrawalProposal(model_id=first, reason="a bin was wrong")))
    with pytest.raises(PolicyRefusal) as caught:
        office.roll_back(first, second)
    assert (caught.value.reason, caught.value.remedy is not None) == ("model-withdrawn", True)
    with pytest.raises(SignatureError, match="twice"):
        office.roll_back(second, second)
    with pytest.raises(SignatureError):
        RollbackDesk(office.store, office.context, office.journal).roll_back(b"{}")
    with pytest.raises(SignatureError):
        office.roll_back("sha256:short", second)


# the command line


def call(world: ScoringWorld, *arguments: object) -> Result:
    given = [str(each) for each in arguments]
    return CliRunner().invoke(app, ["witness", *given, "--config", str(world.config_path("witness"))])


def test_the_owner_decides_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "zh")
    world = ScoringWorld(tmp_path)
    write_config(world, "witness")
    witness = world.nodes["witness"]
    approvals = ModelApprovals(witness.runtime.store, witness.journal, clock=world.clock)
    artefact = world.artefact()
    with pytest.raises(PolicyRefusal):
        approvals.require(artefact)
    listed = call(world, "models", "--json")
    assert listed.exit_code == 0, listed.output
    (line,) = json.loads(listed.stdout)["models"]
    assert (line["model_id"], line["state"]) == (artefact.model_id, "pending")
    assert "待批准" in call(world, "models").stdout
    card = call(world, "model-card", artefact.model_id).stdout
    assert card.startswith("# 模型说明卡")
    assert "此处不掌握评估结果" in card
    page = tmp_path / "card.html"
    assert (
        call(world, "model-card", artefact.model_id, "--lang", "en", "--format", "html", "--out", page).exit_code == 0
    )
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    refused = call(world, "refuse-model", artefact.model_id, "--reason", "地区差异过大", "--json")
    assert json.loads(refused.stdout) == {"model_id": artefact.model_id, "approved": False, "reason": "地区差异过大"}
    assert json.loads(call(world, "models", "--json").stdout)["models"][0]["reason"] == "地区差异过大"
    monkeypatch.setenv("COLUMNS", "260")
    assert "地区差异过大" in call(world, "models").stdout
    approved = call(world, "approve-model", artefact.model_id, "--json")
    assert json.loads(approved.stdout)["approved"] is True
    approvals.require(artefact)
    unknown = call(world, "approve-model", "sha256:" + "0" * 64)
    assert unknown.exit_code == 1
    assert "witness models" in unknown.output
    world.close()


def test_nothing_is_released_without_an_impact_assessment_of_its_campaign(office: Office) -> None:
    proposal = office.version(40)
    given = proposal.assessment
    assert given is not None
    missing: list[ImpactAssessment | None] = [
        None,
        given.model_copy(update={"campaign_id": "another"}),
        given.model_copy(update={"conclusion": "not-acceptable"}),
        given.model_copy(update={"date": date(2100, 1, 1), "retained_until": date(2110, 1, 1)}),
    ]
    for assessment in missing:
        refused = reason_of(office, proposal.model_copy(update={"assessment": assessment}))
        assert refused.reason == "assessment-missing"
    assert [each.model_id for each in office.approvals.list()] == []  # its owner is not asked before
    assert reason_of(office, proposal).reason == "approval-pending"
    (waiting,) = office.approvals.list()
    assert waiting.assessment is not None
    assert waiting.assessment.sha256 == given.sha256
    assert given.sha256 in model_card(office.approvals.card_facts(waiting.model_id), "zh")


def test_the_hash_of_the_report_is_signed_with_the_release(office: Office) -> None:
    proposal = office.version(41)
    assert reason_of(office, proposal).reason == "approval-pending"
    office.approvals.approve(id_of(proposal))
    signed = verify_model(office.propose(proposal), office.key, ModelRelease, typ="model-release", kid="witness")
    assert proposal.assessment is not None
    assert signed.assessment_sha256 == bytes.fromhex(proposal.assessment.sha256)


def test_a_witness_may_be_told_to_do_without(office: Office) -> None:
    desk = ReleaseDesk(office.store, office.context, office.journal, assessment_required=False)
    bare = office.version(42).model_copy(update={"assessment": None})
    token = desk.release(canonical_bytes(bare)).decode()
    signed = verify_model(token, office.key, ModelRelease, typ="model-release", kid="witness")
    assert signed.assessment_sha256 is None
