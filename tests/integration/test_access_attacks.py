"""Attacks on the people's side of the pages over HTTP: the hub's application, asked by browsers and by others."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from ipaddress import ip_network

import pyotp
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from hub.app import create_app
from models.web.access import Access
from models.web.headers import FORM_BYTES, proxy_options
from models.web.rights import Role
from models.web.signin import Browser
from tests.authenticator import Authenticator, b64
from tests.hub_world import HubWorld

ORIGIN, HOST = "https://hub.example.org", "hub.example.org"
PASSWORD = "four words in a row"
OWN = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
SESSION = "__Host-digua"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path_factory.mktemp("hub"))
    pages = world.hub.config.pages.model_copy(update={"origin": ORIGIN})
    world.hub.config = world.hub.config.model_copy(update={"pages": pages})
    yield world
    world.hub.close()


@pytest.fixture
def app(world: HubWorld) -> Iterator[FastAPI]:
    """Made anew for each test, as attempts are counted in memory; without anybody at first."""
    app = create_app(world.hub)
    world.now += timedelta(minutes=5)
    yield app
    people = app.state.access.people
    for each in people.all():
        people.remove(each.person.name)


@pytest.fixture
def access(app: FastAPI) -> Access:
    found: Access = app.state.access
    return found


def browser(app: FastAPI, address: str = "203.0.113.7", *, accept: str = "text/html") -> TestClient:
    return TestClient(
        app,
        base_url=ORIGIN,
        headers={"Accept": accept},
        follow_redirects=False,
        raise_server_exceptions=False,
        client=(address, 50000),
    )


def token_in(response: Response) -> str:
    found = re.search(r'(?:name="csrf_token" value|data-csrf)="([0-9a-f]{64})"', response.text)
    assert found is not None, response.text[:500]
    return found[1]


class Someone:
    """A person with a browser, who signed up with password and authenticator app."""

    def __init__(self, app: FastAPI, world: HubWorld, name: str) -> None:
        self.app, self.world, self.name = app, world, name
        access: Access = app.state.access
        link = access.sign_up_link(access.people.add(name, [Role.OPERATOR]))
        self.client = browser(app)
        page = self.client.get(link)
        found = re.search(r"<code>([A-Z2-7 ]{32,})</code>", page.text)
        assert found is not None
        self.totp = pyotp.TOTP(found[1].replace(" ", ""))
        sent = {"csrf_token": token_in(page), "password": PASSWORD, "repeated": PASSWORD, "code": self.code()}
        done = self.client.post(link, data=sent, headers=OWN)
        assert done.status_code == 200, done.text
        self.session = self.client.cookies[SESSION]

    def code(self) -> str:
        return self.totp.at(self.world.now)

    def sign_in(self, client: TestClient, **sent: str) -> Response:
        self.world.now += timedelta(seconds=60)
        data = {"name": self.name, "password": PASSWORD, "code": self.code(), **sent}
        return client.post("/signin", data={"csrf_token": token_in(client.get("/signin?again=1")), **data}, headers=OWN)


@pytest.fixture
def wang(app: FastAPI, world: HubWorld) -> Someone:
    return Someone(app, world, "wang.li")


def code_of(response: Response) -> str:
    """The code of a refusal, from problem details or from the page that shows them."""
    if response.headers["content-type"].startswith("application/problem+json"):
        return str(json.loads(response.content)["code"])
    found = re.search(r"<code>([a-z]+(?:-[a-z]+)+)</code>", response.text)
    return found[1] if found else ""


# Cookies and headers


def test_cookies_are_closed_to_scripts_other_sites_and_plain_text(app: FastAPI, wang: Someone) -> None:
    stranger = browser(app)
    responses = [stranger.get("/signin"), wang.sign_in(stranger), wang.client.get("/account?lang=en")]
    seen: set[str] = set()
    for response in responses:
        for header in response.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(header).items():
                if name == "digua_lang":
                    continue
                seen.add(name)
                assert name.startswith("__Host-"), header
                assert (morsel["path"], morsel["domain"]) == ("/", ""), header
                assert (bool(morsel["secure"]), bool(morsel["httponly"])) == (True, True), header
                assert morsel["samesite"].lower() == "strict", header
    assert seen == {"__Host-digua", "__Host-digua-form", "__Host-digua-device"}


@pytest.mark.parametrize(
    "path", ["/signin", "/", "/account", "/nowhere", "/merchant", "/v1/health", "/static/web/digua.css"]
)
def test_every_answer_is_closed_by_its_headers(app: FastAPI, path: str) -> None:
    headers = browser(app).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["strict-transport-security"].startswith("max-age=31536000")
    if not path.startswith(("/v1", "/static")):
        assert headers["cache-control"] == "no-store"


def test_what_fails_unforeseen_is_closed_too_and_tells_nothing(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(app.state.access, "signed_in", broken)
    response = browser(app).get("/signin")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


# Sessions


def test_no_session_is_fixed_by_who_plants_a_cookie(app: FastAPI, wang: Someone) -> None:
    victim = browser(app)
    planted = "planted-by-an-attacker-who-knows-it-0000000"
    victim.cookies.set(SESSION, planted, domain=HOST)
    assert wang.sign_in(victim).status_code == 303
    fresh = {cookie.value for cookie in victim.cookies.jar if cookie.name == SESSION}
    assert planted not in {value for value in fresh if app.state.access.sessions.find(str(value)) is not None}
    attacker = browser(app)
    attacker.cookies.set(SESSION, planted)
    assert attacker.get("/account").status_code == 303


def test_signing_in_again_changes_the_id_and_ends_the_former_session(app: FastAPI, wang: Someone) -> None:
    former = wang.session
    assert wang.sign_in(wang.client).status_code == 303
    assert wang.client.cookies[SESSION] != former
    stolen = browser(app)
    stolen.cookies.set(SESSION, former)
    assert stolen.get("/account").headers["location"].startswith("/signin")


def test_signing_out_ends_the_session_itself(app: FastAPI, wang: Someone) -> None:
    token = token_in(wang.client.get("/account"))
    assert wang.client.post("/signout", data={"csrf_token": token}, headers=OWN).status_code == 303
    stolen = browser(app)
    stolen.cookies.set(SESSION, wang.session)
    assert stolen.get("/account").status_code == 303


def test_signing_out_everywhere_ends_all_sessions(app: FastAPI, wang: Someone) -> None:
    other = browser(app)
    assert wang.sign_in(other).status_code == 303
    token = token_in(other.get("/account"))
    assert other.post("/account/signout-everywhere", data={"csrf_token": token}, headers=OWN).status_code == 303
    assert wang.client.get("/account").status_code == 303


# Forged requests


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.hub.example.org", "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://hub.example.org.evil.example"},
        {"Origin": "http://hub.example.org"},
        {"Origin": "https://hub.example.org:8443"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {},
    ],
    ids=str,
)
def test_a_form_from_elsewhere_counts_for_nothing_even_with_the_token(wang: Someone, headers: dict[str, str]) -> None:
    token = token_in(wang.client.get("/account"))
    response = wang.client.post("/account/signout-everywhere", data={"csrf_token": token}, headers=headers)
    assert (response.status_code, code_of(response)) == (403, "form-foreign")
    assert wang.client.get("/account").status_code == 200


@pytest.mark.parametrize("headers", [OWN, {"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
def test_a_form_of_ours_counts_in_browsers_old_and_new(wang: Someone, headers: dict[str, str]) -> None:
    token = token_in(wang.client.get("/account"))
    response = wang.client.post("/account/signout-everywhere", data={"csrf_token": token}, headers=headers)
    assert response.status_code == 303


def test_a_form_without_the_sessions_own_token_counts_for_nothing(app: FastAPI, world: HubWorld, wang: Someone) -> None:
    other = Someone(app, world, "li.na")
    foreign = token_in(other.client.get("/account"))
    before = token_in(browser(app).get("/signin"))
    for sent in ({}, {"csrf_token": ""}, {"csrf_token": foreign}, {"csrf_token": before}, {"csrf_token": "0" * 64}):
        response = wang.client.post("/account/signout-everywhere", data=sent, headers=OWN)
        assert (response.status_code, code_of(response)) == (403, "form-foreign"), sent
    as_file = wang.client.post("/account/signout-everywhere", files={"csrf_token": io.BytesIO(b"x")}, headers=OWN)
    assert code_of(as_file) == "form-foreign"
    in_query = wang.client.post(f"/account/signout-everywhere?csrf_token={foreign}", headers=OWN)
    assert code_of(in_query) == "form-foreign"
    assert wang.client.get("/account").status_code == 200


def test_signing_in_needs_the_browsers_own_form(app: FastAPI, wang: Someone) -> None:
    """Else an attacker could sign a victim in to the attacker's account."""
    attacker = token_in(browser(app).get("/signin"))
    victim = browser(app)
    victim.get("/signin")
    data = {"name": wang.name, "password": PASSWORD, "code": wang.code(), "csrf_token": attacker}
    assert code_of(victim.post("/signin", data=data, headers=OWN)) == "form-foreign"
    assert code_of(browser(app).post("/signin", data=data, headers=OWN)) == "form-foreign"


