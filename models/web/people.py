"""People: who has an account here, with which roles; one-time links by which they sign up or come back.

Names are added on the command line of the machine, by whoever runs it: no page makes an account or gives a role.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from models.web.errors import FormInvalid, LinkSpent, PersonKnown, PersonUnknown
from models.web.passwords import new_totp_secret
from models.web.rights import Right, Role, may
from models.web.tables import AccessTables, Storage
from models.web.vault import Vault

Clock = Callable[[], datetime]
LINK_LIFE = timedelta(hours=24)
_NAME = re.compile(r"[\w.@-]{2,64}")


@dataclass(frozen=True)
class Person:
    """Who is signed in, or has an account."""

    person_id: str
    name: str
    roles: frozenset[Role]

    def may(self, right: Right) -> bool:
        """Whether one of the roles has the right."""
        return may(self.roles, right)


@dataclass(frozen=True)
class Account:
    """What a list of people shows."""

    person: Person
    added_at: datetime
    joined_at: datetime | None
    passkeys: int
    password: bool


@dataclass(frozen=True)
class SignUp:
    """An open sign-up link: whose it is, and the TOTP secret that it proposes."""

    token_sha256: bytes
    person: Person
    totp_secret: str


class PeopleBook:
    """The accounts of one site.

    Args:
        storage: where the tables lie.
        tables: as declared there.
        vault: seals TOTP secrets.
        roles: those that exist here.
        clock: the time.
    """

    def __init__(
        self, storage: Storage, tables: AccessTables, vault: Vault, *, roles: Iterable[Role], clock: Clock
    ) -> None:
        self._storage = storage
        self._tables = tables
        self._vault = vault
        self.roles = tuple(roles)
        self._clock = clock

    def add(self, name: str, roles: Iterable[Role]) -> str:
        """Make an account that its person still has to take over, and return its one-time token.

        Raises:
            FormInvalid: the name or a role cannot be had here.
            PersonKnown: there is somebody of this name.
        """
        with self._storage.session() as session:
            return self.add_in(session, name, roles)[1]

    def add_in(self, session: Session, name: str, roles: Iterable[Role]) -> tuple[str, str]:
        """Make an account in the caller's transaction; the person's id and the token. Raises as `add`."""
        given = self._checked(name, roles)
        person_id = secrets.token_hex(16)
        people = self._tables.people
        if session.execute(select(people.c.person_id).where(people.c.name == name)).first() is not None:
            raise PersonKnown(
                f"{name} has an account already.", field="name", remedy="Choose another name, or reset this one."
            )
        session.execute(
            insert(people).values(
                person_id=person_id,
                name=name,
                roles=" ".join(sorted(given)),
                added_at=self._now(),
            )
        )
        return person_id, self._issue(session, person_id)

    def reset(self, name: str) -> str:
        """Void a person's passkeys, password and sessions, and return a new one-time token; PersonUnknown."""
        with self._storage.session() as session:
            return self.reset_in(session, name)[1]

    def reset_in(self, session: Session, name: str) -> tuple[Person, str]:
        """As `reset`, in the caller's transaction; whose it was, and the token."""
        person, people = self._find(session, name), self._tables.people
        self._void(session, person.person_id)
        session.execute(
            update(people)
            .where(people.c.person_id == person.person_id)
            .values(password_hash=None, totp_sealed=None, totp_step=None, joined_at=None)
        )
        return person, self._issue(session, person.person_id)

    def remove(self, name: str) -> None:
        """Delete an account with all that belongs to it, sessions first; PersonUnknown. Records of looks stay."""
        with self._storage.session() as session:
            self.remove_in(session, name)

    def remove_in(self, session: Session, name: str) -> Person:
        """As `remove`, in the caller's transaction; whose it was."""
        person = self._find(session, name)
        self._void(session, person.person_id)
        session.execute(delete(self._tables.people).where(self._tables.people.c.person_id == person.person_id))
        return person

    def all(self) -> list[Account]:
        """Everybody, by name."""
        people, keys = self._tables.people, self._tables.passkeys
        with self._storage.reading() as session:
            counted = session.execute(
                select(keys.c.person_id, func.count().label("n")).group_by(keys.c.person_id)
            ).all()
            rows = session.execute(select(people).order_by(people.c.name)).all()
        passkeys = {str(row.person_id): int(row.n) for row in counted}
        return [
            Account(
                person=person_of(row),
                added_at=_moment(row.added_at, self._clock),
                joined_at=None if row.joined_at is None else _moment(row.joined_at, self._clock),
                passkeys=passkeys.get(row.person_id, 0),
                password=row.password_hash is not None,
            )
            for row in rows
        ]

    def lines(self) -> list[dict[str, Any]]:
        """Everybody, as command lines print them."""
        return [
            {
                "name": each.person.name,
                "roles": sorted(each.person.roles),
                "added_at": each.added_at.isoformat(timespec="seconds"),
                "joined_at": None if each.joined_at is None else each.joined_at.isoformat(timespec="seconds"),
                "passkeys": each.passkeys,
                "password": each.password,
            }
            for each in self.all()
        ]

    def sign_up(self, token: str) -> SignUp:
        """What an open link is for; LinkSpent where it is none."""
        links, people = self._tables.sign_up_links, self._tables.people
        token_sha256 = hashlib.sha256(token.encode()).digest()
        with self._storage.reading() as session:
            row = session.execute(
                select(people, links.c.totp_sealed.label("proposed"))
                .join(people, people.c.person_id == links.c.person_id)
                .where(links.c.token_sha256 == token_sha256, links.c.expires_at > self._now())
            ).first()
        if row is None:
            raise link_spent()
        person = person_of(row)
        return SignUp(token_sha256, person, self._vault.open(row.proposed, person.person_id).decode())

    def spend(self, session: Session, link: SignUp) -> None:
        """Use a link up in the transaction that makes its person's means; LinkSpent where another was first."""
        links = self._tables.sign_up_links
        gone = session.execute(
            delete(links)
            .where(links.c.token_sha256 == link.token_sha256, links.c.expires_at > self._now())
            .returning(links.c.person_id)
        ).first()
        if gone is None:
            raise link_spent()
        people = self._tables.people
        session.execute(update(people).where(people.c.person_id == link.person.person_id).values(joined_at=self._now()))

    def _checked(self, name: str, roles: Iterable[Role]) -> frozenset[Role]:
        if not _NAME.fullmatch(name):
            raise FormInvalid(
                "A name has 2 to 64 letters, digits, dots, hyphens, underscores or @.",
                field="name",
                remedy="Take the one from the staff list or the mail address.",
            )
        given = frozenset(roles)
        if not given or not given <= set(self.roles):
            raise FormInvalid(
                "There is no such role here, or none was given.",
                field="role",
                remedy=f"Give one or more of: {', '.join(self.roles)}.",
            )
        return given

    def _find(self, session: Session, name: str) -> Person:
        people = self._tables.people
        row = session.execute(select(people).where(people.c.name == name)).first()
        if row is None:
            raise PersonUnknown(f"Nobody here is called {name}.", field="name", remedy="See the list of people.")
        return person_of(row)

    def _void(self, session: Session, person_id: str) -> None:
        t = self._tables
        for table in (t.sessions, t.passkeys, t.recovery_codes, t.sign_up_links):
            session.execute(delete(table).where(table.c.person_id == person_id))

    def _issue(self, session: Session, person_id: str) -> str:
        token = secrets.token_urlsafe(32)
        session.execute(
            insert(self._tables.sign_up_links).values(
                token_sha256=hashlib.sha256(token.encode()).digest(),
                person_id=person_id,
                totp_sealed=self._vault.seal(new_totp_secret().encode(), person_id),
                expires_at=self._now() + int(LINK_LIFE.total_seconds()),
            )
        )
        return token

    def _now(self) -> int:
        return int(self._clock().timestamp())


def person_of(row: Row[tuple[object, ...]]) -> Person:
    """A row of `people` as a person; roles that this version does not know grant nothing."""
    known = {str(role): role for role in Role}
    roles = frozenset(known[each] for each in str(row.roles).split() if each in known)
    return Person(str(row.person_id), str(row.name), roles)


def link_spent() -> LinkSpent:
    """The one refusal of links, whatever the cause."""
    return LinkSpent(
        "This link was used, has expired, or is not complete.",
        remedy="Ask whoever looks after the people of this site for a new one.",
    )


def _moment(seconds: int, clock: Clock) -> datetime:
    return datetime.fromtimestamp(seconds, tz=clock().tzinfo)
