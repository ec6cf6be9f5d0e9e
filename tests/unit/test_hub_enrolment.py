"""Enrolment, rotation, and the roster that the witness cosigns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.errors import SignatureError
from crypto.jws import sign_model, verify_model
from crypto.wire.base import SUITE
from crypto.wire.party import KeyRotation, Roster
from hub.errors import EnrolmentError, PartyExistsError, PartyUnknownError, PeerUnreachable, RosterError
from hub.services import Hub
from tests.hub_world import HubWorld, Member


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path)
    yield world
    world.hub.close()


def rotation(old: Member, new: Member) -> str:
    inner = sign_model(new.party(), new.identity, typ="rotated-party", kid=new.party_id)
    body = KeyRotation(suite=SUITE, party_id=old.party_id, new_party=inner, issued_at="2026-03-01T08:00:00Z")
    return sign_model(body, old.identity, typ="key-rotation", kid=old.party_id)


def test_token_serves_once_for_its_party(world: HubWorld) -> None:
    bank = Member("bank-01", "bank")
    token = world.hub.enrolment.issue_token("bank", "bank-01", valid_for=timedelta(hours=1))
    with pytest.raises(EnrolmentError, match="is for bank-01"):
        world.hub.enrolment.enrol(world.enrolment(Member("bank-02", "bank"), token=token))
    with pytest.raises(EnrolmentError, match="is for bank-01"):
        world.hub.enrolment.enrol(world.enrolment(Member("bank-01", "tax"), token=token))
    receipt = world.hub.enrolment.enrol(world.enrolment(bank, token=token))
    assert (receipt.party_id, receipt.approved) == ("bank-01", False)
    assert world.hub.parties.get("bank-01") == bank.party()
    with pytest.raises(EnrolmentError, match="unknown, used or expired"):
        world.hub.enrolment.enrol(world.enrolment(Member("bank-01", "bank"), token=token))


def test_expired_and_unknown_tokens_are_refused_alike(world: HubWorld) -> None:
    token = world.hub.enrolment.issue_token("bank", "bank-01", valid_for=timedelta(hours=1))
    world.now += timedelta(hours=2)
    messages = []
    for each in (token, "x" * 32):
        with pytest.raises(EnrolmentError) as refused:
            world.hub.enrolment.enrol(world.enrolment(Member("bank-01", "bank"), token=each))
        messages.append(refused.value.message)
    assert messages[0] == messages[1]


def test_proof_of_possession(world: HubWorld) -> None:
    bank, thief = Member("bank-01", "bank"), Member("bank-01", "bank")
    token = world.hub.enrolment.issue_token("bank", "bank-01", valid_for=timedelta(hours=1))
    bank_party = bank.party()
    bank.identity = thief.identity  # signs with a key other than the one it brings
    bank.party = lambda: bank_party  # type: ignore[method-assign]
    with pytest.raises(SignatureError):
        world.hub.enrolment.enrol(world.enrolment(bank, token=token))
    for garbage in ("", "a.b.c", "no token"):
        with pytest.raises(EnrolmentError):
            world.hub.enrolment.enrol(garbage)


def test_stale_request_is_refused(world: HubWorld) -> None:
    request = world.enrolment(Member("bank-01", "bank"))
    world.now += timedelta(minutes=6)
    with pytest.raises(EnrolmentError, match="5 minutes"):
        world.hub.enrolment.enrol(request)


def test_ids_and_the_witness_are_unique(world: HubWorld) -> None:
    world.join(world.witness)
    world.join(Member("bank-01", "bank"))
    for kind, party_id in (("bank", "bank-01"), ("witness", "witness-2")):
        with pytest.raises(PartyExistsError):
            world.hub.enrolment.issue_token(kind, party_id, valid_for=timedelta(hours=1))
    with pytest.raises(EnrolmentError):
        world.hub.enrolment.issue_token("hub", "hub-2", valid_for=timedelta(hours=1))
    with pytest.raises(PartyExistsError):
        world.hub.enrolment.issue_token("tax", "bank-01", valid_for=timedelta(hours=1), replace=True)


def test_replacing_token_lets_lost_keys_be_replaced(world: HubWorld) -> None:
    world.join(world.witness)
    old, new = Member("bank-01", "bank"), Member("bank-01", "bank")
    world.join(old)
    world.hub.enrolment.enrol(world.enrolment(new, replace=True))
    assert world.hub.parties.get("bank-01") == new.party()
    assert world.hub.roster.approved("bank-01") == old.party()
    assert world.hub.roster.pending() == ("bank-01",)


def test_roster_holds_whom_the_witness_approved(world: HubWorld) -> None:
    with pytest.raises(RosterError):
        world.hub.roster.propose()
    world.join(world.witness)
    bank, sybil, tax = Member("bank-01", "bank"), Member("bank-99", "bank"), Member("tax-01", "tax")
    for member in (bank, sybil, tax):
        world.hub.enrolment.enrol(world.enrolment(member))
    world.links.approved |= {"bank-01", "tax-01"}
    assert world.hub.roster.propose() == ("bank-99",)
    token, roster = world.hub.roster.current() or pytest.fail("no roster")
    assert [party.party_id for party in roster.parties] == ["bank-01", "tax-01", "witness-zj"]
    assert (roster.version, roster.hub_voprf_key) == (2, world.hub.keys.voprf.public)
    verify_model(token, world.witness.identity.public, Roster, typ="roster", kid="witness-zj")
    with pytest.raises(PartyUnknownError):
        world.hub.roster.party("bank-99")
    before = len(world.links.requests)
    assert world.hub.roster.propose() == ("bank-99",)
    assert world.links.requests[before:] == ["cosign-roster"]  # refused, and what is left is the roster as it is
    assert (world.hub.roster.current() or pytest.fail("no roster"))[1].version == 2
    assert set(world.links.notified) >= {"bank-01", "tax-01", "witness-zj"}


def test_unreachable_witness_leaves_parties_pending(world: HubWorld) -> None:
    world.join(world.witness)
    world.links.reachable = False
    world.hub.enrolment.enrol(world.enrolment(Member("bank-01", "bank")))
    with pytest.raises(PeerUnreachable):
        world.hub.roster.propose()
    assert world.hub.roster.pending() == ("bank-01",)


def test_background_proposes_after_enrolment(world: HubWorld) -> None:
    world.join(world.witness)
    world.links.approved.add("bank-01")
    world.hub.start()
    try:
        world.hub.enrolment.enrol(world.enrolment(Member("bank-01", "bank")))
        for _ in range(200):
            if world.hub.roster.approved("bank-01"):
                break
            world.hub.log._stopping.wait(0.02)
        assert world.hub.roster.approved("bank-01")
    finally:
        world.hub.stop()


def test_roster_that_was_not_proposed_is_refused(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.join(world.witness)
    _, roster = world.hub.roster.current() or pytest.fail("no roster")
    lie = roster.model_copy(update={"version": 9})
    token = sign_model(lie, world.witness.identity, typ="roster", kid="witness-zj").encode()
    world.hub.enrolment.enrol(world.enrolment(Member("bank-01", "bank")))
    monkeypatch.setattr(world.links, "request", lambda *_args: token)
    with pytest.raises(RosterError, match="another roster"):
        world.hub.roster.propose()
    assert (world.hub.roster.current() or pytest.fail("no roster"))[1].version == 1


def test_rotation_by_the_old_key(world: HubWorld) -> None:
    world.join(world.witness)
    old, new = Member("bank-01", "bank"), Member("bank-01", "bank")
    world.join(old)
    world.hub.enrolment.rotate(rotation(old, new))
    assert world.hub.parties.get("bank-01") == new.party()
    assert world.hub.roster.approved("bank-01") == old.party()  # until the witness signs
    world.hub.roster.propose()
    assert world.hub.roster.approved("bank-01") == new.party()
    with pytest.raises(SignatureError):
        world.hub.enrolment.rotate(rotation(old, new))
    size = len(world.export().read_bytes())
    world.hub.enrolment.rotate(rotation(new, new))  # were they taken? they were, and nothing changes
    assert (world.hub.roster.pending(), len(world.export().read_bytes())) == ((), size)


def test_rotation_refused_by_the_witness_keeps_the_approved_keys(world: HubWorld) -> None:
    world.join(world.witness)
    old, new = Member("bank-01", "bank"), Member("bank-01", "bank")
    world.join(old)
    world.hub.enrolment.rotate(rotation(old, new))
    world.links.approved.discard("bank-01")
    assert world.hub.roster.propose() == ("bank-01",)
    assert world.hub.roster.approved("bank-01") == old.party()


@pytest.mark.parametrize("change", ["stranger", "thief", "kind", "witness", "unproved"])
def test_wrong_rotations_are_refused(world: HubWorld, change: str) -> None:
    world.join(world.witness)
    old, new = Member("bank-01", "bank"), Member("bank-01", "bank")
    world.join(old)
    match change:
        case "stranger":
            token, error = rotation(Member("bank-77", "bank"), Member("bank-77", "bank")), PartyUnknownError
        case "thief":
            token, error = rotation(Member("bank-01", "bank"), new), SignatureError
        case "kind":
            token, error = rotation(old, Member("bank-01", "tax")), EnrolmentError
        case "witness":
            token, error = rotation(world.witness, Member("witness-zj", "witness")), EnrolmentError
        case _:
            inner = sign_model(new.party(), old.identity, typ="rotated-party", kid="bank-01")
            body = KeyRotation(suite=SUITE, party_id="bank-01", new_party=inner, issued_at=world.now)
            token = sign_model(body, old.identity, typ="key-rotation", kid="bank-01")
            error = SignatureError
    with pytest.raises(error):
        world.hub.enrolment.rotate(token)


def test_roster_and_parties_survive_a_restart(world: HubWorld) -> None:
    world.join(world.witness)
    world.join(Member("bank-01", "bank"))
    again = Hub.open(world.hub.config)
    assert again.roster.current() == world.hub.roster.current()
    assert again.parties.all() == world.hub.parties.all()
    again.close()
