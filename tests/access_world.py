"""People on a small database of their own: the access layer without pages, its clock in the test's hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
from sqlalchemy import MetaData, create_engine, event
from sqlalchemy.orm import Session

from models.web.access import Access
from models.web.looks import Anchor
from models.web.rights import Role
from models.web.signin import Browser, Entry
from models.web.site import PageSite
from models.web.tables import access_tables

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PASSWORD = "four words in a row"


class SmallStorage:
    """SQLite as hub and node use it: whoever may write takes its turn from the start."""

    def __init__(self, path: Path, metadata: MetaData) -> None:
        self._engine = create_engine(f"sqlite:///{path}")

        @event.listens_for(self._engine, "connect")
        def by_hand(connection: object, _record: object) -> None:
            connection.isolation_level = None  # type: ignore[attr-defined]

        @event.listens_for(self._engine, "begin")
        def immediate(connection: object) -> None:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")  # type: ignore[attr-defined]
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

        metadata.create_all(self._engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    reading = session

    def close(self) -> None:
        self._engine.dispose()


class AccessWorld:
    """A site with its people."""

    def __init__(
        self,
        base: Path,
        *,
        origin: str = "https://bank.example.org",
        roles: tuple[Role, ...] = (Role.OWNER, Role.RISK_OFFICER),
        anchor: Anchor | None = None,
    ) -> None:
        self.base = base
        self.now = START
        metadata = MetaData()
        self.tables = access_tables(metadata)
        self.path = base / "people.sqlite"
        self.storage = SmallStorage(self.path, metadata)
        self.access = Access(
            self.storage,
            self.tables,
            site=PageSite(origin),
            name="bank-01",
            roles=roles,
            key_file=base / "pages.key",
            clock=lambda: self.now,
            anchor=anchor,
        )

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    def code(self, secret: str, *, steps: int = 0) -> str:
        return pyotp.TOTP(secret).at(self.now, counter_offset=steps)

    def join(self, name: str, *roles: Role, browser: Browser | None = None) -> tuple[str, list[str]]:
        """Add a person and sign them up with password and TOTP; returns the TOTP secret and the recovery codes."""
        token = self.access.people.add(name, roles or (Role.RISK_OFFICER,))
        secret = self.access.people.sign_up(token).totp_secret
        entry, codes = self.access.desk.join_by_password(
            token, PASSWORD, PASSWORD, self.code(secret), browser or Browser("10.0.0.1")
        )
        self.access.sessions.end(entry.session_id)
        self.later(seconds=60)  # another code counts from now on
        return secret, codes

    def enter(self, name: str, secret: str, *, browser: Browser | None = None) -> Entry:
        self.later(seconds=60)
        return self.access.desk.by_password(name, PASSWORD, self.code(secret), browser or Browser("10.0.0.1"))

    def close(self) -> None:
        self.storage.close()
