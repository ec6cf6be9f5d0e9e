"""The ledger against what the witness knows, before a node takes part in training (docs/protocol.md, 3).

A store that was set back has forgotten charges, and the node would spend privacy that its merchants no longer have. So
once after each start, before it answers the first training message:

N1  The node asks the witness, by a signed question with a nonce, which of its sends it knows; the answer is the
    witness's signature over them. The hub only carries both.
N2  Each send that is certain and not in the ledger is charged now. Its bytes are gone: asked for them, it refuses.
N3  Where the store is a copy that was restored, sends that the node may have made are charged, too, and the keys of
    attempts under way are deleted, so that nothing is masked twice under one key.
N4  Without an answer the node takes no part in training. Scoring goes on.
"""

from __future__ import annotations

import threading
from secrets import token_bytes

import structlog
from sqlalchemy import delete, select

from crypto.dated import verify_dated
from crypto.jws import sign_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.charges import ChargesQuestion, KnownSend, KnownSends
from nodes.clock import Clock, system_clock
from nodes.errors import LedgerError
from nodes.hub_client import HubClient
from nodes.journal import Journal
from nodes.ledger import Ledger
from nodes.roster import RosterBook
from nodes.rounds_check import unpaid_mechanisms
from nodes.store import Store
from nodes.tables.attempts import AttemptBlobRow, AttemptKeyRow
from nodes.tables.copies import StoreCopyRow

_LOG = structlog.get_logger("nodes.charge_reconciliation")


class ChargeReconciliation:
    """Reconciles once in the life of a process; `require` does it where it was not done yet."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        roster: RosterBook,
        hub: HubClient,
        journal: Journal,
        *,
        party_id: str,
        identity: Signer,
        clock: Clock = system_clock,
    ) -> None:
        """Args:
        store, ledger, roster, hub, journal: the node's.
        party_id, identity: who asks.
        clock: its time.
        """
        self._store = store
        self._ledger = ledger
        self._roster = roster
        self._hub = hub
        self._journal = journal
        self._party_id = party_id
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._done = False

    def require(self) -> None:
        """N1 to N4.

        Raises:
            PeerError: hub or witness cannot be reached, or refuse.
            SignatureError: the answer is not the witness's.
            LedgerError: it answers another question.
        """
        with self._lock:
            if not self._done:
                self.reconcile()
                self._done = True

    def reconcile(self) -> tuple[str, ...]:
        """N1 to N3; returns the attempts that were charged now. Raises as `require`."""
        known = self._ask()
        with self._store.reading() as session:
            copy = session.scalars(select(StoreCopyRow).where(StoreCopyRow.settled_at.is_(None))).first() is not None
        charged = self._charge([send for send in known.sends if send.certain or copy])
        if copy:
            with self._store.session() as session:
                session.execute(delete(AttemptKeyRow))
                session.execute(delete(AttemptBlobRow))
                for row in session.scalars(select(StoreCopyRow).where(StoreCopyRow.settled_at.is_(None))):
                    row.settled_at = int(self._clock().timestamp())
            self._store.scrub()
        if charged or copy:
            self._journal.note("ledger-reconciled", {"charged": len(charged), "restored": copy})
        return charged

    def _ask(self) -> KnownSends:
        """N1."""
        question = ChargesQuestion(suite=SUITE, party_id=self._party_id, nonce=token_bytes(16), issued_at=self._clock())
        token = sign_model(question, self._identity, typ="charges-question", kid=self._party_id)
        answer = self._hub.bring("/v1/charges", token).decode("ascii", "replace").strip()
        known = verify_dated(answer, self._roster.witness_keys, KnownSends, typ="charges", kid=self._roster.witness_id)
        if (known.party_id, known.nonce) != (question.party_id, question.nonce):
            raise LedgerError(
                "the witness's list of sends answers another question",
                field="nonce",
                remedy="ask the hub's operator, who carried it",
            )
        return known

    def _charge(self, sends: list[KnownSend]) -> tuple[str, ...]:
        """N2."""
        own = {charge.attempt for charge in self._ledger.charges()}
        charged: list[str] = []
        for send in sends:
            if send.attempt in own:
                continue
            mechanisms, delta_sum = send.mechanisms, send.delta_sum
            if send.run is not None:
                mechanisms = unpaid_mechanisms(self._ledger, send.campaign_id, send.run, mechanisms)
                delta_sum = delta_sum if mechanisms else 0.0
            self._ledger.record_forgotten(
                campaign_id=send.campaign_id,
                attempt=send.attempt,
                h=send.h,
                mechanisms=mechanisms,
                delta_sum=delta_sum,
            )
            _LOG.error("sent-attempt-charged-now", attempt=send.attempt)
            charged.append(send.attempt)
        return tuple(charged)
