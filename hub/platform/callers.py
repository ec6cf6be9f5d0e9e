"""Callers of the platform's API: banks' and insurers' core systems, the programme office, operators, the regulator.

Each has keys of its own, made on the command line of the platform's machine and shown once. A key has 256 bits of
chance, so its SHA-256 alone tells nothing of it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from sqlalchemy import select

from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.errors import ForbiddenError, UnauthorisedError
from hub.platform.audit import AuditRecord
from hub.platform.errors import KeyUnknownError
from hub.platform.tables.callers import ApiKeyRow

CallerKind: TypeAlias = Literal["bank", "insurer", "government", "operator", "regulator"]
KINDS: tuple[CallerKind, ...] = get_args(CallerKind)
_PREFIX = "tsk_"


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        party: the bank's, the insurer's, the office's or the authority's name; of an operator, the person's.
    """

    kind: CallerKind
    party: str

    @property
    def actor(self) -> str:
        """As the audit record names it."""
        return f"{self.kind}:{self.party}"

    def one_of(self, *kinds: CallerKind) -> Caller:
        """Return the caller if it is of one of these kinds; ForbiddenError if not."""
        if self.kind not in kinds:
            raise ForbiddenError(
                f"This is for {' and '.join(kinds)} alone.",
                field="Authorization",
                remedy="Use a key of such a caller.",
            )
        return self


@dataclass(frozen=True)
class KeyMade:
    """A key as it is listed; never the key itself."""

    key_id: str
    caller: Caller
    made_at: datetime
    revoked_at: datetime | None


class CallerBook:
    """The API's keys."""

    def __init__(self, db: Database, audit: AuditRecord, clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock

    def make(self, caller: Caller, *, actor: str) -> str:
        """Make a key; returned here and never again."""
        key, key_id = _PREFIX + secrets.token_urlsafe(32), secrets.token_hex(8)
        with self._db.session() as session:
            session.add(
                ApiKeyRow(
                    key_sha256=_hashed(key),
                    key_id=key_id,
                    kind=caller.kind,
                    party=caller.party,
                    made_at=seconds(self._clock()),
                )
            )
            self._audit.write(session, actor, "key-make", caller.actor, {"key_id": key_id})
        return key

    def revoke(self, key_id: str, *, actor: str) -> None:
        """End a key at once.

        Raises:
            KeyUnknownError: there is no such key in use.
        """
        with self._db.session() as session:
            row = session.scalars(select(ApiKeyRow).where(ApiKeyRow.key_id == key_id)).first()
            if row is None or row.revoked_at is not None:
                raise KeyUnknownError(f"There is no key {key_id} in use.", field="key_id", remedy="List the keys.")
            row.revoked_at = seconds(self._clock())
            self._audit.write(session, actor, "key-revoke", _caller(row).actor, {"key_id": key_id})

    def listed(self) -> list[KeyMade]:
        """Return all keys, the oldest first."""
        with self._db.reading() as session:
            rows = session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.made_at, ApiKeyRow.key_id)).all()
        return [
            KeyMade(
                key_id=row.key_id,
                caller=_caller(row),
                made_at=moment(row.made_at),
                revoked_at=None if row.revoked_at is None else moment(row.revoked_at),
            )
            for row in rows
        ]

    def check(self, authorization: str | None) -> Caller:
        """Accept `Authorization: Bearer <key>`.

        Raises:
            UnauthorisedError: it is missing, unknown or revoked.
        """
        scheme, _, key = (authorization or "").partition(" ")
        with self._db.reading() as session:
            row = session.get(ApiKeyRow, _hashed(key.strip())) if scheme.lower() == "bearer" else None
        if row is None or row.revoked_at is not None:
            raise UnauthorisedError(
                "This needs a key of the platform's API.",
                field="Authorization",
                remedy="Send `Authorization: Bearer <key>`; the platform's operator makes keys.",
            )
        return _caller(row)


def _caller(row: ApiKeyRow) -> Caller:
    kinds: dict[str, CallerKind] = {kind: kind for kind in KINDS}
    return Caller(kinds[row.kind], row.party)


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
