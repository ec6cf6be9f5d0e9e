"""A revoked party is refused at once by every process, for good under its keys; the log and the roster say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub import cli
from hub.errors import EnrolmentError, PartyExistsError, PartyUnknownError
from hub.services import Hub
from tests.hub_world import HubWorld, Member


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path)
    made.join(made.witness, Member("bank-1", "bank"), Member("tax-1", "tax"))
    yield made
    made.hub.close()


def test_it_is_refused_before_the_witness_has_signed_the_new_roster(world: HubWorld) -> None:
    hub = world.hub
    before = hub.roster.current()
    assert hub.roster.approved("bank-1") is not None
    world.links.reachable = False
    hub.revocation.revoke("bank-1", "its keys were stolen")
    assert hub.roster.current() == before
    assert hub.roster.approved("bank-1") is None
    assert [party.party_id for party in hub.roster.members()] == ["tax-1", "witness-zj"]
    assert hub.parties.get("bank-1") is None
    with pytest.raises(PartyUnknownError):
        hub.roster.party("bank-1")


def test_the_roster_and_the_log_follow(world: HubWorld) -> None:
    hub = world.hub
    version = hub.roster.current()[1].version
    hub.revocation.revoke("bank-1", "its keys were stolen")
    assert hub.roster.propose() == ()
    roster = hub.roster.current()[1]
    assert (roster.version, [party.party_id for party in roster.parties]) == (version + 1, ["tax-1", "witness-zj"])
    assert "tax-1" in world.links.notified
    world.settle()
    entries = [json.loads(leaf) for leaf in hub.log.reader.entries(0, 1000)]
    (entry,) = [each for each in entries if each["type"] == "party-revoked"]
    assert entry["actor"] == "hub-lishui"
    assert entry["facts"]["party_id"] == "bank-1"
    assert entry["facts"]["reason"] == "its keys were stolen"


def test_another_process_hears_of_it(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Hub.open(world.hub.config, clock=lambda: world.now)
    assert other.roster.approved("bank-1") is not None
    result = CliRunner().invoke(
        cli.app, ["revoke", "bank-1", "--reason", "closed", "--config", str(world.base / "hub.yaml"), "--json"]
    )
    assert json.loads(result.stdout)["party_id"] == "bank-1"
    monkeypatch.setattr("hub.roster.REVOKED_S", -1.0)
    assert other.roster.approved("bank-1") is None
    other.close()


def test_its_keys_never_come_back_and_its_name_only_by_a_replacing_token(world: HubWorld) -> None:
    hub = world.hub
    old = Member("bank-2", "bank")
    world.join(old)
    unused = hub.enrolment.issue_token("bank", "bank-2", valid_for=timedelta(hours=1), replace=True)
    hub.revocation.revoke("bank-2", "it left the programme")
    with pytest.raises(EnrolmentError, match="unknown, used or expired"):
        hub.enrolment.enrol(world.enrolment(Member("bank-2", "bank"), token=unused))
    with pytest.raises(PartyExistsError, match="was revoked"):
        hub.enrolment.issue_token("bank", "bank-2", valid_for=timedelta(hours=1))
    with pytest.raises(EnrolmentError, match="key was revoked"):
        hub.enrolment.enrol(world.enrolment(old, replace=True))
    new = Member("bank-2", "bank")
    hub.enrolment.enrol(world.enrolment(new, replace=True))
    hub.roster.propose()
    assert hub.roster.party("bank-2").sign_key == new.identity.public


@pytest.mark.parametrize(
    ("party", "reason", "error"),
    [
        ("witness-zj", "why not", EnrolmentError),
        ("nobody", "why not", PartyUnknownError),
        ("bank-1", "  ", EnrolmentError),
        ("bank-1", "x" * 501, EnrolmentError),
    ],
)
def test_what_cannot_be_revoked_stays(world: HubWorld, party: str, reason: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        world.hub.revocation.revoke(party, reason)
    assert world.hub.roster.approved("bank-1") is not None
