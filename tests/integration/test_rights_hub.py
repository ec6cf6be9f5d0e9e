"""Every route of the hub × everybody: what the rights table grants works, all else is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from crypto.jws import sign_model
from crypto.wire.base import SUITE
from crypto.wire.service import SignedRequest
from hub.app import create_app
from models.web.rights import ROLES_AT, Caller, Right, Role, grant_at
from tests.hub_world import HubWorld, Member
from tests.rights_walk import People, complaints, endpoints, for_roles, refusal

SITE = "hub"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path_factory.mktemp("hub"))
    world.join(world.witness, Member("bank-01", "bank"))
    yield world
    world.hub.close()


@pytest.fixture(scope="module")
def app(world: HubWorld) -> FastAPI:
    return create_app(world.hub)


@pytest.fixture(scope="module")
def people(app: FastAPI) -> People:
    return People(app)


def test_every_route_stands_in_the_table_and_asks_for_its_right(app: FastAPI) -> None:
    found = complaints(app, SITE)
    assert not found, "\n".join(found)


def test_pages_are_for_their_roles_alone(app: FastAPI, people: People) -> None:
    asked = for_roles(app, SITE)
    assert len(asked) > 5
    for endpoint, grant in asked:
        assert refusal(people.ask(endpoint, None)) == "sign-in-needed", endpoint.name
        assert refusal(people.ask(endpoint, secrets.token_urlsafe(32))) == "sign-in-needed", endpoint.name
        for role in Role:
            if role not in ROLES_AT[SITE]:
                continue
            said = refusal(people.ask(endpoint, people.session(role)))
            assert said == (None if role in grant.who else "right-missing"), (endpoint.name, role)


def test_forms_of_pages_count_with_the_sessions_own_token_alone(app: FastAPI, people: People) -> None:
    changing = [each for each in for_roles(app, SITE) if each[0].method != "GET"]
    assert len(changing) > 4
    for endpoint, grant in changing:
        role = next(role for role in ROLES_AT[SITE] if role in grant.who)
        for token in ("", "0" * 64, secrets.token_hex(32)):
            assert refusal(people.ask(endpoint, people.session(role), token=token)) == "form-foreign", endpoint.name


def test_acts_that_cannot_be_undone_ask_for_a_fresh_sign_in(app: FastAPI) -> None:
    for endpoint, grant in for_roles(app, SITE):
        if endpoint.method == "GET":
            continue
        asks_what_it_would_cost = endpoint.path.endswith("/plan")
        acts = grant.right in (Right.ABORT_CAMPAIGN, Right.ORDER_CAMPAIGN) and not asks_what_it_would_cost
        if acts or endpoint.path.startswith(("/account/passkeys", "/account/password")):
            assert all(each.fresh for each in endpoint.asked), endpoint.name


def credentials(world: HubWorld, method: str, url: str) -> dict[Caller, dict[str, str]]:
    """What each caller that shows something in a header shows there."""
    bank = Member("bank-01", "bank")
    request = SignedRequest(
        suite=SUITE,
        party_id="bank-01",
        method=method,
        path=url,
        issued_at=world.now,
        nonce=secrets.token_bytes(16),
    )
    signed = sign_model(request, bank.identity, typ="request", kid="bank-01")
    config = world.hub.config
    return {
        Caller.ANYONE: {},
        Caller.ADMIN: {"Authorization": f"Bearer {config.admin_token_file.read_text().strip()}"},
        Caller.INTERNAL: {"Authorization": f"Bearer {config.internal_token_file.read_text().strip()}"},
        Caller.COLLECTOR: {"Authorization": f"Bearer {config.metrics_token_file.read_text().strip()}"},
        Caller.PARTY: {"Authorization": f"Digua {signed}"},
    }


def test_the_api_is_for_its_callers_alone(world: HubWorld, app: FastAPI, people: People) -> None:
    client = people.client()
    tried = 0
    for endpoint in endpoints(app):
        grant = grant_at(SITE, endpoint.name)
        if grant is None or endpoint.method == "WS" or not endpoint.path.startswith(("/v1/", "/metrics", "/readyz")):
            continue
        for caller, headers in credentials(world, endpoint.method, endpoint.url).items():
            sent = {"Idempotency-Key": secrets.token_hex(8), **headers}
            response = client.request(endpoint.method, endpoint.url, headers=sent)
            tried += 1
            told = (endpoint.name, caller, response.status_code, response.text[:200])
            if caller in grant.who - {Caller.PARTY}:
                assert response.status_code not in (401, 403), told
            elif not grant.who & {Caller.ANYONE, caller}:
                # What is signed in its body has none here: it is malformed, whatever the header says.
                assert 400 <= response.status_code < 500, told
                if grant.who & {Caller.ADMIN, Caller.INTERNAL, Caller.COLLECTOR}:
                    assert response.status_code in (401, 403), told
    assert tried > 100


def test_no_persons_session_opens_the_api(app: FastAPI, people: People) -> None:
    session = people.session(Role.OPERATOR)
    for endpoint in endpoints(app):
        grant = grant_at(SITE, endpoint.name)
        if (
            grant is not None
            and grant.who & {Caller.ADMIN, Caller.INTERNAL, Caller.COLLECTOR}
            and endpoint.method != "WS"
        ):
            sent = {"headers": {"Idempotency-Key": secrets.token_hex(8)}}
            response = people.client(session).request(endpoint.method, endpoint.url, **sent)
            assert response.status_code == 401, endpoint.name


def test_the_link_is_closed_without_a_partys_greeting(app: FastAPI, people: People) -> None:
    with people.client().websocket_connect("/v1/link") as socket:
        socket.send_bytes(b"hello")
        answer = socket.receive()
    assert answer["type"] in ("websocket.close", "websocket.send")
    assert b"welcome" not in (answer.get("bytes") or b"")


def test_static_files_end_at_their_folder(people: People) -> None:
    client = people.client()
    assert client.get("/static/web/digua.css").status_code == 200
    for path in (
        "/static/web/../pages.py",
        "/static/web/%2e%2e/pages.py",
        "/static/web/..%2fpages.py",
        "/static/web/%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/static/web/..%5c..%5cpages.py",
        "/static/web//etc/passwd",
        "/static/web/",
        "/static/web/access",
        "/static/hub/../site.py",
    ):
        assert client.get(path).status_code in (404, 405), path
    assert (Path(__file__).parents[2] / "models" / "web" / "pages.py").exists()