def test_nothing_is_changed_by_get(wang: Someone) -> None:
    for path in ("/signout", "/account/signout-everywhere", "/account/password", "/account/passkeys/remove"):
        assert wang.client.get(path).status_code == 405, path
    assert wang.client.get("/account").status_code == 200


# Codes, names and pauses


def test_a_code_is_not_replayed(app: FastAPI, world: HubWorld, wang: Someone) -> None:
    world.now += timedelta(seconds=60)
    seen = wang.code()
    data = {"name": wang.name, "password": PASSWORD, "code": seen}
    first, second = browser(app), browser(app, "198.51.100.9")
    for client, status in ((first, 303), (second, 401)):
        sent = {"csrf_token": token_in(client.get("/signin")), **data}
        assert client.post("/signin", data=sent, headers=OWN).status_code == status


def test_refusals_do_not_tell_whether_a_name_is_known(app: FastAPI, wang: Someone) -> None:
    texts = set()
    for name, password in (("wang.li", "wrong password"), ("nobody.at.all", "wrong password"), ("nobody", PASSWORD)):
        client = browser(app, f"198.51.100.{len(name)}")
        response = wang.sign_in(client, name=name, password=password)
        assert response.status_code == 401
        text = re.sub(r'value="[^"]*"', "", response.text)
        texts.add(re.sub(r'data-csrf="[^"]*"', "", text))
    assert len(texts) == 1


