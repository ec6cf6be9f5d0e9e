"""The hub's half of pseudonyms: evaluates blinded elements for approved parties, within a logged quota (1).

V1  The request is verified by the party's key on the cosigned roster; it is fresh and its nonce is new.
V2  Quota, nonce and log entry are committed before anything is evaluated.
V3  The hub evaluates with its own key, or relays the request as it is over the witness's link; the witness verifies it
    again and keeps a quota of its own.

Identifiers are public, so whoever may evaluate may test candidates: approval, quota and log are the defence. Blinded
elements are uniform; they tell the hub nothing, and none is logged.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from sqlalchemy import delete
from sqlalchemy.orm import Session

from crypto.errors import PseudonymError
from crypto.jws import peek_kid, verify_model
from crypto.pseudonym import MAX_BATCH, PseudonymKey
from crypto.wire.party import VoprfAnswer, VoprfRequest
from crypto.wire.service import SIGNED_REQUEST_SECONDS
from hub.clock import Clock, seconds
from hub.config import VoprfQuota
from hub.db import Database
from hub.errors import PeerError, PeerRefused, PeerUnreachable, ReplayError, RequestError, VoprfQuotaError
from hub.log import AuditLog
from hub.parties import PartyBook, Witness
from hub.peers import PeerLinks
from hub.roster import RosterKeeper
from hub.tables.voprf import VoprfNonceRow, VoprfUseRow

RELAY_TIMEOUT_S = 50.0


class Evaluations:
    """Answers requests for evaluations.

    Args:
        db, log, roster, parties, clock: the hub's.
        key: the hub's VOPRF key.
        quota: how many identifiers each party may have evaluated in all, per key holder.
        links: gives the links when they are needed.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        roster: RosterKeeper,
        parties: PartyBook,
        *,
        key: PseudonymKey,
        quota: VoprfQuota,
        clock: Clock,
        links: Callable[[], PeerLinks],
    ) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._parties = parties
        self._key = key
        self._quota = quota
        self._clock = clock
        self._links = links

    def answer(self, token: str) -> VoprfAnswer:
        """V1 to V3 for one JWS `voprf`.

        Raises:
            PartyUnknownError, SignatureError: the signer is not on the cosigned roster, or did not sign.
            RequestError, ReplayError: out of time, or its nonce came before.
            PseudonymError: an empty or too large batch, or an element that is none.
            VoprfQuotaError: the quota does not allow it; the numbers are in the message.
            PeerError: the witness cannot be asked, or refuses.
        """
        request = self._verify(token)
        remaining = self._charge(request)
        if request.target == "hub":
            return VoprfAnswer(evaluated=self._key.evaluate(list(request.blinded)), remaining=remaining)
        return self._relay(token, request)

    def _verify(self, token: str) -> VoprfRequest:
        """V1, but for the nonce."""
        party = self._roster.party(peek_kid(token, typ="voprf"))
        request = verify_model(token, party.sign_key, VoprfRequest, typ="voprf", kid=party.party_id)
        if request.party_id != party.party_id:
            raise RequestError("The request names another party than its signer.", field="party_id")
        if abs(seconds(self._clock()) - seconds(request.issued_at)) > SIGNED_REQUEST_SECONDS:
            raise RequestError(
                "The request's time is more than 5 minutes from the hub's.",
                field="issued_at",
                remedy="Set the clock, sign again.",
            )
        if not 1 <= len(request.blinded) <= MAX_BATCH:
            raise PseudonymError(
                f"A batch has 1 to {MAX_BATCH} elements, not {len(request.blinded)}.",
                field="blinded",
                remedy="Split the batch.",
            )
        return request

    def _charge(self, request: VoprfRequest) -> int:
        """V2: return what is left of the quota."""
        count = len(request.blinded)
        with self._db.session() as session:
            self._spend_nonce(session, request)
            use = _use(session, request.party_id, request.target)
            allowed = self._quota.of(request.party_id)
            if use.used + count > allowed:
                raise VoprfQuotaError(
                    f"{request.party_id} had {use.used} identifiers evaluated and asks for {count} more; "
                    f"its quota is {allowed}.",
                    field="blinded",
                    remedy="Ask the hub's operator to raise voprf_quota for this party to its number of customers.",
                )
            use.used += count
            facts: dict[str, str | int | bool | None] = {"target": request.target, "count": count, "used": use.used}
            self._log.append(session, "voprf", request.party_id, facts=facts)
            return allowed - use.used

    def _spend_nonce(self, session: Session, request: VoprfRequest) -> None:
        oldest = seconds(self._clock()) - 2 * SIGNED_REQUEST_SECONDS
        session.execute(delete(VoprfNonceRow).where(VoprfNonceRow.issued_at < oldest))
        if session.get(VoprfNonceRow, (request.party_id, request.nonce)) is not None:
            raise ReplayError("This signed request was used before.", field="nonce", remedy="Sign each request anew.")
        session.add(VoprfNonceRow(party_id=request.party_id, nonce=request.nonce, issued_at=seconds(request.issued_at)))

    def _relay(self, token: str, request: VoprfRequest) -> VoprfAnswer:
        """V3 for the witness."""
        witness = self._witness()
        try:
            body = self._links().request(witness.party_id, "voprf", token.encode(), RELAY_TIMEOUT_S)
        except (PeerUnreachable, PeerRefused):
            self._give_back(request)  # nothing was evaluated
            raise
        try:
            return VoprfAnswer.model_validate_json(body)
        except ValidationError as error:
            raise PeerError(
                "The witness's answer is malformed.", party=witness.party_id, remedy="Update the witness's software."
            ) from error

    def _witness(self) -> Witness:
        witness = self._parties.witness()
        if witness is None:
            raise PeerError("No witness is enrolled.", remedy="Enrol the regulator's witness first.")
        return witness

    def _give_back(self, request: VoprfRequest) -> None:
        with self._db.session() as session:
            _use(session, request.party_id, request.target).used -= len(request.blinded)


def _use(session: Session, party_id: str, target: str) -> VoprfUseRow:
    row = session.get(VoprfUseRow, (party_id, target), with_for_update=True)
    if row is None:
        row = VoprfUseRow(party_id=party_id, target=target, used=0)
        session.add(row)
        session.flush()
    return row
