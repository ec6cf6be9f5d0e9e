"""Enrolled parties. Enrolled is not yet approved: nodes, and the hub for what is signed, go by the cosigned roster."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from crypto.dated import verify_any, verify_dated
from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.succession import line_of
from crypto.wire.party import Party
from crypto.wire.service import WitnessInfo
from hub.clock import seconds
from hub.db import Database
from hub.errors import StateError
from hub.tables.parties import KeySuccessionRow, PartyRow

M = TypeVar("M", bound=BaseModel)
WITNESS = "witness"
CLIENT = "client"
# One statement, as it is asked for each checkpoint: the witness, once for each change of its key.
_WITNESS = (
    select(PartyRow.__table__, KeySuccessionRow.token)
    .outerjoin(KeySuccessionRow, KeySuccessionRow.party_id == PartyRow.party_id)
    .where(PartyRow.kind == WITNESS)
    .order_by(KeySuccessionRow.holds_from)
)


@dataclass(frozen=True)
class Witness:
    """The enrolled witness: as the roster has it, and all its signing keys, those before and after among them."""

    party: Party
    keys: KeyLine

    @property
    def party_id(self) -> str:
        """Its id."""
        return self.party.party_id

    @property
    def sign_key(self) -> bytes:
        """The key under which it is enrolled now, 32 bytes; `keys` says what may have signed at which time."""
        return self.party.sign_key

    def stored(self, token: str, model: type[M], *, typ: str) -> M:
        """Verify what lies in the hub's own store, which was judged by its time when it came; SignatureError."""
        return verify_any(token, self.keys, model, typ=typ, kid=self.party_id)

    def dated(self, token: str, model: type[M], *, typ: str) -> M:
        """Verify what it answered, under the key that held at the date in it; SignatureError."""
        return verify_dated(token, self.keys, model, typ=typ, kid=self.party_id)

    def at(self, moment: datetime) -> Party:
        """The party with the key that holds at a moment."""
        return self.party.model_copy(update={"sign_key": self.keys.at(moment)})


def party_of(row: PartyRow | Row[*tuple[Any, ...]]) -> Party:
    """Return a row as the wire's party."""
    return Party(
        party_id=row.party_id,
        kind=row.kind,
        region=row.region,
        title=row.title,
        sign_key=row.sign_key,
        box_key=row.box_key,
        training_key=row.training_key,
    )


def find_witness(session: Session) -> PartyRow | None:
    """Return the one enrolled witness, if any."""
    return session.scalar(select(PartyRow).where(PartyRow.kind == WITNESS))


def witness_of(session: Session) -> Witness | None:
    """Return the one enrolled witness with its keys; nothing in the session waits to be flushed.

    Raises:
        StateError: the statements which of its keys follow which contradict each other.
    """
    rows = session.connection().execute(_WITNESS).all()
    if not rows:
        return None
    party = party_of(rows[0])
    return Witness(party, _line(party.sign_key, tuple(row.token for row in rows if row.token), party.party_id))


@lru_cache(maxsize=16)
def _line(enrolled: bytes, statements: tuple[str, ...], witness_id: str) -> KeyLine:
    try:
        return line_of(enrolled, statements, witness_id)
    except CryptoError as error:
        raise StateError(
            f"The successions of the witness's keys do not fit together: {error.message}",
            field="database",
            remedy="Restore the database from its newest backup; keep what lies there now as evidence.",
        ) from error


class PartyBook:
    """Looks enrolled parties up; `hub.enrolment` writes them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, party_id: str) -> Party | None:
        """Return an enrolled party, approved or not."""
        with self._db.reading() as session:
            row = session.get(PartyRow, party_id)
            return None if row is None else party_of(row)

    def keys_of(self, party_id: str) -> KeyLine | None:
        """Return the signing keys of an enrolled party; the witness has as many as followed each other."""
        with self._db.reading() as session:
            row = session.get(PartyRow, party_id)
            if row is None:
                return None
            witness = witness_of(session) if row.kind == WITNESS else None
            return KeyLine.of(row.sign_key) if witness is None else witness.keys

    def follow_witness(self, now: datetime) -> None:
        """R3: have the witness enrolled under the key that holds now, where another one has followed its former."""
        with self._db.reading() as session:
            witness = witness_of(session)
        if witness is None or witness.keys.at(now) == witness.sign_key:
            return
        with self._db.session() as session:
            row, witness = find_witness(session), witness_of(session)
            if row is not None and witness is not None:
                row.sign_key, row.changed_at = witness.keys.at(now), seconds(now)

    def by_kind(self, kind: str) -> tuple[Party, ...]:
        """Return the enrolled parties of a kind, in order of id."""
        return tuple(party for party in self.all() if party.kind == kind)

    def all(self) -> tuple[Party, ...]:
        """Return all enrolled parties, in order of id."""
        with self._db.reading() as session:
            rows = session.scalars(select(PartyRow).order_by(PartyRow.party_id))
            # Sorted again: databases collate hyphens differently, and the roster's order is signed.
            return tuple(sorted((party_of(row) for row in rows), key=lambda party: party.party_id))

    def witness(self) -> Witness | None:
        """Return the enrolled witness and its keys."""
        with self._db.reading() as session:
            return witness_of(session)

    def witness_info(self) -> WitnessInfo | None:
        """Return the witness's public keys, its VOPRF key among them."""
        with self._db.reading() as session:
            row = find_witness(session)
            if row is None or row.voprf_key is None:
                return None
            return WitnessInfo(party_id=row.party_id, sign_key=row.sign_key, voprf_key=row.voprf_key)
