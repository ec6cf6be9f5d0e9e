"""Every route of a node's gateway and pages × everybody: what the rights table grants works, all else is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models.web.rights import ROLES_AT, Caller, Right, Role, Site, grant_at
from nodes.config import PagesConfig
from nodes.gateway import create_gateway
from nodes.gateway_batches import BatchDesk
from nodes.web.app import create_pages
from tests.rights_walk import People, complaints, endpoints, for_roles, refusal
from tests.scoring_world import ScoringWorld

PARTIES = ("bank-01", "platform", "tax-01", "utility-01", "witness")
TOKEN = "t" * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("nodes"), parties=PARTIES)
    for node in world.nodes.values():
        node.runtime.config = node.runtime.config.model_copy(update={"pages": PagesConfig()})
    yield world
    world.close()


@pytest.fixture(scope="module", params=["bank", "witness"])
def pages(request: pytest.FixtureRequest, world: ScoringWorld) -> tuple[Site, FastAPI]:
    site: Site = request.param
    node = world.nodes["witness" if site == "witness" else "bank-01"]
    return site, create_pages(node, connected=lambda: True)


@pytest.fixture(scope="module")
def gateway(world: ScoringWorld) -> FastAPI:
    node = world.nodes["bank-01"]
    return create_gateway(node, BatchDesk(node.batches), token=TOKEN, connected=lambda: True)


def test_every_route_of_the_pages_stands_in_the_table_and_asks_for_its_right(pages: tuple[Site, FastAPI]) -> None:
    found = complaints(pages[1], pages[0])
    assert not found, "\n".join(found)


def test_pages_are_for_their_roles_alone(pages: tuple[Site, FastAPI]) -> None:
    site, app = pages
    people, asked = People(app), for_roles(app, site)
    assert len(asked) > 5
    for endpoint, grant in asked:
        assert refusal(people.ask(endpoint, None)) == "sign-in-needed", endpoint.name
        for role in ROLES_AT[site]:
            said = refusal(people.ask(endpoint, people.session(role)))
            assert said == (None if role in grant.who else "right-missing"), (endpoint.name, role)


def test_forms_count_with_the_sessions_own_token_alone(pages: tuple[Site, FastAPI]) -> None:
    site, app = pages
    people = People(app)
    changing = [each for each in for_roles(app, site) if each[0].method != "GET"]
    assert len(changing) > 4
    for endpoint, grant in changing:
        role = next(role for role in ROLES_AT[site] if role in grant.who)
        for token in ("", secrets.token_hex(32)):
            assert refusal(people.ask(endpoint, people.session(role), token=token)) == "form-foreign", endpoint.name


def test_approvals_ask_for_a_fresh_sign_in(pages: tuple[Site, FastAPI]) -> None:
    for endpoint, grant in for_roles(pages[1], pages[0]):
        if grant.right is Right.APPROVE and endpoint.method != "GET":
            assert all(each.fresh for each in endpoint.asked), endpoint.name


def test_a_role_of_elsewhere_cannot_be_given(pages: tuple[Site, FastAPI]) -> None:
    people = People(pages[1])
    for role in set(Role) - set(ROLES_AT[pages[0]]):
        with pytest.raises(Exception, match="no such role"):
            people.session(role)


def test_every_route_of_the_gateway_stands_in_the_table(gateway: FastAPI) -> None:
    found = complaints(gateway, "gateway")
    assert not found, "\n".join(found)


def test_the_gateway_is_for_its_token_alone(gateway: FastAPI) -> None:
    client = TestClient(gateway, raise_server_exceptions=False)
    tried = 0
    for endpoint in endpoints(gateway):
        grant = grant_at("gateway", endpoint.name)
        if grant is None:
            continue
        for given in (None, "Bearer " + "x" * 32, "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}"):
            headers = {"Idempotency-Key": secrets.token_hex(8), **({} if given is None else {"Authorization": given})}
            response = client.request(endpoint.method, endpoint.url, headers=headers)
            refused = response.status_code == 401
            expected = Caller.GATEWAY in grant.who and given != f"Bearer {TOKEN}"
            assert refused == expected, (endpoint.name, given, response.status_code, response.text[:200])
            tried += 1
    assert tried > 20
