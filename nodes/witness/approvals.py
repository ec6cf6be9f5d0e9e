"""Which parties the witness's owner approved, by name and fingerprint (docs/protocol.md, 0).

Enrolling at the hub gives nobody a place in the roster: without the owner's word a hub could fill it with nodes of its
own, against whom no noise share and no countersignature would mean anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import delete, select

from crypto.wire.party import Party
from nodes.clock import Clock, system_clock
from nodes.errors import ConfigError
from nodes.fingerprint import party_fingerprint
from nodes.store import Store
from nodes.tables.witness import ApprovalRow, ProposedPartyRow


@dataclass(frozen=True)
class Approval:
    """A party as the owner knows it; `proposed` is what the hub proposes and is not, or no longer, approved."""

    party_id: str
    fingerprint: str | None
    proposed: Party | None

    @property
    def proposed_fingerprint(self) -> str | None:
        """The fingerprint to compare with the party's owner."""
        party = self.proposed
        if party is None:
            return None
        return party_fingerprint(party.party_id, party.kind, party.sign_key, party.box_key)


class Approvals:
    """The owner's approvals in the witness's store. Another process may change them at any time."""

    def __init__(self, store: Store, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._clock = clock

    def approve(self, party_id: str, fingerprint: str) -> None:
        """Approve a party under exactly this fingerprint; an earlier approval of the same name is replaced.

        Raises:
            ConfigError: that is no fingerprint, or the hub proposed this party with another.
        """
        text = fingerprint.strip()
        if not text.startswith("SHA256:") or len(text) != 50:
            raise ConfigError(
                f"{text} is not a fingerprint",
                field="fingerprint",
                remedy="copy all of SHA256:… that digua-node init printed for the party as its fingerprint",
            )
        with self._store.session() as session:
            proposed = session.get(ProposedPartyRow, party_id)
            if proposed is not None:
                actual = Approval(party_id, None, _party(proposed.party)).proposed_fingerprint
                if actual != text:
                    raise ConfigError(
                        f"the hub proposes {party_id} with the fingerprint {actual}",
                        field="fingerprint",
                        remedy="compare with the party's owner by telephone; do not approve until both agree",
                    )
                session.delete(proposed)
            moment = int(self._clock().timestamp())
            session.merge(ApprovalRow(party_id=party_id, fingerprint=text, approved_at=moment))

    def withdraw(self, party_id: str) -> bool:
        """Take an approval back; the next roster will not have the party. False where there was none."""
        with self._store.session() as session:
            row = session.get(ApprovalRow, party_id)
            if row is not None:
                session.delete(row)
            return row is not None

    def unapproved(self, parties: Iterable[Party]) -> list[str]:
        """Names of those who are not approved with these keys; they are kept for the owner to look at."""
        with self._store.session() as session:
            approved = {row.party_id: row.fingerprint for row in session.scalars(select(ApprovalRow))}
            missing: list[str] = []
            for party in parties:
                actual = party_fingerprint(party.party_id, party.kind, party.sign_key, party.box_key)
                if approved.get(party.party_id) == actual:
                    session.execute(delete(ProposedPartyRow).where(ProposedPartyRow.party_id == party.party_id))
                    continue
                missing.append(party.party_id)
                moment = int(self._clock().timestamp())
                data = party.model_dump_json().encode()
                session.merge(ProposedPartyRow(party_id=party.party_id, party=data, proposed_at=moment))
        return missing

    def list(self) -> list[Approval]:
        """All approved and proposed parties, in order of their names."""
        with self._store.reading() as session:
            approved = {row.party_id: row.fingerprint for row in session.scalars(select(ApprovalRow))}
            proposed = {row.party_id: _party(row.party) for row in session.scalars(select(ProposedPartyRow))}
        return [Approval(name, approved.get(name), proposed.get(name)) for name in sorted({*approved, *proposed})]


def _party(data: bytes) -> Party:
    try:
        return Party.model_validate_json(data)
    except ValidationError as problem:
        raise ConfigError(
            "a proposed party in the store cannot be read", field="data_dir", remedy="restore it from its backup"
        ) from problem