def test_strangers_hold_up_neither_the_person_nor_for_long(app: FastAPI, wang: Someone) -> None:
    statuses = []
    for number in range(35):
        stranger = browser(app, f"198.51.100.{number}")
        statuses.append(wang.sign_in(stranger, password="guess").status_code)
    assert statuses[:30] == [401] * 30
    assert statuses[30:] == [429] * 5
    held = wang.sign_in(browser(app, "198.51.100.99"), password="guess")
    assert 0 < int(held.headers["retry-after"]) <= 600
    assert wang.sign_in(wang.client).status_code == 303  # in the browser that they signed in from before


def test_one_address_is_slowed_down(app: FastAPI, wang: Someone) -> None:
    client = browser(app, "198.51.100.7")
    statuses = [wang.sign_in(client, password="guess").status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2


# Who may see what


def test_one_person_does_nothing_to_anothers_account(app: FastAPI, world: HubWorld, wang: Someone) -> None:
    access: Access = app.state.access
    device = Authenticator(ORIGIN, HOST)
    token = access.people.add("li.na", [Role.OPERATOR])
    home = Browser("10.0.0.1")
    ceremony = access.desk.begin_joining(token, home)
    access.desk.join_by_passkey(token, ceremony.ceremony_id, device.make(ceremony.options), "hers", home)
    page = wang.client.get("/account")
    assert "hers" not in page.text
    handle = b64(device.credential_id)
    sent = {"csrf_token": token_in(page), "passkey": handle}
    response = wang.client.post("/account/passkeys/remove", data=sent, headers=OWN)
    assert (response.status_code, code_of(response)) == (422, "form-invalid")
    [hers] = [each for each in access.people.all() if each.person.name == "li.na"]
    assert hers.passkeys == 1


def test_acts_on_the_account_ask_again_after_five_minutes(wang: Someone, world: HubWorld) -> None:
    token = token_in(wang.client.get("/account"))
    world.now += timedelta(minutes=6)
    sent = {"csrf_token": token, "password": "another long one", "repeated": "another long one"}
    response = wang.client.post("/account/password", data=sent, headers=OWN)
    assert (response.status_code, code_of(response)) == (401, "sign-in-needed")
    assert wang.sign_in(wang.client).status_code == 303


# Where requests go, and what they weigh


@pytest.mark.parametrize(
    "given",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "///evil.example",
        "/%0d%0aSet-Cookie:injected=1",
        "javascript:alert(1)",
        "/\t/evil.example",
        "\\evil.example",
    ],
)
def test_signing_in_leads_nowhere_else(app: FastAPI, wang: Someone, given: str) -> None:
    client = browser(app)
    response = wang.sign_in(client, next=given)
    assert response.status_code == 303
    assert re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", response.headers["location"])
    assert "evil" not in response.headers["location"].partition("%")[0]
    already = client.get("/signin", params={"next": given})
    assert (already.status_code, "evil.example" in already.headers["location"]) == (303, False)
    assert "injected=1" not in response.headers.get("set-cookie", "")


