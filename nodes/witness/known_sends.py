"""The witness tells a node which of its sends it knows, so that no charge is forgotten with a store (3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import select

from crypto.attempts import WitnessAttempt
from crypto.jws import peek_kid, sign_model, verify_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.charges import ChargesQuestion, KnownSend, KnownSends
from crypto.wire.service import SIGNED_REQUEST_SECONDS
from nodes.attempt_states import read_state
from nodes.clock import Clock, system_clock
from nodes.errors import PolicyRefusal
from nodes.roster import RosterBook
from nodes.rounds_check import is_try_of
from nodes.store import Store
from nodes.tables.witness_attempts import WitnessAttemptRow
from nodes.terms_check import read_terms


class KnownSendsDesk:
    """Handles `charges`."""

    def __init__(
        self, store: Store, roster: RosterBook, *, witness_id: str, identity: Signer, clock: Clock = system_clock
    ) -> None:
        self._store = store
        self._roster = roster
        self._witness_id = witness_id
        self._identity = identity
        self._clock = clock

    def answer(self, body: bytes) -> bytes:
        """A JWS `charges-question` in, a JWS `charges` out.

        Raises:
            SignatureError: it does not verify under the roster's key of its party.
            PeerError: the party is not in the roster.
            PolicyRefusal: it is stale, or another party's.
        """
        token = body.decode("ascii", "replace")
        party = self._roster.party(peek_kid(token, typ="charges-question"))
        question = verify_model(token, party.sign_key, ChargesQuestion, typ="charges-question", kid=party.party_id)
        now = self._clock()
        if question.party_id != party.party_id or abs(now - question.issued_at) > timedelta(
            seconds=SIGNED_REQUEST_SECONDS
        ):
            raise PolicyRefusal(
                "request-expired",
                "the question is another party's, or its time is more than 5 minutes from the witness's",
                field="issued_at",
                remedy="set the clock, ask again",
            )
        known = KnownSends(
            suite=SUITE,
            party_id=party.party_id,
            nonce=question.nonce,
            issued_at=now,
            sends=tuple(sorted(self._sends(party.party_id), key=lambda send: send.attempt)),
        )
        return sign_model(known, self._identity, typ="charges", kid=self._witness_id).encode()

    def _sends(self, party_id: str) -> Iterator[KnownSend]:
        columns = (
            WitnessAttemptRow.attempt,
            WitnessAttemptRow.state,
            WitnessAttemptRow.phase,
            WitnessAttemptRow.progress,
            WitnessAttemptRow.campaign_id,
            WitnessAttemptRow.terms,
            WitnessAttemptRow.key.is_(None).label("ended"),
        )
        with self._store.reading() as session:
            rows = session.execute(select(*columns).where(WitnessAttemptRow.phase != "void")).all()
        states = {
            row.attempt: read_state(WitnessAttempt, WitnessAttemptRow(attempt=row.attempt, state=row.state))
            for row in rows
        }
        runs = {row.attempt: row.ended for row in rows if states[row.attempt].sort == "round"}
        for row in rows:
            state = states[row.attempt]
            run = next((each for each in runs if is_try_of(each, row.attempt)), None)
            of_run = state if run is None else states[run]
            if party_id not in of_run.acceptances or (state.sort == "round" and run is None):
                continue
            privacy = read_terms(row.terms, self._roster).terms.privacy
            yield KnownSend(
                attempt=row.attempt,
                campaign_id=row.campaign_id,
                run=run,
                h=state.h,
                mechanisms=privacy.mechanisms,
                delta_sum=privacy.delta_sum,
                certain=party_id in state.receipts if run is None else runs[run],
            )
