"""People and their sessions: one-time links, second factors that count once, sessions that end, pauses that grow."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, update

from models.web.errors import (
    AccessStateError,
    FormInvalid,
    LinkSpent,
    PersonKnown,
    PersonUnknown,
    SignInRefused,
    TooManyAttempts,
)
from models.web.looks import Look
from models.web.passwords import password_fits, totp_step
from models.web.rights import Right, Role
from models.web.signin import Browser
from models.web.site import PageSite, local_path
from models.web.throttle import Throttle
from models.web.vault import open_vault
from tests.access_world import PASSWORD, START, AccessWorld

HOME = Browser("10.0.0.1")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AccessWorld]:
    world = AccessWorld(tmp_path)
    yield world
    world.close()


def refused(world: AccessWorld, name: str, password: str, code: str, browser: Browser = HOME) -> str:
    with pytest.raises(SignInRefused) as caught:
        world.access.desk.by_password(name, password, code, browser)
    return caught.value.message


def test_sign_up_and_in_with_password_and_code(world: AccessWorld) -> None:
    secret, codes = world.join("wang.li", Role.RISK_OFFICER, Role.OWNER)
    assert len(set(codes)) == 10
    entry = world.enter("wang.li", secret)
    found = world.access.sessions.find(entry.session_id)
    assert found is not None
    assert (found.person.name, found.means, found.fresh) == ("wang.li", "password", True)
    assert found.person.may(Right.ASK_SCORES)
    assert not found.person.may(Right.APPROVE)
    assert [each.person.name for each in world.access.people.all()] == ["wang.li"]


def test_a_link_is_used_once_and_for_a_day(world: AccessWorld) -> None:
    token = world.access.people.add("a.b", [Role.OWNER])
    secret = world.access.people.sign_up(token).totp_secret
    with pytest.raises(FormInvalid, match="code"):
        world.access.desk.join_by_password(token, PASSWORD, PASSWORD, "000000", HOME)
    world.access.desk.join_by_password(token, PASSWORD, PASSWORD, world.code(secret), HOME)
    late = world.access.people.add("c.d", [Role.OWNER])
    world.later(hours=24)
    refusals = []
    for spent in (token, late, "never"):
        with pytest.raises(LinkSpent) as caught:
            world.access.desk.open_link(spent, HOME)
        refusals.append((caught.value.message, caught.value.remedy))
    assert len(set(refusals)) == 1
    assert b"never" not in world.path.read_bytes()
    assert token.encode() not in world.path.read_bytes()


def test_two_who_open_the_same_link_do_not_both_get_in(world: AccessWorld) -> None:
    token = world.access.people.add("a.b", [Role.OWNER])
    link = world.access.people.sign_up(token)
    with world.storage.session() as session:
        world.access.people.spend(session, link)
    with pytest.raises(LinkSpent), world.storage.session() as session:
        world.access.people.spend(session, link)


def test_names_and_roles_are_checked(world: AccessWorld) -> None:
    world.access.people.add("王丽", [Role.OWNER])
    with pytest.raises(PersonKnown):
        world.access.people.add("王丽", [Role.OWNER])
    for name, roles in (("a b", [Role.OWNER]), ("<b>", [Role.OWNER]), ("x.y", [Role.REGULATOR]), ("x.y", [])):
        with pytest.raises(FormInvalid):
            world.access.people.add(name, roles)
    with pytest.raises(PersonUnknown):
        world.access.people.reset("nobody")


@pytest.mark.parametrize("password", ["short", "x" * 257, "abababababab", "my wang.li password"])
def test_poor_passwords_are_refused(world: AccessWorld, password: str) -> None:
    token = world.access.people.add("wang.li", [Role.OWNER])
    secret = world.access.people.sign_up(token).totp_secret
    with pytest.raises(FormInvalid):
        world.access.desk.join_by_password(token, password, password, world.code(secret), HOME)


def test_a_code_counts_once_and_so_does_an_older_one(world: AccessWorld) -> None:
    secret, _ = world.join("wang.li")
    code, before = world.code(secret), world.code(secret, steps=-1)
    world.access.desk.by_password("wang.li", PASSWORD, code, HOME)
    refused(world, "wang.li", PASSWORD, code)
    refused(world, "wang.li", PASSWORD, before)
    world.later(seconds=30)
    world.access.desk.by_password("wang.li", PASSWORD, world.code(secret), HOME)


def test_of_many_who_send_one_code_at_once_one_gets_in(world: AccessWorld) -> None:
    secret, codes = world.join("wang.li")
    for code in (world.code(secret), codes[0]):
        gate = threading.Barrier(4)

        def enter(address: int, code: str = code, gate: threading.Barrier = gate) -> bool:
            gate.wait()
            try:
                world.access.desk.by_password("wang.li", PASSWORD, code, Browser(f"10.0.1.{address}"))
            except SignInRefused:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(enter, range(4))) == 1


def test_the_code_of_sign_up_does_not_sign_in(world: AccessWorld) -> None:
    token = world.access.people.add("wang.li", [Role.OWNER])
    secret = world.access.people.sign_up(token).totp_secret
    world.access.desk.join_by_password(token, PASSWORD, PASSWORD, world.code(secret), HOME)
    refused(world, "wang.li", PASSWORD, world.code(secret))


def test_a_wrong_password_uses_up_no_code(world: AccessWorld) -> None:
    secret, codes = world.join("wang.li")
    code = world.code(secret)
    refused(world, "wang.li", "another password", code)
    refused(world, "wang.li", "another password", codes[0])
    world.access.desk.by_password("wang.li", PASSWORD, code, HOME)
    world.access.desk.by_password("wang.li", PASSWORD, codes[0].upper().replace("-", " "), HOME)
    refused(world, "wang.li", PASSWORD, codes[0])


def test_refusals_are_alike_and_an_unknown_name_is_verified_against_a_hash_too(
    world: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = world.join("wang.li")
    world.access.people.add("not.yet", [Role.OWNER])
    verified: list[str | None] = []

    def counting(stored: str | None, password: str) -> bool:
        verified.append(stored)
        return password_fits(stored, password)

    monkeypatch.setattr("models.web.signin.password_fits", counting)
    said = {
        refused(world, "nobody", PASSWORD, world.code(secret)),
        refused(world, "not.yet", PASSWORD, world.code(secret)),
        refused(world, "wang.li", "not the password", world.code(secret)),
        refused(world, "wang.li", PASSWORD, "123456"),
    }
    assert len(said) == 1
    assert verified[:2] == [None, None]
    assert len(verified) == 4


def test_verifying_nobody_does_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.web import passwords

    calls: list[str] = []

    class Counting:
        def verify(self, stored: str, password: str) -> bool:
            calls.append(stored)
            return True

    monkeypatch.setattr(passwords, "_HASHER", Counting())
    assert not passwords.password_fits(None, "x")
    assert passwords.password_fits("stored", "x")
    assert [each.startswith("$argon2id$") for each in calls] == [True, False]


def test_every_sign_in_has_a_new_id_and_ends_the_one_before(world: AccessWorld) -> None:
    secret, _ = world.join("wang.li")
    planted = "an-id-that-an-attacker-chose"
    first = world.enter("wang.li", secret, browser=Browser("10.0.0.1", planted))
    assert first.session_id != planted
    assert world.access.sessions.find(planted) is None
    second = world.enter("wang.li", secret, browser=Browser("10.0.0.1", first.session_id))
    assert second.session_id != first.session_id
    assert world.access.sessions.find(first.session_id) is None
    assert second.session_id.encode() not in world.path.read_bytes()


def test_sessions_end_when_idle_after_twelve_hours_and_on_demand(world: AccessWorld) -> None:
    secret, _ = world.join("wang.li")
    sessions = world.access.sessions
    idle = world.enter("wang.li", secret).session_id
    world.later(minutes=30)
    assert sessions.find(idle) is not None
    world.later(minutes=30, seconds=1)
    assert sessions.find(idle) is None
    busy = world.enter("wang.li", secret).session_id
    for _ in range(36):
        world.later(minutes=20)
        found = sessions.find(busy)
        assert found is not None
        assert not found.fresh
    world.later(seconds=1)
    assert sessions.find(busy) is None
    here, there = world.enter("wang.li", secret), world.enter("wang.li", secret)
    assert sessions.count(here.person.person_id) == 2
    sessions.end(here.session_id)
    assert sessions.find(here.session_id) is None
    assert sessions.find(there.session_id) is not None
    sessions.end_all(there.person.person_id)
    assert sessions.find(there.session_id) is None


def test_fresh_lasts_five_minutes(world: AccessWorld) -> None:
    secret, _ = world.join("wang.li")
    entry = world.enter("wang.li", secret)
    world.later(minutes=5)
    found = world.access.sessions.find(entry.session_id)
    assert found is not None
    assert found.fresh
    world.later(seconds=1)
    found = world.access.sessions.find(entry.session_id)
    assert found is not None
    assert not found.fresh


def test_reset_and_removal_end_everything_at_once(world: AccessWorld) -> None:
    secret, codes = world.join("wang.li")
    entry = world.enter("wang.li", secret)
    token = world.access.people.reset("wang.li")
    assert world.access.sessions.find(entry.session_id) is None
    world.later(seconds=60)
    refused(world, "wang.li", PASSWORD, world.code(secret))
    refused(world, "wang.li", PASSWORD, codes[0])
    assert world.access.people.sign_up(token).totp_secret != secret
    world.access.people.remove("wang.li")
    with pytest.raises(LinkSpent):
        world.access.people.sign_up(token)
    assert world.access.people.all() == []


def test_a_new_password_ends_other_sessions_and_makes_new_recovery_codes(world: AccessWorld) -> None:
    secret, codes = world.join("wang.li")
    here, there = world.enter("wang.li", secret), world.enter("wang.li", secret)
    signed_in = world.access.sessions.find(here.session_id)
    assert signed_in is not None
    with pytest.raises(FormInvalid, match="differ"):
        world.access.desk.change_password(signed_in, "one long password", "other long password")
    fresh = world.access.desk.change_password(signed_in, "quite another one", "quite another one")
    assert set(fresh).isdisjoint(codes)
    assert world.access.sessions.find(here.session_id) is not None
    assert world.access.sessions.find(there.session_id) is None
    refused(world, "wang.li", "quite another one", codes[0])
    world.access.desk.by_password("wang.li", "quite another one", fresh[0], HOME)


def test_failures_pause_longer_and_longer_but_never_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle, clock = Throttle(), [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])

    def pause() -> float:
        """How long until the next attempt is taken; then it is."""
        began = clock[0]
        while True:
            try:
                throttle.attempt("wang.li", "10.0.0.9", None)
            except TooManyAttempts as error:
                clock[0] += error.retry_after
                continue
            return clock[0] - began

    pauses = [pause() for _ in range(21)]
    assert pauses[:5] == [0.0] * 5
    assert 50 < pauses[5] <= 61
    assert 400 < pauses[10] <= 601
    assert 2000 < pauses[20] <= 3601


def test_strangers_cannot_lock_out_who_signed_in_from_a_browser_before(world: AccessWorld) -> None:
    secret, _ = world.join("wang.li")
    known = world.enter("wang.li", secret).device
    for number in range(40):
        try:
            world.access.desk.by_password("wang.li", "guess", "000000", Browser(f"203.0.113.{number}"))
        except (SignInRefused, TooManyAttempts):
            continue
    with pytest.raises(TooManyAttempts):
        world.enter("wang.li", secret, browser=Browser("198.51.100.1"))
    assert world.enter("wang.li", secret, browser=Browser("198.51.100.1", device=known)).person.name == "wang.li"
    # A stranger who makes up a device, or has that of another account, gains nothing.
    other, _ = world.join("li.na")
    foreign = world.enter("li.na", other).device
    for device in (foreign, "0" * 32 + "." + "0" * 64, "x"):
        with pytest.raises(TooManyAttempts):
            world.enter("wang.li", secret, browser=Browser("198.51.100.1", device=device))


def test_many_attempts_at_one_time_are_no_way_around(world: AccessWorld) -> None:
    throttle = Throttle()
    for _ in range(5):
        throttle.attempt("wang.li", "10.0.0.1", None)  # none has ended yet
    with pytest.raises(TooManyAttempts):
        throttle.attempt("wang.li", "10.0.0.1", None)
    throttle.succeeded("wang.li", "10.0.0.1", None)
    throttle.attempt("wang.li", "10.0.0.1", None)


def test_one_ipv6_client_counts_as_one(world: AccessWorld) -> None:
    throttle = Throttle()
    for number in range(30):
        throttle.request(f"2001:db8:1:2::{number:x}")
    with pytest.raises(TooManyAttempts):
        throttle.request("2001:db8:1:2:ffff::1")
    throttle.request("2001:db8:1:3::1")


def test_totp_drifts_by_one_step_at_most(world: AccessWorld) -> None:
    secret, _ = world.join("wang.li")
    current = int(world.now.timestamp()) // 30
    steps = [totp_step(secret, world.code(secret, steps=n), now=world.now, after=None) for n in (-2, -1, 0, 1, 2)]
    assert steps == [None, current - 1, current, current + 1, None]
    assert totp_step(secret, "12345", now=world.now, after=None) is None


def test_the_key_file_is_private_whole_and_the_right_one(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pages.key"
    vault = open_vault(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["pages.key"]
    sealed = vault.seal(b"secret", "me")
    assert open_vault(path).open(sealed, "me") == b"secret"
    for other, owner in ((vault, "you"), (open_vault(tmp_path / "other.key"), "me")):
        with pytest.raises(AccessStateError, match="does not open"):
            other.open(sealed, owner)
    with pytest.raises(AccessStateError):
        vault.open(b"short", "me")
    path.chmod(0o640)
    with pytest.raises(AccessStateError, match="read by others"):
        open_vault(path)
    path.chmod(0o600)
    path.write_bytes(b"half")
    with pytest.raises(AccessStateError, match="32 bytes"):
        open_vault(path)


def test_secrets_are_not_in_the_database(world: AccessWorld) -> None:
    secret, codes = world.join("wang.li")
    raw = world.path.read_bytes()
    for plain in (secret, PASSWORD, codes[0], codes[0].replace("-", "")):
        assert plain.encode() not in raw


@pytest.mark.parametrize(
    "origin", ["https://hub.example.org/", "http://hub.example.org", "ftp://x", "https://", "https://HUB", "//x", "*"]
)
def test_origins_are_checked(origin: str) -> None:
    with pytest.raises(ValueError, match=r"must be an origin|needs TLS"):
        PageSite(origin)


def test_cookies_are_bound_to_the_host_where_there_is_tls() -> None:
    assert PageSite("https://hub.example.org:8443").cookie("digua") == "__Host-digua"
    local = PageSite("http://127.0.0.1:8440")
    assert (local.cookie("digua"), local.passkeys) == ("digua", False)
    assert PageSite("http://localhost:8440").passkeys


@pytest.mark.parametrize(
    "given",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=y",
        "/signout",
        "/signin?next=/signin",
        "http:evil.example",
        "/" + "a" * 2000,
        "",
        None,
    ],
)
def test_no_next_leads_elsewhere(given: str | None) -> None:
    assert local_path(given) == "/"


def test_a_next_of_this_site_is_kept() -> None:
    assert local_path("/bank/ledger?sort=at&dir=asc") == "/bank/ledger?sort=at&dir=asc"


def test_looks_are_a_chain_that_names_no_merchant(tmp_path: Path) -> None:
    anchored: list[Look] = []
    world = AccessWorld(tmp_path, anchor=lambda _session, look: anchored.append(look))
    world.join("wang.li")
    person = world.access.people.all()[0].person
    for what, subject in (("score", "91330000123456789X"), ("consents", b"\x01" * 32), ("score", "another")):
        world.later(seconds=1)
        world.access.looks.record(person, what, subject)
    looks = world.access.looks
    assert looks.verify() == (3, anchored[-1].hash)
    assert [each.seq for each in looks.newest()] == [3, 2, 1]
    assert [each.what for each in looks.at("91330000123456789X")] == ["score"]
    assert [each.seq for each in looks.newest(before=3, limit=1)] == [2]
    assert b"91330000123456789X" not in world.path.read_bytes()
    assert anchored[0].at.timestamp() > START.timestamp()
    table = world.tables.looks
    for change in ({"what": "nothing"}, {"person_id": "0" * 32}, {"name": "li.na"}, {"looked_at": 1}, {"seq": 9}):
        with world.storage.session() as session:
            before = session.execute(select(table).where(table.c.seq == 2)).one()
            session.execute(update(table).where(table.c.seq == 2).values(**change))
        with pytest.raises(AccessStateError, match=r"entry [23]"):
            looks.verify()
        with world.storage.session() as session:
            seq = change.get("seq", 2)
            session.execute(update(table).where(table.c.seq == seq).values(**{k: getattr(before, k) for k in change}))
    assert looks.verify()[0] == 3
    world.close()
