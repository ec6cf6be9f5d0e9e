"""People of the platform's pages: who has an account with which role, and for whom each acts."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from crypto.wire.base import PartyId
from hub.db import Database
from hub.platform.audit import AuditRecord
from hub.platform.errors import MembershipError
from hub.platform.merchant_book import MerchantBook
from hub.platform.tables.people import MembershipRow
from models.web.access import Access
from models.web.people import Account, Person
from models.web.rights import Role

_PARTY = TypeAdapter[str](PartyId)


@dataclass(frozen=True)
class Member:
    """Somebody who is signed in, and whom they act for.

    Attributes:
        party: the bank's id, the office's or authority's name, an operator's own name, or a merchant's account.
    """

    person: Person
    role: Role
    party: str

    @property
    def actor(self) -> str:
        """As the audit record names who did something: a merchant by its account, others by their name."""
        return f"{self.role}:{self.party if self.role is Role.MERCHANT else self.person.name}"


class PlatformPeople:
    """The people of one platform; each has one role.

    Args:
        register: a merchant's person needs an active account there.
    """

    def __init__(self, db: Database, audit: AuditRecord, access: Access, register: MerchantBook) -> None:
        self._db = db
        self._audit = audit
        self.access = access
        self._register = register

    def make(self, name: str, role: Role, party: str, *, actor: str) -> str:
        """Make an account and return its one-time sign-up link; raises as `make_in`."""
        with self._db.session() as session:
            return self.make_in(session, name, role, party, actor=actor)

    def make_in(self, session: Session, name: str, role: Role, party: str, *, actor: str) -> str:
        """Make an account in the caller's transaction.

        Raises:
            FormInvalid, PersonKnown: the name or the role cannot be had.
            MembershipError: nobody can act for such a party.
            MerchantUnknownError, MerchantStateError: of a merchant, it has no active account.
        """
        if role is Role.MERCHANT:
            self._register.applicant(session, party)
        else:
            _require_party(party)
        person_id, token = self.access.people.add_in(session, name, [role])
        session.add(MembershipRow(person_id=person_id, party=party))
        self._audit.write(session, actor, "person-make", f"person:{person_id}", {"role": role.value, "party": party})
        return self.access.sign_up_link(token)

    def reset(self, name: str, *, actor: str) -> str:
        """Void a person's means and sessions, and return a new one-time link; PersonUnknown."""
        with self._db.session() as session:
            person, token = self.access.people.reset_in(session, name)
            self._audit.write(session, actor, "person-reset", f"person:{person.person_id}", {})
        return self.access.sign_up_link(token)

    def remove(self, name: str, *, actor: str) -> None:
        """End a person's account and sessions; PersonUnknown."""
        with self._db.session() as session:
            person = self.access.people.remove_in(session, name)
            session.execute(delete(MembershipRow).where(MembershipRow.person_id == person.person_id))
            self._audit.write(session, actor, "person-remove", f"person:{person.person_id}", {})

    def member(self, person: Person) -> Member:
        """Whom a person acts for; MembershipError where that is not known."""
        with self._db.reading() as session:
            row = session.get(MembershipRow, person.person_id)
        role = next(iter(person.roles), None)
        if row is None or role is None:
            raise MembershipError(
                "It is not known whom this account acts for.",
                field="party",
                remedy="Have the platform's operator remove the account and make it anew.",
            )
        return Member(person, role, row.party)

    def all(self) -> list[tuple[Account, str]]:
        """Everybody with whom they act for, by name."""
        with self._db.reading() as session:
            parties = {row.person_id: row.party for row in session.scalars(select(MembershipRow))}
        return [(each, parties.get(each.person.person_id, "")) for each in self.access.people.all()]

    def of_party(self, party: str) -> list[Account]:
        """Everybody who acts for a party, by name."""
        return [account for account, theirs in self.all() if theirs == party]


def _require_party(party: str) -> None:
    try:
        _PARTY.validate_python(party)
    except ValidationError as error:
        raise MembershipError(
            "Whom a person acts for is written in small letters, digits and hyphens.",
            field="party",
            remedy="Of a bank, write its id as its node has it, such as bank-01.",
        ) from error
