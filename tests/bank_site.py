"""The pages of a bank of the scoring federation, with its people, as one application for a client or a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyotp
from starlette.testclient import TestClient

from models.web.access import SESSION, Access
from models.web.rights import Role
from models.web.signin import Browser
from nodes.config import PagesConfig
from nodes.gateway_batches import BatchDesk
from nodes.services import Services
from nodes.web.app import create_pages

ORIGIN = "http://localhost:8443"
PASSWORD = "four words in a row"
SAME_SITE = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
HTML = {"accept": "text/html"}


class BankSite:
    """The pages of one bank, as `digua-node run` serves them.

    Attributes:
        desk: works on its batches once it is started.
    """

    def __init__(self, services: Services, *, origin: str = ORIGIN) -> None:
        self.origin = origin
        config = services.runtime.config.model_copy(update={"pages": PagesConfig(origin=origin)})
        self.services = replace(services, runtime=replace(services.runtime, config=config))
        self.desk = BatchDesk(services.batches)
        self.app = create_pages(self.services, connected=lambda: True, desk=self.desk)

    @property
    def access(self) -> Access:
        found: Access = self.app.state.access
        return found

    def client(self, *roles: Role, name: str | None = None) -> Client:
        """A browser in which somebody with these roles is signed in."""
        who = name or "-".join(str(role) for role in roles)
        client = Client(self.app, base_url=self.origin, headers=HTML, raise_server_exceptions=False)
        client.cookies.set(self.access.site.cookie(SESSION), self.join(who, *roles)[0])
        return client

    def join(self, name: str, *roles: Role) -> tuple[str, list[str]]:
        """Somebody's new account: a session of it, and its recovery codes."""
        token = self.access.people.add(name, roles)
        code = pyotp.TOTP(self.access.people.sign_up(token).totp_secret).at(self.services.runtime.now())
        entry, codes = self.access.desk.join_by_password(token, PASSWORD, PASSWORD, code, Browser("127.0.0.1"))
        return entry.session_id, codes


class Client(TestClient):
    """Sends forms as a browser does: from the page that holds them."""

    def token(self, path: str) -> str:
        page = self.get(path)
        found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
        assert found is not None, page.text
        return found[1]

    def fields(self, path: str) -> dict[str, str]:
        """The hidden fields of the last form of a page."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))

    def submit(self, path: str, data: dict[str, str] | None = None, *, page: str | None = None, **rest: Any) -> Any:
        """Send the form of a page, by default the one at the same address."""
        hidden = self.fields(page or path)
        return self.post(path, data={**hidden, **(data or {})}, headers={**HTML, **SAME_SITE}, **rest)
