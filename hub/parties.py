"""Enrolled parties. Enrolled is not yet approved: nodes, and the hub for what is signed, go by the cosigned roster."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.wire.party import Party
from crypto.wire.service import WitnessInfo
from hub.db import Database
from hub.tables.parties import PartyRow

WITNESS = "witness"
CLIENT = "client"


def party_of(row: PartyRow) -> Party:
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


class PartyBook:
    """Looks enrolled parties up; `hub.enrolment` writes them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, party_id: str) -> Party | None:
        """Return an enrolled party, approved or not."""
        with self._db.reading() as session:
            row = session.get(PartyRow, party_id)
            return None if row is None else party_of(row)

    def by_kind(self, kind: str) -> tuple[Party, ...]:
        """Return the enrolled parties of a kind, in order of id."""
        return tuple(party for party in self.all() if party.kind == kind)

    def all(self) -> tuple[Party, ...]:
        """Return all enrolled parties, in order of id."""
        with self._db.reading() as session:
            rows = session.scalars(select(PartyRow).order_by(PartyRow.party_id))
            # Sorted again: databases collate hyphens differently, and the roster's order is signed.
            return tuple(sorted((party_of(row) for row in rows), key=lambda party: party.party_id))

    def witness(self) -> Party | None:
        """Return the enrolled witness."""
        with self._db.reading() as session:
            row = find_witness(session)
            return None if row is None else party_of(row)

    def witness_info(self) -> WitnessInfo | None:
        """Return the witness's public keys, its VOPRF key among them."""
        with self._db.reading() as session:
            row = find_witness(session)
            if row is None or row.voprf_key is None:
                return None
            return WitnessInfo(party_id=row.party_id, sign_key=row.sign_key, voprf_key=row.voprf_key)
