"""The witness's half of pseudonyms: evaluates blinded elements for parties of the roster, within a quota (1).

Identifiers are public, so whoever may evaluate may test candidates: the quota, counted for good, bounds that.
"""

from __future__ import annotations

import threading
from datetime import timedelta

import structlog
from sqlalchemy import delete

from crypto.canonical import canonical_bytes
from crypto.jws import peek_kid, verify_model
from crypto.pseudonym import PseudonymKey
from crypto.wire.party import VoprfAnswer, VoprfRequest
from crypto.wire.service import SIGNED_REQUEST_SECONDS
from nodes.clock import Clock, system_clock
from nodes.errors import PolicyRefusal
from nodes.journal import Fact, Journal
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.witness import VoprfNonceRow, VoprfUseRow

_LOG = structlog.get_logger("nodes.witness.voprf")


class VoprfEvaluator:
    """Handles `voprf`."""

    def __init__(
        self,
        store: Store,
        roster: RosterBook,
        journal: Journal,
        *,
        key: PseudonymKey,
        quota: int,
        clock: Clock = system_clock,
    ) -> None:
        """Args:
        store, roster, journal, clock: the witness's.
        key: its VOPRF key.
        quota: identifiers that a party may have evaluated, in all.
        """
        self._store = store
        self._roster = roster
        self._journal = journal
        self._key = key
        self._quota = quota
        self._clock = clock
        self._lock = threading.Lock()

    def evaluate(self, body: bytes) -> bytes:
        """A JWS `voprf` in, JSON of `VoprfAnswer` out.

        Raises:
            SignatureError: it does not verify under the roster's key of its party.
            PeerError: the party is not in the roster.
            PolicyRefusal: it is stale, replayed, for the hub, or beyond the quota.
            PseudonymError: an element is none.
        """
        token = body.decode("ascii", "replace")
        party = self._roster.party(peek_kid(token, typ="voprf"))
        request = verify_model(token, party.sign_key, VoprfRequest, typ="voprf", kid=party.party_id)
        if request.party_id != party.party_id or request.target != "witness":
            raise _refused("voprf-misdirected", "the request is another party's, or for the hub's key")
        count = len(request.blinded)
        remaining = self._reserve(request, count)
        _LOG.info("voprf-evaluation", count=count, party=party.party_id, left=remaining)
        return canonical_bytes(VoprfAnswer(evaluated=self._key.evaluate(list(request.blinded)), remaining=remaining))

    def _reserve(self, request: VoprfRequest, count: int) -> int:
        """Counts before anything is evaluated, so that nothing gets an evaluation for free."""
        now = self._clock()
        fresh = timedelta(seconds=SIGNED_REQUEST_SECONDS)
        if abs(now - request.issued_at) > fresh:
            raise _refused("request-expired", "the request's time is more than 5 minutes from the witness's")
        with self._lock, self._store.session() as session:
            session.execute(delete(VoprfNonceRow).where(VoprfNonceRow.until < int(now.timestamp())))
            if session.get(VoprfNonceRow, (request.party_id, request.nonce)) is not None:
                raise _refused("nonce-reused", "the request was served before")
            row = session.get(VoprfUseRow, request.party_id)
            used = 0 if row is None else row.used
            if used + count > self._quota:
                raise PolicyRefusal(
                    "voprf-quota-exceeded",
                    f"{request.party_id} has had {used} identifiers evaluated and asks for {count}; its quota is "
                    f"{self._quota}",
                    field="blinded",
                    remedy="ask the witness's owner for a larger quota, with the number of your customers",
                )
            until = int((request.issued_at + 2 * fresh).timestamp())
            session.add(VoprfNonceRow(party_id=request.party_id, nonce=request.nonce, until=until))
            session.merge(VoprfUseRow(party_id=request.party_id, used=used + count))
            facts: dict[str, Fact] = {"party": request.party_id, "count": count, "used": used + count}
            self._journal.note("voprf", facts, session=session)
        return self._quota - used - count


def _refused(code: str, what: str) -> PolicyRefusal:
    return PolicyRefusal(code, what, field="request", remedy="sign a fresh request for the witness")
