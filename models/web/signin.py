"""Signing up and in: what has to be shown, in which order, and what a session begins with."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from models.web.errors import FormInvalid
from models.web.passkeys import Ceremony, Passkeys, refused
from models.web.passwords import (
    hash_password,
    new_recovery_codes,
    password_fits,
    recovery_sha256,
    totp_step,
)
from models.web.people import Clock, PeopleBook, Person, SignUp, person_of
from models.web.sessions import Sessions, SignedIn
from models.web.tables import AccessTables, Storage
from models.web.throttle import Throttle
from models.web.vault import Vault

_NO_SECRET = "A" * 32
"""What an unknown person's code is compared with, so that it takes as long."""


@dataclass(frozen=True)
class Browser:
    """What is known of whoever asks, before they sign in.

    Attributes:
        address: the client's.
        session_id: of the session that it has, which a sign-in replaces.
        device: from its cookie: who signed in from it before.
    """

    address: str
    session_id: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Entry:
    """A session that has begun: what the browser keeps."""

    person: Person
    session_id: str
    device: str


class SignInDesk:
    """Signs people of one site up and in."""

    def __init__(
        self,
        storage: Storage,
        tables: AccessTables,
        vault: Vault,
        *,
        people: PeopleBook,
        sessions: Sessions,
        passkeys: Passkeys,
        throttle: Throttle,
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._tables = tables
        self._vault = vault
        self._people = people
        self._sessions = sessions
        self._passkeys = passkeys
        self._throttle = throttle
        self._clock = clock

    def by_password(self, name: str, password: str, code: str, browser: Browser) -> Entry:
        """Sign in with a password and a TOTP or recovery code.

        Raises:
            TooManyAttempts: of this browser, its address, or at this account.
            SignInRefused: anything is wrong; it never says what, and takes as long for a name that nobody has.
        """
        people = self._tables.people
        with self._storage.reading() as session:
            row = session.execute(select(people).where(people.c.name == name)).first()
        device = None if row is None else self._device_of(row.person_id, browser.device)
        self._throttle.attempt(name, browser.address, device)
        fits = password_fits(None if row is None else row.password_hash, password)
        with self._storage.session() as session:
            person = self._second_factor(session, None if row is None else row.person_id, code, counts=fits)
            if person is None or not fits:
                raise refused()
            session_id = self._sessions.begin(session, person.person_id, "password", instead_of=browser.session_id)
        self._throttle.succeeded(name, browser.address, device)
        return self._entered(person, session_id, browser)

    def by_passkey(self, ceremony_id: str, credential: str, browser: Browser) -> Entry:
        """Sign in with a passkey; TooManyAttempts, SignInRefused."""
        self._throttle.request(browser.address)
        challenge = self._passkeys.take("sign-in", ceremony_id)
        with self._storage.session() as session:
            person = self._passkeys.sign_in(session, challenge, credential)
            session_id = self._sessions.begin(session, person.person_id, "passkey", instead_of=browser.session_id)
        return self._entered(person, session_id, browser)

    def begin_passkey(self, browser: Browser) -> Ceremony:
        """Options for signing in with a passkey; TooManyAttempts."""
        self._throttle.request(browser.address)
        return self._passkeys.begin_sign_in()

    def open_link(self, token: str, browser: Browser) -> SignUp:
        """What a sign-up link is for; TooManyAttempts, LinkSpent."""
        self._throttle.request(browser.address)
        return self._people.sign_up(token)

    def join_by_password(
        self, token: str, password: str, repeated: str, code: str, browser: Browser
    ) -> tuple[Entry, list[str]]:
        """Sign up with a password and the code of an authenticator app, and return the recovery codes, shown once.

        Raises:
            TooManyAttempts, LinkSpent: the link does not open.
            FormInvalid: a field is wrong; the link stays open.
        """
        link = self.open_link(token, browser)
        hashed = _chosen(password, repeated, name=link.person.name)
        step = totp_step(link.totp_secret, code, now=self._clock(), after=None)
        if step is None:
            raise FormInvalid(
                "This is not the code that the app shows now.",
                field="code",
                remedy="Check that the phone sets its time by itself, wait for the next code, and type that.",
            )
        sealed = self._vault.seal(link.totp_secret.encode(), link.person.person_id)
        with self._storage.session() as session:
            self._people.spend(session, link)
            self._set(session, link.person, password_hash=hashed, totp_sealed=sealed, totp_step=step)
            codes = self._new_codes(session, link.person)
            session_id = self._sessions.begin(session, link.person.person_id, "password", instead_of=browser.session_id)
        return self._entered(link.person, session_id, browser), codes

    def begin_joining(self, token: str, browser: Browser) -> Ceremony:
        """Options for making the first passkey; TooManyAttempts, LinkSpent."""
        return self._passkeys.begin_registration(self.open_link(token, browser).person)

    def join_by_passkey(self, token: str, ceremony_id: str, credential: str, label: str, browser: Browser) -> Entry:
        """Sign up with a passkey; TooManyAttempts, LinkSpent, FormInvalid."""
        link = self.open_link(token, browser)
        challenge = self._passkeys.take("register", ceremony_id, link.person.person_id)
        with self._storage.session() as session:
            self._people.spend(session, link)
            self._passkeys.register(session, link.person, challenge, credential, label)
            session_id = self._sessions.begin(session, link.person.person_id, "passkey", instead_of=browser.session_id)
        return self._entered(link.person, session_id, browser)

    def add_passkey(self, signed_in: SignedIn, ceremony_id: str, credential: str, label: str) -> None:
        """Give a person one more passkey; FormInvalid."""
        challenge = self._passkeys.take("register", ceremony_id, signed_in.person.person_id)
        with self._storage.session() as session:
            self._passkeys.register(session, signed_in.person, challenge, credential, label)
            self._sessions.end_others(session, signed_in.person.person_id, signed_in.id_sha256)

    def remove_passkey(self, signed_in: SignedIn, credential_id: bytes) -> None:
        """Take a passkey away; FormInvalid where it is none of theirs, or the last means they have."""
        person_id, keys, people = signed_in.person.person_id, self._tables.passkeys, self._tables.people
        with self._storage.session() as session:
            self._passkeys.remove(session, person_id, credential_id)
            left = session.execute(select(keys.c.label).where(keys.c.person_id == person_id)).first()
            password = session.scalar(select(people.c.password_hash).where(people.c.person_id == person_id))
            if left is None and password is None:
                raise FormInvalid(
                    "This is your only means of signing in.",
                    field="passkey",
                    remedy="Add another passkey first, then remove this one.",
                )
            self._sessions.end_others(session, person_id, signed_in.id_sha256)

    def change_password(self, signed_in: SignedIn, password: str, repeated: str) -> list[str]:
        """Change the password of who has one, and return new recovery codes; FormInvalid."""
        person, people = signed_in.person, self._tables.people
        hashed = _chosen(password, repeated, name=person.name)
        with self._storage.session() as session:
            former = session.scalar(select(people.c.password_hash).where(people.c.person_id == person.person_id))
            if former is None:
                raise FormInvalid(
                    "You sign in with a passkey and have no password.",
                    field="password",
                    remedy="Go on using the passkey; for a password ask for a new sign-up link.",
                )
            self._set(session, person, password_hash=hashed)
            self._sessions.end_others(session, person.person_id, signed_in.id_sha256)
            return self._new_codes(session, person)

    def _second_factor(self, session: Session, person_id: str | None, code: str, *, counts: bool) -> Person | None:
        """Whose code it is; used up only where the first factor was right."""
        people, codes = self._tables.people, self._tables.recovery_codes
        row = session.execute(select(people).where(people.c.person_id == (person_id or ""))).first()
        sealed = None if row is None else row.totp_sealed
        secret = _NO_SECRET if row is None or sealed is None else self._vault.open(sealed, row.person_id).decode()
        step = totp_step(secret, code, now=self._clock(), after=None if row is None else row.totp_step)
        spare = recovery_sha256(person_id or "", code)
        known = session.execute(select(codes.c.person_id).where(codes.c.code_sha256 == spare)).first()
        if row is None or sealed is None or not counts:
            return None
        # Whoever changes the row first has it: of two requests with one code, sent at once, one is refused.
        if step is not None:
            newer = people.c.totp_step.is_(None) | (people.c.totp_step < step)
            used = update(people).where(people.c.person_id == row.person_id, newer).values(totp_step=step)
            taken = session.execute(used.returning(people.c.person_id)).first()
        elif known is not None and known.person_id == row.person_id:
            spent = delete(codes).where(codes.c.code_sha256 == spare)
            taken = session.execute(spent.returning(codes.c.person_id)).first()
        else:
            return None
        return None if taken is None else person_of(row)

    def _new_codes(self, session: Session, person: Person) -> list[str]:
        codes = self._tables.recovery_codes
        session.execute(delete(codes).where(codes.c.person_id == person.person_id))
        fresh = new_recovery_codes()
        hashed = [recovery_sha256(person.person_id, code) for code in fresh]
        session.execute(insert(codes), [{"code_sha256": each, "person_id": person.person_id} for each in hashed])
        return fresh

    def _set(self, session: Session, person: Person, **values: object) -> None:
        people = self._tables.people
        session.execute(update(people).where(people.c.person_id == person.person_id).values(**values))

    def _entered(self, person: Person, session_id: str, browser: Browser) -> Entry:
        known = self._device_of(person.person_id, browser.device)
        device_id = known or secrets.token_hex(16)
        return Entry(person, session_id, f"{device_id}.{self._vault.sign('device', f'{person.person_id} {device_id}')}")

    def _device_of(self, person_id: str, cookie: str | None) -> str | None:
        """The id of a browser in which this person signed in before."""
        device_id, _, mac = (cookie or "").partition(".")
        known = self._vault.signed("device", f"{person_id} {device_id}", mac)
        return device_id if known else None


def _chosen(password: str, repeated: str, *, name: str) -> str:
    if not hmac.compare_digest(password.encode(), repeated.encode()):
        raise FormInvalid("The two passwords differ.", field="repeated", remedy="Type the same password twice.")
    return hash_password(password, name=name)
