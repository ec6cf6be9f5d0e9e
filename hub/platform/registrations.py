"""Merchants who register themselves: an application, which an operator confirms or refuses.

Anybody can type anybody's identifier. So an application makes no account, tells nothing of whether there is one, and is
answered the same way to all; a person gets in only by the one-time link that an operator hands over after a look at
licence or identity card. What was written is sealed, and deleted with the decision or after `KEEP`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.platform.audit import AuditRecord
from hub.platform.merchant_book import Entrant, MerchantBook
from hub.platform.merchant_errors import RegistrationFullError, RegistrationUnknownError
from hub.platform.merchants import Facts, Merchant, facts_of
from hub.platform.people import PlatformPeople
from hub.platform.tables.registrations import RegistrationRow
from models.web.errors import FormInvalid
from models.web.rights import Role
from models.web.vault import Vault

KEEP = timedelta(days=30)
MOST = 5000
"""Applications that wait at a time: strangers must not fill the database."""
MAX_CONTACT = 100
_USE = "registration"


@dataclass(frozen=True)
class Waiting:
    """An application in a list; nothing of what was written."""

    number: str
    asked_at: datetime


@dataclass(frozen=True)
class Application:
    """An application as an operator reads it.

    Attributes:
        contact: how to reach whoever applied.
        known: the account that the identifier has, open or not.
        people: names of those who act for that account already.
    """

    number: str
    asked_at: datetime
    entrant: Entrant
    contact: str
    known: Merchant | None
    people: tuple[str, ...]


class Registrations:
    """Applications of one platform.

    Args:
        vault: seals what was written.
    """

    def __init__(
        self,
        db: Database,
        audit: AuditRecord,
        clock: Clock,
        vault: Vault,
        register: MerchantBook,
        people: PlatformPeople,
    ) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._vault = vault
        self._register = register
        self._people = people

    def apply(self, id_type: str, identifier: str, facts: Facts, contact: str) -> str:
        """Take an application and return its number.

        Raises:
            MerchantFactsError: a field does not hold; it names the first.
            FormInvalid: there is no way to reach whoever applies.
            RegistrationFullError: too many wait.
        """
        entrant = self._register.checked(id_type, identifier, facts)
        reached = contact.strip()
        if not 5 <= len(reached) <= MAX_CONTACT or not reached.isprintable():
            raise FormInvalid(
                "Nobody could reach you by this.", field="contact", remedy="Give a telephone number or a mail address."
            )
        number = f"{secrets.randbelow(10**12):012d}"
        written = {
            "id_type": entrant.id_type,
            "identifier": entrant.identifier,
            "contact": reached,
            **asdict(entrant.facts),
        }
        sealed = self._vault.seal(json.dumps(written, ensure_ascii=False).encode(), f"{_USE}:{number}")
        with self._db.session() as session:
            waiting = session.scalar(
                select(func.count()).select_from(RegistrationRow).where(RegistrationRow.state == "waiting")
            )
            if (waiting or 0) >= MOST:
                raise RegistrationFullError(
                    "More applications wait than the operators can look at.",
                    remedy="Come again in some days, or go to the platform's office.",
                )
            session.add(RegistrationRow(number=number, state="waiting", asked_at=seconds(self._clock()), sealed=sealed))
            self._audit.write(session, "anyone", "registration-ask", f"registration:{number}", {})
        return number

    def waiting(self) -> list[Waiting]:
        """Return the applications that wait, the oldest first."""
        query = select(RegistrationRow).where(RegistrationRow.state == "waiting")
        with self._db.reading() as session:
            rows = session.scalars(query.order_by(RegistrationRow.asked_at, RegistrationRow.number)).all()
        return [Waiting(row.number, moment(row.asked_at)) for row in rows]

    def read(self, number: str) -> Application:
        """Open an application; RegistrationUnknownError where none of this number waits."""
        with self._db.reading() as session:
            row, entrant, contact = self._open(session, number)
            known = self._register.known_in(session, [entrant]).get(entrant.identifier)
        people = () if known is None else tuple(each.person.name for each in self._people.of_party(known.account_id))
        return Application(number, moment(row.asked_at), entrant, contact, known, people)

    def confirm(self, number: str, name: str, *, actor: str) -> tuple[Merchant, str]:
        """Make the account, where there is none, and a person of it; return both account and one-time link.

        Args:
            name: that the merchant signs in with.

        Raises:
            RegistrationUnknownError: none of this number waits.
            MerchantStateError: the identifier's account is closed, or merged into another.
            FormInvalid, PersonKnown: the name cannot be had.
        """
        with self._db.session() as session:
            row, entrant, _ = self._open(session, number)
            merchant = self._register.known_in(session, [entrant]).get(entrant.identifier)
            if merchant is None:
                merchant = self._register.register_in(session, actor, entrant)
            link = self._people.make_in(session, name, Role.MERCHANT, merchant.account_id, actor=actor)
            self._decide(session, row, "confirmed", actor, merchant.account_id)
        return merchant, link

    def refuse(self, number: str, *, actor: str) -> None:
        """Turn an application down; RegistrationUnknownError where none of this number waits."""
        with self._db.session() as session:
            row, _, _ = self._open(session, number)
            self._decide(session, row, "refused", actor, None)

    def sweep(self) -> int:
        """End what nobody has decided within `KEEP`; returns how many."""
        before = seconds(self._clock() - KEEP)
        query = select(RegistrationRow).where(RegistrationRow.state == "waiting", RegistrationRow.asked_at < before)
        with self._db.session() as session:
            rows = session.scalars(query).all()
            for row in rows:
                self._decide(session, row, "expired", "platform", None)
        return len(rows)

    def _open(self, session: Session, number: str) -> tuple[RegistrationRow, Entrant, str]:
        row = session.get(RegistrationRow, number)
        if row is None or row.state != "waiting" or row.sealed is None:
            raise RegistrationUnknownError(
                "No application of this number waits.", field="number", remedy="See the list of those that wait."
            )
        written = json.loads(self._vault.open(bytes(row.sealed), f"{_USE}:{number}"))
        entrant = Entrant(written["id_type"], written["identifier"], facts_of(written))
        return row, entrant, str(written["contact"])

    def _decide(self, session: Session, row: RegistrationRow, state: str, actor: str, account_id: str | None) -> None:
        self._db.overwrite_deleted(session)
        row.state, row.sealed, row.decided_at, row.account_id = state, None, seconds(self._clock()), account_id
        self._audit.write(
            session, actor, f"registration-{state}", f"registration:{row.number}", {"account": account_id}
        )
