"""Revoking a party: it is refused from now on, for good under these keys (docs/operations.md, Revoking a party).

R1  The party leaves the book of parties, its identity key is kept as revoked, and the log says so: one transaction.
R2  Every process of the hub refuses it within `hub.roster.REVOKED_S`: its signed requests, queries to or from it, its
    part in campaigns. Its link ends, in this process at once, elsewhere at the next heartbeat.
R3  The roster is proposed without it. Nodes hear of it over their feed, and trust its key no more.

What was signed before stays as it is. Consents that name it stay stored: nobody may use them any more, as a recipient
that is not on the roster gets no answers and a source that is not gives none.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete

from crypto.keys import fingerprint
from crypto.wire.party import Party
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import EnrolmentError, PartyUnknownError
from hub.log import AuditLog
from hub.parties import WITNESS, party_of
from hub.tables.parties import EnrolmentTokenRow, PartyRow, RevokedKeyRow

MAX_REASON = 500


class Revocation:
    """Takes parties out.

    Args:
        db, log, clock: the hub's.
        hub_id: the actor of the entry.
        on_change: called after the commit with the party's id, so that roster and links follow.
    """

    def __init__(
        self, db: Database, log: AuditLog, *, hub_id: str, clock: Clock, on_change: Callable[[str], None]
    ) -> None:
        self._db = db
        self._log = log
        self._hub_id = hub_id
        self._clock = clock
        self._on_change = on_change

    def revoke(self, party_id: str, reason: str) -> Party:
        """R1; returns the party as it was.

        Args:
            party_id: whose keys are revoked.
            reason: for the log, which everybody may read; names no person.

        Raises:
            PartyUnknownError: no such party is enrolled.
            EnrolmentError: it is the witness, without whom nothing is signed; or there is no reason, or too long a one.
        """
        if not 0 < len(reason.strip()) <= MAX_REASON:
            raise EnrolmentError(
                f"A revocation needs a reason of at most {MAX_REASON} characters.",
                field="reason",
                remedy="Say why in a sentence that names no person: it stands in the public log.",
            )
        with self._db.session() as session:
            row = session.get(PartyRow, party_id)
            if row is None:
                raise PartyUnknownError(
                    f"{party_id} is not enrolled.", field="party_id", remedy="See `digua-hub parties`."
                )
            if row.kind == WITNESS:
                raise EnrolmentError(
                    "The witness cannot be revoked: nothing would be cosigned any more.",
                    field="party_id",
                    remedy="Replace its keys: see docs/operations.md, Keys and their change.",
                )
            party = party_of(row)
            session.add(
                RevokedKeyRow(
                    sign_key=party.sign_key,
                    party_id=party_id,
                    kind=party.kind,
                    title=party.title,
                    reason=reason.strip(),
                    revoked_at=seconds(self._clock()),
                )
            )
            session.execute(delete(EnrolmentTokenRow).where(EnrolmentTokenRow.party_id == party_id))
            session.delete(row)
            self._log.append(
                session,
                "party-revoked",
                self._hub_id,
                facts={
                    "party_id": party_id,
                    "kind": party.kind,
                    "sign_key": fingerprint(party.sign_key),
                    "reason": reason.strip(),
                },
            )
        self._on_change(party_id)
        return party
