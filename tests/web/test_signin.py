"""Signing up, in and out in a browser: by passkey (Chromium's virtual authenticator), and by password and code."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyotp
import pytest
import uvicorn
from playwright.sync_api import CDPSession, Page, expect

from hub.app import create_app
from hub.embedded_worker import EmbeddedWorker
from models.web.access import Access
from models.web.rights import Role
from tests.databases import make_hub
from tests.served_world import free_port, wait_until
from tests.web.harness import LANGUAGES, SHOTS, WIDTHS, Reader, axe, fits, shots
from tests.web.people import PASSWORD, signed_up


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A hub's accounts, its pages served where its configuration says."""
    hub = make_hub(tmp_path_factory.mktemp("signin") / "hub", hub_id="hub-lishui", port=free_port())
    hub.parts = [part for part in hub.parts if not isinstance(part, EmbeddedWorker)]
    app = create_app(hub)
    server = uvicorn.Server(
        uvicorn.Config(app, port=hub.config.listen.port, log_config=None, lifespan="on", ws="websockets-sansio")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="the hub's start")
    yield app.state.access
    server.should_exit = True
    thread.join(30)
    hub.close()


def device(page: Page) -> tuple[CDPSession, str]:
    """Give a browser an authenticator, whose user is verified and present at once."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return session, str(made["authenticatorId"])


def sign_out(page: Page) -> None:
    page.locator("form[action='/signout'] button").click()
    expect(page).to_have_url(re.compile("/signin$"))


def test_a_passkey_signs_up_and_in(access: Access, reader_of: Callable[[str], Reader]) -> None:
    reader = reader_of(access.site.origin)
    token = access.people.add("wang.li", [Role.OPERATOR])
    page = reader.open(f"/signup/{token}", language="zh", width=390)
    session, authenticator = device(page)
    shots(page, "account/signup")
    page.get_by_label("设备名称").fill("办公笔记本")
    page.get_by_role("button", name="创建通行密钥").click()
    expect(page).to_have_url(re.compile("/operator"))
    assert len(session.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]) == 1
    page.goto(access.site.origin + "/account")
    expect(page.get_by_role("rowheader", name="办公笔记本")).to_be_visible()
    shots(page, "account/account")
    sign_out(page)
    shots(page, "account/signin")
    page.goto(access.site.origin + "/account")  # leads to the sign-in, and back
    page.get_by_role("button", name="用通行密钥登录").click()
    expect(page).to_have_url(access.site.origin + "/account")
    [person] = [each for each in access.people.all() if each.person.name == "wang.li"]
    assert (person.passkeys, person.password) == (1, False)
    assert access.passkeys.of(person.person.person_id)[0].used_at is not None
    again = reader.open(f"/signup/{token}", language="zh")
    expect(again.get_by_role("heading", level=1)).to_have_text("链接已失效")


def test_a_passkey_that_the_site_does_not_know_is_refused_in_words(
    access: Access, reader_of: Callable[[str], Reader]
) -> None:
    page = reader_of(access.site.origin).open(f"/signup/{access.people.add('li.na', [Role.OPERATOR])}", language="en")
    session, authenticator = device(page)
    page.get_by_role("button", name="Make a passkey").click()
    expect(page).to_have_url(re.compile("/operator"))
    sign_out(page)
    access.people.reset("li.na")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("alert")).to_have_text("Sign-in refused")
    session.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.locator("[data-said=cancelled]")).to_be_visible()
    axe(page)


def test_one_more_passkey_is_added_and_removed(access: Access, reader_of: Callable[[str], Reader]) -> None:
    page = signed_up(reader_of(access.site.origin), access, "zhao.min", Role.OPERATOR)
    device(page)
    page.goto(access.site.origin + "/account")
    page.get_by_label("A word for this device").fill("phone")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("rowheader", name="phone")).to_be_visible()
    page.get_by_role("button", name="Remove passkey phone").click()
    expect(page.get_by_text("You have no passkey.")).to_be_visible()


@pytest.mark.parametrize("language", LANGUAGES)
def test_recovery_codes_are_shown_once_and_sign_in(
    access: Access, reader_of: Callable[[str], Reader], language: str
) -> None:
    reader, name = reader_of(access.site.origin), f"sun.{language}"
    page = signed_up(reader, access, name, Role.OPERATOR, language=language)
    codes = page.locator(".codes code").all_text_contents()
    assert len(codes) == 10
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        fits(page)
        axe(page)
        page.screenshot(path=SHOTS / f"account/recovery-{language}-{width}.png", full_page=True)
    page.locator("a.button.primary").click()
    sign_out(page)
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=code]").fill(codes[3])
    page.locator("form[action='/signin'] button").click()
    expect(page).to_have_url(re.compile("/operator"))


def test_signing_in_works_without_scripts_and_says_what_is_wrong(
    access: Access, reader_of: Callable[[str], Reader]
) -> None:
    token = access.people.add("qian.wei", [Role.OPERATOR])
    secret = access.people.sign_up(token).totp_secret
    page = reader_of(access.site.origin).open(f"/signup/{token}", language="en", scripts=False)
    expect(page.get_by_role("button", name="Make a passkey")).to_be_hidden()
    page.get_by_label("The six digits that the app shows now").fill("000000")
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_role("button", name="Set up and sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not the code that the app shows now.")
    page.get_by_label("The six digits that the app shows now").fill(pyotp.TOTP(secret).at(datetime.now(UTC)))
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("The same password again").fill(PASSWORD)
    page.get_by_role("button", name="Set up and sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    page.get_by_role("link", name="I have kept them").click()
    sign_out(page)
    page.get_by_label("Sign-in name").fill("qian.wei")
    page.get_by_label("Password").fill("not the password")
    page.get_by_label("One-time code").fill("123456")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("This does not sign you in.")
    page.screenshot(path=SHOTS / "account/refused-en-1280.png", full_page=True)


def test_the_access_record_is_shown(access: Access, reader_of: Callable[[str], Reader], tmp_path: Path) -> None:
    page = signed_up(reader_of(access.site.origin), access, "zhou.jie", Role.OPERATOR, language="zh")
    page.goto(access.site.origin + "/access-record")
    expect(page.get_by_text("尚无人查阅个人信息。")).to_be_visible()
    person = next(each.person for each in access.people.all() if each.person.name == "zhou.jie")
    for what in ("ticket", "consents"):
        access.looks.record(person, what, "91330000123456789X")
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(2)
    assert "91330000123456789X" not in page.content()
    shots(page, "account/record")
