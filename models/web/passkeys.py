"""Passkeys (WebAuthn level 2): made at sign-up or on the account's page, used to sign in without a name.

A passkey counts as two factors, for it has to verify its user (a finger, a face, a PIN), and it answers to this site's
name alone. Each challenge is kept here until it is answered once, five minutes at most.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from models.web.errors import FormInvalid, SignInRefused
from models.web.people import Clock, Person, person_of
from models.web.site import PageSite
from models.web.tables import AccessTables, Storage

CEREMONY = timedelta(minutes=5)
CREDENTIAL_BYTES = 16 << 10
_CHALLENGE_BYTES = 32

Purpose = Literal["register", "sign-in"]


@dataclass(frozen=True)
class Ceremony:
    """What a browser gets to begin with: options as JSON, and the id under which the answer comes back."""

    ceremony_id: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Passkey:
    """One of a person's passkeys."""

    credential_id: bytes
    label: str
    added_at: int
    used_at: int | None
    backed_up: bool


class Passkeys:
    """The passkeys of one site."""

    def __init__(self, storage: Storage, tables: AccessTables, site: PageSite, *, name: str, clock: Clock) -> None:
        self._storage = storage
        self._tables = tables
        self._site = site
        self._name = name
        self._clock = clock

    def of(self, person_id: str) -> list[Passkey]:
        """A person's passkeys, the oldest first."""
        keys = self._tables.passkeys
        with self._storage.reading() as session:
            rows = session.execute(
                select(keys).where(keys.c.person_id == person_id).order_by(keys.c.added_at, keys.c.credential_id)
            ).all()
        return [Passkey(row.credential_id, row.label, row.added_at, row.used_at, row.backed_up) for row in rows]

    def begin_registration(self, person: Person) -> Ceremony:
        """Options for making a passkey of a person's."""
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        options = generate_registration_options(
            rp_id=self._site.hostname,
            rp_name=self._name,
            user_name=person.name,
            user_id=person.person_id.encode(),
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[
                PublicKeyCredentialDescriptor(id=each.credential_id) for each in self.of(person.person_id)
            ],
        )
        return self._keep("register", person.person_id, challenge, json.loads(options_to_json(options)))

    def register(self, session: Session, person: Person, challenge: bytes, credential: str, label: str) -> None:
        """Store a new passkey in the caller's transaction.

        Args:
            session: the transaction.
            person: whose it is.
            challenge: from `take`.
            credential: the browser's answer, JSON.
            label: the person's own word for it.

        Raises:
            FormInvalid: it does not answer the challenge, or is somebody's already.
        """
        try:
            made = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._site.hostname,
                expected_origin=self._site.origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise _unusable() from error
        keys = self._tables.passkeys
        known = session.execute(select(keys.c.person_id).where(keys.c.credential_id == made.credential_id)).first()
        if known is not None:
            raise _unusable()
        session.execute(
            insert(keys).values(
                credential_id=made.credential_id,
                person_id=person.person_id,
                public_key=made.credential_public_key,
                sign_count=made.sign_count,
                backed_up=made.credential_backed_up,
                label=(label.strip() or "passkey")[:64],
                added_at=self._now(),
            )
        )

    def begin_sign_in(self) -> Ceremony:
        """Options for signing in with whichever passkey the person chooses."""
        challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        options = generate_authentication_options(
            rp_id=self._site.hostname, challenge=challenge, user_verification=UserVerificationRequirement.REQUIRED
        )
        return self._keep("sign-in", None, challenge, json.loads(options_to_json(options)))

    def sign_in(self, session: Session, challenge: bytes, credential: str) -> Person:
        """Whose passkey answers a challenge of `take`, in the caller's transaction; SignInRefused for any cause."""
        keys, people = self._tables.passkeys, self._tables.people
        row = session.execute(
            select(people, keys.c.credential_id, keys.c.public_key, keys.c.sign_count)
            .join(people, people.c.person_id == keys.c.person_id)
            .where(keys.c.credential_id == _credential_id(credential))
        ).first()
        if row is None:
            raise refused()
        try:
            used = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._site.hostname,
                expected_origin=self._site.origin,
                credential_public_key=row.public_key,
                credential_current_sign_count=row.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise refused() from error
        session.execute(
            update(keys)
            .where(keys.c.credential_id == row.credential_id)
            .values(sign_count=used.new_sign_count, backed_up=used.credential_backed_up, used_at=self._now())
        )
        return person_of(row)

    def remove(self, session: Session, person_id: str, credential_id: bytes) -> None:
        """Delete one of a person's own passkeys; FormInvalid where it is none of theirs."""
        keys = self._tables.passkeys
        gone = session.execute(
            delete(keys)
            .where(keys.c.person_id == person_id, keys.c.credential_id == credential_id)
            .returning(keys.c.credential_id)
        ).first()
        if gone is None:
            raise FormInvalid("You have no such passkey.", field="passkey", remedy="Open your account's page again.")

    def take(self, purpose: Purpose, ceremony_id: str, person_id: str | None = None) -> bytes:
        """Take a challenge out, in a transaction of its own, so that it is answered once whatever comes of it.

        Raises:
            FormInvalid, SignInRefused: there is none for this purpose and person, or its time is over.
        """
        ceremonies = self._tables.ceremonies
        with self._storage.session() as session:
            row = session.execute(
                delete(ceremonies)
                .where(ceremonies.c.id_sha256 == _sha256(ceremony_id))
                .returning(
                    ceremonies.c.purpose, ceremonies.c.person_id, ceremonies.c.challenge, ceremonies.c.expires_at
                )
            ).first()
        if row is None or row.expires_at <= self._now() or (row.purpose, row.person_id) != (purpose, person_id):
            raise refused() if purpose == "sign-in" else _unusable()
        return bytes(row.challenge)

    def _keep(self, purpose: Purpose, person_id: str | None, challenge: bytes, options: dict[str, Any]) -> Ceremony:
        ceremonies, now = self._tables.ceremonies, self._now()
        ceremony_id = secrets.token_urlsafe(32)
        with self._storage.session() as session:
            session.execute(delete(ceremonies).where(ceremonies.c.expires_at <= now))
            session.execute(
                insert(ceremonies).values(
                    id_sha256=_sha256(ceremony_id),
                    purpose=purpose,
                    person_id=person_id,
                    challenge=challenge,
                    expires_at=now + int(CEREMONY.total_seconds()),
                )
            )
        return Ceremony(ceremony_id, options)

    def _now(self) -> int:
        return int(self._clock().timestamp())


def refused() -> SignInRefused:
    """The one refusal of sign-ins, whatever the cause."""
    return SignInRefused(
        "This does not sign you in.",
        remedy="Check name, password and code, or choose the passkey of this site; a code counts once.",
    )


def _unusable() -> FormInvalid:
    return FormInvalid("This passkey cannot be used here.", field="passkey", remedy="Open the page again and make one.")


def _credential_id(credential: str) -> bytes:
    try:
        given = json.loads(credential)["id"]
        return base64url_to_bytes(given)
    except (ValueError, KeyError, TypeError) as error:
        raise refused() from error


def _sha256(ceremony_id: str) -> bytes:
    return hashlib.sha256(ceremony_id.encode()).digest()