def test_a_page_that_needs_a_sign_in_leads_back_to_itself(app: FastAPI, wang: Someone) -> None:
    client = browser(app)
    sent_away = client.get("/account?a=1")
    assert sent_away.headers["location"] == "/signin?next=/account%3Fa%3D1"
    page = client.get(sent_away.headers["location"])
    assert 'name="next" value="/account?a=1"' in page.text


@pytest.mark.parametrize(
    "host", ["evil.example", "hub.example.org:8443", "hub.example.org.evil.example", "", "localhost"]
)
def test_pages_answer_to_their_own_name_alone(app: FastAPI, host: str) -> None:
    response = browser(app).get("/signin", headers={"Host": host})
    assert response.status_code == 421
    assert "set-cookie" not in response.headers
    assert "evil" not in response.text


def test_forwarded_headers_of_strangers_are_not_believed(app: FastAPI, wang: Someone) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example"}
    page = browser(app).get("/signin", headers=headers)
    assert "evil" not in page.text + str(page.headers)
    assert "Secure" in page.headers["set-cookie"]
    client, statuses = browser(app, "198.51.100.7"), []
    for number in range(6):  # another address each time, as it says itself
        client.headers["X-Forwarded-For"] = f"192.0.2.{number}"
        statuses.append(wang.sign_in(client, password="guess").status_code)
    assert statuses[-1] == 429


def test_uvicorn_believes_the_proxies_named_and_no_others(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    seen: list[object] = []

    async def tell(scope: dict[str, object], _receive: object, send: object) -> None:
        seen.append((scope["client"], scope["scheme"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    def asked_by(address: str, proxies: tuple[str, ...]) -> object:
        options = proxy_options([ip_network(each) for each in proxies])
        config = uvicorn.Config(tell, log_config=None, lifespan="off", **options)  # type: ignore[arg-type]
        config.load()
        client = TestClient(config.loaded_app, client=(address, 1))
        client.get("/", headers={"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https"})
        return seen.pop()

    assert asked_by("10.0.0.5", ()) == (("10.0.0.5", 1), "http")
    assert asked_by("10.0.0.5", ("10.0.0.0/24",)) == (("192.0.2.66", 0), "https")
    assert asked_by("10.0.1.5", ("10.0.0.0/24",)) == (("10.0.1.5", 1), "http")
    assert not world.hub.config.listen.believed


def test_large_forms_are_refused_before_they_are_read(app: FastAPI, wang: Someone) -> None:
    client = browser(app)
    token = token_in(client.get("/signin"))
    big = {"csrf_token": token, "name": "a" * FORM_BYTES, "password": "x", "code": "1"}
    assert client.post("/signin", data=big, headers=OWN).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(80):
            yield b"a" * 1024

    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    streamed = client.post("/signin", content=pieces(), headers={**OWN, **kind})
    assert (streamed.status_code, code_of(streamed)) == (413, "form-too-large")
    as_json = client.post("/signin/passkey", content=pieces(), headers={**OWN, "X-CSRF-Token": token})
    assert as_json.status_code == 413
    strange = client.post("/signin", content=b"x", headers={**OWN, **kind, "Content-Length": "-1"})
    assert strange.status_code == 413


def test_hostile_fields_are_refused_or_shown_as_text(app: FastAPI, wang: Someone) -> None:
    hostile = "<script>alert(1)</script>\"'"
    client = browser(app)
    response = wang.sign_in(client, name=hostile)
    assert response.status_code == 401
    assert "<script>alert" not in response.text
    for field in ("name", "password", "code"):
        for value in ("\x00", "' OR 1=1 --", "{{7*7}}", "\ud7ff\uffff", "a" * 600):
            answer = wang.sign_in(browser(app, f"192.0.2.{len(value) % 250}"), **{field: value})
            assert answer.status_code in (401, 422, 429), (field, value, answer.status_code)


def test_no_secret_link_stands_in_the_logs(
    app: FastAPI, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-secret-sign-up-link-that-is-spent"
    with structlog.testing.capture_logs() as logs:
        assert browser(app).get(f"/signup/{secret}").status_code == 410
    assert any(each["event"] == "problem-page" for each in logs)
    said = json.dumps(logs, default=str) + capsys.readouterr().err + caplog.text
    assert secret not in re.sub(r'HTTP Request: [^"]*"HTTP', "", said)  # the client's own note is not ours
