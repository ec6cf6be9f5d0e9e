"""Tables of people and their sessions, declared once and made in the hub's schema and in the node's store alike.

Secrets are stored as what cannot be turned back: session ids, links and recovery codes as SHA-256 (they are random and
long), passwords as argon2id, TOTP secrets sealed under a key that lies in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.orm import Session

ID = String(32)
NAME = String(64)
SHA256 = LargeBinary
SECONDS = BigInteger


class Storage(Protocol):
    """A database: the hub's `Database` and the node's `Store` are both one."""

    def session(self) -> AbstractContextManager[Session]:
        """One transaction that may write; it sees what was committed before it began."""

    def reading(self) -> AbstractContextManager[Session]:
        """One consistent view that waits for nobody."""


@dataclass(frozen=True)
class AccessTables:
    """The tables in one schema."""

    people: Table
    passkeys: Table
    sessions: Table
    sign_up_links: Table
    recovery_codes: Table
    ceremonies: Table
    looks: Table

    def __iter__(self) -> Iterator[Table]:
        return iter(vars(self).values())


def access_tables(metadata: MetaData) -> AccessTables:
    """Declare the tables in a schema."""
    person = "people.person_id"
    return AccessTables(
        people=Table(
            "people",
            metadata,
            Column("person_id", ID, primary_key=True),
            Column("name", NAME, nullable=False, unique=True),
            Column("roles", String(255), nullable=False),
            Column("added_at", SECONDS, nullable=False),
            Column("joined_at", SECONDS),
            Column("password_hash", String(255)),
            Column("totp_sealed", LargeBinary),
            Column("totp_step", SECONDS),
        ),
        passkeys=Table(
            "passkeys",
            metadata,
            Column("credential_id", LargeBinary, primary_key=True),
            Column("person_id", ID, ForeignKey(person), nullable=False, index=True),
            Column("public_key", LargeBinary, nullable=False),
            Column("sign_count", SECONDS, nullable=False),
            Column("backed_up", Boolean, nullable=False),
            Column("label", String(64), nullable=False),
            Column("added_at", SECONDS, nullable=False),
            Column("used_at", SECONDS),
        ),
        sessions=Table(
            "sessions",
            metadata,
            Column("id_sha256", SHA256, primary_key=True),
            Column("person_id", ID, ForeignKey(person), nullable=False, index=True),
            Column("means", String(16), nullable=False),
            Column("signed_in_at", SECONDS, nullable=False),
            Column("seen_at", SECONDS, nullable=False),
        ),
        sign_up_links=Table(
            "sign_up_links",
            metadata,
            Column("token_sha256", SHA256, primary_key=True),
            Column("person_id", ID, ForeignKey(person), nullable=False, index=True),
            Column("totp_sealed", LargeBinary, nullable=False),
            Column("expires_at", SECONDS, nullable=False),
        ),
        recovery_codes=Table(
            "recovery_codes",
            metadata,
            Column("code_sha256", SHA256, primary_key=True),
            Column("person_id", ID, ForeignKey(person), nullable=False, index=True),
        ),
        ceremonies=Table(
            "ceremonies",
            metadata,
            Column("id_sha256", SHA256, primary_key=True),
            Column("purpose", String(16), nullable=False),
            Column("person_id", ID),
            Column("challenge", LargeBinary, nullable=False),
            Column("expires_at", SECONDS, nullable=False, index=True),
        ),
        looks=Table(
            "looks",
            metadata,
            Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False),
            Column("looked_at", SECONDS, nullable=False, index=True),
            Column("person_id", ID, nullable=False, index=True),
            Column("name", NAME, nullable=False),
            Column("what", String(64), nullable=False),
            Column("subject", LargeBinary, nullable=False, index=True),
            Column("entry", Text, nullable=False),
            Column("hash", LargeBinary, nullable=False),
        ),
    )
