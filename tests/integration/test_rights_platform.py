"""Every route of the platform × everybody: what the rights table grants works, all else is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from models.web.rights import ROLES_AT, Caller, Role, grant_at
from tests.platform_site import PARTIES, PlatformSite
from tests.rights_walk import People, complaints, endpoints, for_roles, refusal

SITE = "platform"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[PlatformSite]:
    made = PlatformSite(tmp_path_factory.mktemp("platform"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def sessions(site: PlatformSite) -> dict[Role, str]:
    merchant = site.merchant()
    parties = {**PARTIES, Role.MERCHANT: merchant.account_id}
    return {role: site.person(role, f"walker.{role}", parties[role]) for role in ROLES_AT[SITE]}


@pytest.fixture(scope="module")
def people(site: PlatformSite) -> People:
    return People(site.app)


def test_every_route_stands_in_the_table_and_asks_for_its_right(site: PlatformSite) -> None:
    found = complaints(site.app, SITE)
    assert not found, "\n".join(found)


def test_pages_are_for_their_roles_alone(site: PlatformSite, people: People, sessions: dict[Role, str]) -> None:
    asked = [each for each in for_roles(site.app, SITE) if each[0].path != "/account/signout-everywhere"]
    assert len(asked) > 5
    for endpoint, grant in asked:
        assert refusal(people.ask(endpoint, None)) == "sign-in-needed", endpoint.name
        assert refusal(people.ask(endpoint, secrets.token_urlsafe(32))) == "sign-in-needed", endpoint.name
        for role, session in sessions.items():
            said = refusal(people.ask(endpoint, session))
            assert said == (None if role in grant.who else "right-missing"), (endpoint.name, role)


def test_forms_of_pages_count_with_the_sessions_own_token_alone(
    site: PlatformSite, people: People, sessions: dict[Role, str]
) -> None:
    changing = [each for each in for_roles(site.app, SITE) if each[0].method != "GET"]
    assert len(changing) > 4
    for endpoint, grant in changing:
        role = next(role for role in ROLES_AT[SITE] if role in grant.who)
        for token in ("", "0" * 64, secrets.token_hex(32)):
            assert refusal(people.ask(endpoint, sessions[role], token=token)) == "form-foreign", endpoint.name


def test_no_persons_session_opens_the_api(site: PlatformSite, people: People, sessions: dict[Role, str]) -> None:
    tried = 0
    for endpoint in endpoints(site.app):
        grant = grant_at(SITE, endpoint.name)
        if grant is None or grant.who != {Caller.API_KEY}:
            continue
        for session in sessions.values():
            sent = {"headers": {"Idempotency-Key": secrets.token_hex(8)}}
            assert people.client(session).request(endpoint.method, endpoint.url, **sent).status_code == 401
            tried += 1
    assert tried > 100
