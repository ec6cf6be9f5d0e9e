"""The platform with its pages, on an empty database: merchants registered, people of every role signed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI

from hub.platform.app import create_platform
from hub.platform.config import PagesOptions
from hub.platform.merchants import Facts, Merchant
from hub.platform.services import open_platform
from hub.platform.web.site import open_front
from models.web.rights import Role
from tests.scripted_consents import ScriptedConsents
from tests.unit.test_hub_platform_merchants import SHOP, Register, uscc

ORIGIN = "https://two-small.example.org"
PARTIES = {Role.BANK: "bank-01", Role.GOVERNMENT: "office", Role.OPERATOR: "operator", Role.REGULATOR: "pboc"}


class PlatformSite:
    """`consents` are scripted: what the gateway would answer.

    Args:
        origin: where its pages are served.
    """

    def __init__(self, base: Path, *, origin: str = ORIGIN, consents: Any = None) -> None:
        self.register = Register(base)
        self.world = self.register.world
        self.consents = consents or ScriptedConsents(bands={})
        self.platform = open_platform(
            "two-small", self.world.db, self.register.book, self.consents, clock=lambda: self.world.now
        )
        options = PagesOptions(origin=origin, key_file=base / "pages.key")
        self.front = open_front(options, self.platform, self.register.book)
        self.people = self.front.people
        self.access = self.people.access
        self.app: FastAPI = create_platform(self.platform, self.register.book, self.front)

    def close(self) -> None:
        self.world.close()

    def merchant(self, number: int = 1, facts: Facts = SHOP) -> Merchant:
        return self.register.add(uscc(number), facts)

    def person(self, role: Role, name: str, party: str | None = None) -> str:
        """A new person, signed in; the id of the session."""
        self.people.make(name, role, party or PARTIES[role], actor="operator:test")
        return self.session(name)

    def session(self, name: str) -> str:
        """A new session of a person; the older ones go on."""
        found = next(each.person for each in self.access.people.all() if each.person.name == name)
        with self.world.db.session() as session:
            return self.access.sessions.begin(session, found.person_id, "passkey")
