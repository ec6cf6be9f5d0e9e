"""Every route of an application, and what comes of it for a role or a credential."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIWebSocketRoute, iter_route_contexts
from fastapi.testclient import TestClient
from httpx import Response
from starlette.routing import Mount, WebSocketRoute

from models.web.access import SESSION, Access, Asked, asked_by
from models.web.csrf import FIELD, form_token
from models.web.rights import RIGHTS, Grant, Role, Site, grant_at

REFUSALS = frozenset({"sign-in-needed", "right-missing", "form-foreign"})


@dataclass(frozen=True)
class Endpoint:
    """One route with one method.

    Attributes:
        asked: what its `needs` ask for, dependencies of its router included.
    """

    method: str
    path: str
    asked: tuple[Asked, ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def url(self) -> str:
        """With something in each place."""
        return re.sub(r"{[^}]*}", "1", self.path.replace("{sha256}", "0" * 64))


def endpoints(app: FastAPI) -> Iterator[Endpoint]:
    for context in iter_route_contexts(app.routes):
        path = context.path or ""
        if isinstance(context.original_route, Mount):
            yield Endpoint("GET", f"{path}/{{path}}", ())
        elif isinstance(context.original_route, APIWebSocketRoute | WebSocketRoute):
            yield Endpoint("WS", path or context._effective_route.starlette_route.path, ())
        else:
            dependant = getattr(context._effective_route, "dependant", None)
            asked = () if dependant is None else tuple(_asked(dependant))
            for method in sorted((context.methods or set()) - {"HEAD", "OPTIONS"}):
                yield Endpoint(method, path, asked)


def _asked(dependant: Dependant) -> Iterator[Asked]:
    found = asked_by(dependant.call)
    if found is not None:
        yield found
    for each in dependant.dependencies:
        yield from _asked(each)


def complaints(app: FastAPI, site: Site) -> list[str]:
    """What differs between the routes of an application and the rights table; nothing if all is well."""
    found: list[str] = []
    seen: set[str] = set()
    for endpoint in endpoints(app):
        seen.add(endpoint.name)
        grant = grant_at(site, endpoint.name)
        if grant is None:
            found.append(
                f"{endpoint.name} at {site!r} stands in no row: add it to that of the right it needs, in RIGHTS of "
                "models/web/rights.py, then run python -m models.web.rights_doc docs/rights.md"
            )
            continue
        roles = any(isinstance(who, Role) for who in grant.who)
        asks = {each.right for each in endpoint.asked}
        if roles and asks != {grant.right}:
            found.append(
                f"{endpoint.name} at {site!r} stands in the row of {grant.right!r}, but asks for "
                f"{sorted(asks) or 'nothing'}: let it depend on needs(Right.{grant.right.name}), or move it to another"
            )
        if not roles and asks:
            found.append(f"{endpoint.name} at {site!r} asks for {sorted(asks)}, but stands in a row without roles")
    listed = {name for grant in RIGHTS for at, name in grant.endpoints if at == site}
    found += [f"{name} at {site!r} stands in the rights table, but there is no such route" for name in listed - seen]
    return found


def for_roles(app: FastAPI, site: Site) -> list[tuple[Endpoint, Grant]]:
    """The routes that ask for a role, with their rows."""
    rows = [(endpoint, grant_at(site, endpoint.name)) for endpoint in endpoints(app)]
    return [(endpoint, grant) for endpoint, grant in rows if grant is not None and grant.who & set(Role)]


class People:
    """Sessions of people of any role, without their signing in."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.access: Access = app.state.access

    def session(self, *roles: Role) -> str:
        name = f"walker.{secrets.token_hex(8)}"
        self.access.people.add(name, roles)
        person = next(each.person for each in self.access.people.all() if each.person.name == name)
        with self.access.sessions._storage.session() as session:
            return self.access.sessions.begin(session, person.person_id, "passkey")

    def client(self, session_id: str | None = None, *, accept: str = "application/json") -> TestClient:
        client = TestClient(
            self.app,
            base_url=self.access.site.origin,
            headers={"Accept": accept},
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        if session_id is not None:
            client.cookies.set(self.access.site.cookie(SESSION), session_id)
        return client

    def ask(self, endpoint: Endpoint, session_id: str | None, *, token: str | None = None, **sent: Any) -> Response:
        """Ask as the browser of a session would; `token` for another form token than its own."""
        headers = {"Origin": self.access.site.origin, "Sec-Fetch-Site": "same-origin"}
        if endpoint.method != "GET":
            own = form_token(self.access.vault, session_id or "")
            sent = {"data": {FIELD: own if token is None else token}, "headers": headers, **sent}
        return self.client(session_id).request(endpoint.method, endpoint.url, **sent)


def refusal(response: Response) -> str | None:
    """The code of a refusal by the access layer; None where it let the request through."""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        code = str(json.loads(response.content).get("code"))
        return code if code in REFUSALS else None
    return None
