"""Passkeys: they sign in without a name, answer each challenge once, and for this site alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.web.errors import FormInvalid, LinkSpent, SignInRefused
from models.web.rights import Role
from models.web.sessions import SignedIn
from models.web.signin import Browser
from tests.access_world import AccessWorld
from tests.authenticator import PRESENT, Authenticator

ORIGIN, RP = "https://bank.example.org", "bank.example.org"
HOME = Browser("10.0.0.1")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AccessWorld]:
    world = AccessWorld(tmp_path, origin=ORIGIN)
    yield world
    world.close()


def join(world: AccessWorld, name: str, device: Authenticator) -> SignedIn:
    token = world.access.people.add(name, [Role.OWNER])
    ceremony = world.access.desk.begin_joining(token, HOME)
    made = device.make(ceremony.options)
    entry = world.access.desk.join_by_passkey(token, ceremony.ceremony_id, made, "laptop", HOME)
    found = world.access.sessions.find(entry.session_id)
    assert found is not None
    return found


def sign_in(world: AccessWorld, device: Authenticator) -> SignedIn:
    ceremony = world.access.desk.begin_passkey(HOME)
    entry = world.access.desk.by_passkey(ceremony.ceremony_id, device.sign(ceremony.options), HOME)
    found = world.access.sessions.find(entry.session_id)
    assert found is not None
    return found


def test_sign_up_and_in_by_passkey(world: AccessWorld) -> None:
    device = Authenticator(ORIGIN, RP)
    assert join(world, "wang.li", device).means == "passkey"
    signed_in = sign_in(world, device)
    assert (signed_in.person.name, signed_in.means) == ("wang.li", "passkey")
    [key] = world.access.passkeys.of(signed_in.person.person_id)
    assert (key.label, key.used_at) == ("laptop", int(world.now.timestamp()))


def test_options_ask_for_a_verified_user_and_a_key_that_knows_its_person(world: AccessWorld) -> None:
    token = world.access.people.add("wang.li", [Role.OWNER])
    options = world.access.desk.begin_joining(token, HOME).options
    assert options["rp"]["id"] == RP
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert world.access.desk.begin_passkey(HOME).options["userVerification"] == "required"


def test_a_challenge_is_answered_once_in_five_minutes(world: AccessWorld) -> None:
    device = Authenticator(ORIGIN, RP)
    join(world, "wang.li", device)
    desk = world.access.desk
    ceremony = desk.begin_passkey(HOME)
    answer = device.sign(ceremony.options)
    desk.by_passkey(ceremony.ceremony_id, answer, HOME)
    with pytest.raises(SignInRefused):
        desk.by_passkey(ceremony.ceremony_id, answer, HOME)
    other = desk.begin_passkey(HOME)
    with pytest.raises(SignInRefused):  # an answer to another challenge
        desk.by_passkey(other.ceremony_id, answer, HOME)
    with pytest.raises(SignInRefused):  # which is spent by that
        desk.by_passkey(other.ceremony_id, device.sign(other.options), HOME)
    late = desk.begin_passkey(HOME)
    world.later(minutes=5)
    with pytest.raises(SignInRefused):
        desk.by_passkey(late.ceremony_id, device.sign(late.options), HOME)


@pytest.mark.parametrize(
    "device",
    [
        Authenticator("https://bank.example.org.evil.example", RP),
        Authenticator("http://bank.example.org", RP),
        Authenticator(ORIGIN, "evil.example"),
        Authenticator(ORIGIN, RP, flags=PRESENT),
        Authenticator(ORIGIN, RP, flags=0),
    ],
    ids=["other origin", "no TLS", "other site", "user not verified", "user not present"],
)
def test_what_answers_for_another_site_or_nobody_is_refused(world: AccessWorld, device: Authenticator) -> None:
    token = world.access.people.add("wang.li", [Role.OWNER])
    desk = world.access.desk
    ceremony = desk.begin_joining(token, HOME)
    with pytest.raises(FormInvalid):
        desk.join_by_passkey(token, ceremony.ceremony_id, device.make(ceremony.options), "", HOME)
    good = Authenticator(ORIGIN, RP, key=device.key, credential_id=device.credential_id)
    again = desk.begin_joining(token, HOME)  # the link is not spent by a failure
    desk.join_by_passkey(token, again.ceremony_id, good.make(again.options), "", HOME)
    begun = desk.begin_passkey(HOME)
    with pytest.raises(SignInRefused):
        desk.by_passkey(begun.ceremony_id, device.sign(begun.options), HOME)


def test_another_key_a_clone_and_nonsense_are_refused(world: AccessWorld) -> None:
    device = Authenticator(ORIGIN, RP)
    join(world, "wang.li", device)
    sign_in(world, device)
    sign_in(world, device)
    forged = Authenticator(ORIGIN, RP, credential_id=device.credential_id, count=9)
    clone = Authenticator(ORIGIN, RP, key=device.key, credential_id=device.credential_id)
    for other in (forged, clone, Authenticator(ORIGIN, RP)):
        with pytest.raises(SignInRefused):
            sign_in(world, other)
    for nonsense in ("", "{}", "[]", "null", '{"id": 1}', '{"id": "%%%"}', json.dumps({"id": "AAAA", "response": {}})):
        ceremony = world.access.desk.begin_passkey(HOME)
        with pytest.raises(SignInRefused):
            world.access.desk.by_passkey(ceremony.ceremony_id, nonsense, HOME)


def test_a_challenge_is_for_one_person_and_purpose(world: AccessWorld) -> None:
    desk, device = world.access.desk, Authenticator(ORIGIN, RP)
    first, second = (world.access.people.add(name, [Role.OWNER]) for name in ("first.one", "second.one"))
    ceremony = desk.begin_joining(first, HOME)
    with pytest.raises(FormInvalid):
        desk.join_by_passkey(second, ceremony.ceremony_id, device.make(ceremony.options), "", HOME)
    begun = desk.begin_passkey(HOME)
    with pytest.raises(FormInvalid):
        desk.join_by_passkey(first, begun.ceremony_id, device.make(begun.options), "", HOME)


def test_one_key_belongs_to_one_person(world: AccessWorld) -> None:
    device = Authenticator(ORIGIN, RP)
    join(world, "wang.li", device)
    token = world.access.people.add("li.na", [Role.OWNER])
    ceremony = world.access.desk.begin_joining(token, HOME)
    with pytest.raises(FormInvalid):
        world.access.desk.join_by_passkey(token, ceremony.ceremony_id, device.make(ceremony.options), "", HOME)
    assert sign_in(world, device).person.name == "wang.li"


def test_a_spent_link_makes_no_passkey(world: AccessWorld) -> None:
    token = world.access.people.add("wang.li", [Role.OWNER])
    ceremony = world.access.desk.begin_joining(token, HOME)
    world.access.people.reset("wang.li")
    device = Authenticator(ORIGIN, RP)
    with pytest.raises(LinkSpent):
        world.access.desk.join_by_passkey(token, ceremony.ceremony_id, device.make(ceremony.options), "", HOME)


def test_passkeys_are_added_and_removed_but_never_the_last_nor_anothers(world: AccessWorld) -> None:
    device, second = Authenticator(ORIGIN, RP), Authenticator(ORIGIN, RP)
    joined = join(world, "wang.li", device)
    here, desk = sign_in(world, device), world.access.desk
    with pytest.raises(FormInvalid, match="only means"):
        desk.remove_passkey(here, device.credential_id)
    ceremony = world.access.passkeys.begin_registration(here.person)
    excluded = [each["id"] for each in ceremony.options["excludeCredentials"]]
    assert len(excluded) == 1
    desk.add_passkey(here, ceremony.ceremony_id, second.make(ceremony.options), "phone")
    stranger = join(world, "li.na", Authenticator(ORIGIN, RP))
    with pytest.raises(FormInvalid):
        desk.remove_passkey(stranger, device.credential_id)
    desk.remove_passkey(here, device.credential_id)
    with pytest.raises(SignInRefused):
        sign_in(world, device)
    assert sign_in(world, second).person == joined.person
