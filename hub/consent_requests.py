"""Consents that parties ask merchants for: proposed by a party's signature, answered by the merchant's (2).

R1  A recipient that the terms name, or a client, signs a request: whom it asks, on which terms, until when. The hub
    checks the terms as it would check a consent, stores and logs it without identifiers.
R2  The merchant reads the requests about itself by a signed request of its own, each in the party's own signed words.
R3  It agrees by signing a consent whose id is the request's, on these terms or narrower ones (`answer_requests`), or
    refuses by one signed event. Both are final for the request, and equally easy.
R4  The party may withdraw what was not answered; what nobody answered expires.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crypto.jws import peek_payload
from crypto.wire.audit import EntryType
from crypto.wire.consent import ConsentEvent
from crypto.wire.consent_request import (
    ConsentRequest,
    ConsentRequestReceipt,
    ConsentRequestStanding,
    ReceivedRequest,
    ReceivedRequests,
)
from crypto.wire.party import Party
from hub.clock import Clock, moment, seconds
from hub.consent_checks import check_terms
from hub.consent_request_answers import ended, state_of
from hub.db import Database
from hub.errors import ConsentRefusedError, NotFoundError
from hub.log import AuditLog, NewEntry
from hub.log_places import places_of
from hub.merchant_errors import ConsentRequestError
from hub.merchant_keys import newest_keys
from hub.merchant_signatures import verify_one
from hub.notices import check_notice, register_of
from hub.parties import CLIENT, PartyBook
from hub.party_signatures import verify_body
from hub.roster import RosterKeeper
from hub.tables.consent_requests import ConsentRequestRow
from hub.tables.consents import ConsentRow

REQUEST_TYPE = "consent-request"
LONGEST = timedelta(days=90)
MOST_OPEN = 5
"""Open requests of one party to one merchant."""
MAX_REQUEST = 65_536
_SKEW = timedelta(minutes=5)


class ConsentRequests:
    """The book of consent requests.

    Args:
        db, log, roster, parties, clock: the hub's.
        hub_id: the actor of merchants' refusals in the log.
        link: the page on which a merchant answers; the request's id follows it.
        recipient_kinds: kinds of parties that may receive scores.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        roster: RosterKeeper,
        parties: PartyBook,
        *,
        hub_id: str,
        link: str,
        recipient_kinds: Iterable[str],
        clock: Clock,
    ) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._parties = parties
        self._hub_id = hub_id
        self._link = link
        self._recipient_kinds = frozenset(recipient_kinds)
        self._clock = clock

    def propose(self, token: str) -> ConsentRequestReceipt:
        """R1: take a request. Sent again, or signed again on the same terms, it changes nothing.

        Args:
            token: JWS `consent-request`.

        Raises:
            PartyUnknownError, SignatureError, ForbiddenError, UnauthorisedError: see `verify_body`.
            ConsentRefusedError: its terms could not become a consent.
            ConsentRequestError: too large, too long open, too many, of an id that was used, or none of the party's
                business.
        """
        if len(token) > MAX_REQUEST:
            raise _refused("The request is too large.", "body", "Name fewer recipients and categories.")
        now = self._clock()
        party, body = verify_body(self._roster, token, REQUEST_TYPE, ConsentRequest, now=now)
        self._check(party, body, now)
        sha256 = hashlib.sha256(peek_payload(token)).digest()
        with self._db.session() as session:
            row = session.get(ConsentRequestRow, body.request_id)
            if row is None:
                check_notice(register_of(session), body.terms, now, now)
                row = self._store(session, token, body, sha256, seconds(now))
            elif not _same(row, body):
                raise _refused("Another request has this id.", "request_id", "Give each a fresh random id.")
            return ConsentRequestReceipt(
                request_id=body.request_id,
                state=state_of(row, seconds(now)),
                link=self._link + body.request_id,
                enrolled=body.pii_principal_id in newest_keys(session, [body.pii_principal_id]),
                answer_by=moment(row.answer_by),
            )

    def _check(self, party: Party, body: ConsentRequest, now: datetime) -> None:
        if party.kind != CLIENT and party.party_id not in body.terms.recipients:
            raise _refused(
                "Only a recipient that the terms name, or a client, asks for a consent.",
                "terms.recipients",
                "Name yourself among the recipients.",
            )
        if not now < body.answer_by <= now + LONGEST + _SKEW:
            raise _refused(
                f"A request is open until a time in the future, and for {LONGEST.days} days at most.",
                "answer_by",
                "Give it another end, and sign again.",
            )
        check_terms(body.terms, {each.party_id: each for each in self._parties.all()}, self._recipient_kinds, now)

    def _store(self, session: Session, token: str, body: ConsentRequest, sha256: bytes, now: int) -> ConsentRequestRow:
        if session.get(ConsentRow, body.request_id) is not None:
            raise _refused("A consent has this id.", "request_id", "Give each a fresh random id.")
        waiting = select(func.count(ConsentRequestRow.request_id)).where(
            ConsentRequestRow.party_id == body.party_id,
            ConsentRequestRow.pseudonym == body.pii_principal_id,
            ConsentRequestRow.state == "open",
            ConsentRequestRow.answer_by > now,
        )
        if (session.scalar(waiting) or 0) >= MOST_OPEN:
            raise _refused(
                f"{MOST_OPEN} requests of yours wait for this merchant already.",
                "pii_principal_id",
                "Withdraw one, or wait for the answers.",
            )
        row = ConsentRequestRow(
            request_id=body.request_id,
            party_id=body.party_id,
            pseudonym=body.pii_principal_id,
            payload_sha256=sha256,
            token=token,
            state="open",
            answer_by=seconds(body.answer_by),
            created_at=now,
        )
        session.add(row)
        self._note(session, "consent-request", body.party_id, row, sha256)
        return row

    def standing(self, request_id: str, *, party_id: str) -> ConsentRequestStanding:
        """Say where a party's own request stands; NotFoundError where it has none of this id."""
        with self._db.reading() as session:
            row = session.get(ConsentRequestRow, request_id)
            if row is None or row.party_id != party_id:
                raise _unknown()
            return self._standing(session, row)

    def withdraw(self, request_id: str, *, party_id: str) -> ConsentRequestStanding:
        """R4: end a party's own open request; once more changes nothing.

        Raises:
            NotFoundError: it has none of this id.
            ConsentRequestStateError: the merchant has answered.
        """
        with self._db.session() as session:
            row = session.get(ConsentRequestRow, request_id, with_for_update=True)
            if row is None or row.party_id != party_id:
                raise _unknown()
            if row.state in ("signed", "refused"):
                raise ended(row.state)
            if row.state == "open":
                row.state, row.ended_at = "withdrawn", seconds(self._clock())
                self._note(session, "consent-request-ended", party_id, row, row.payload_sha256)
            return self._standing(session, row)

    def refuse(self, token: str) -> ConsentRequestStanding:
        """R3: take a merchant's refusal. Sent again, it changes nothing.

        Args:
            token: JWS `consent-event` with the event `refused`, and the request's id as `record_id`.

        Raises:
            SignatureError, KeyFormatError, MerchantKeyUnknownError, ConsentRefusedError: see `verify_one`.
            NotFoundError: the merchant has no such request.
            ConsentRequestStateError: it was answered otherwise, or withdrawn.
        """
        refusal = verify_one(self._db, token, "consent-event", ConsentEvent)
        with self._db.session() as session:
            row = session.get(ConsentRequestRow, refusal.body.record_id, with_for_update=True)
            if row is None or row.pseudonym != refusal.body.pii_principal_id:
                raise _unknown()
            if refusal.body.event != "refused":
                raise ConsentRefusedError(
                    "A request is answered by a consent or by the event refused.",
                    field="event",
                    remedy="Sign refused; other events are for consents that were given.",
                )
            if row.state not in ("open", "refused"):
                raise ended(row.state)
            if row.state == "open":
                row.state, row.refusal, row.ended_at = "refused", token, seconds(self._clock())
                self._note(session, "consent-request-ended", self._hub_id, row, refusal.sha256)
            return self._standing(session, row)

    def of_merchant(self, pseudonym: bytes) -> ReceivedRequests:
        """R2: the requests about a merchant, open ones first, then the newest."""
        now = seconds(self._clock())
        query = select(ConsentRequestRow).where(ConsentRequestRow.pseudonym == pseudonym)
        with self._db.reading() as session:
            rows = list(session.scalars(query))
        places = places_of(self._log.reader, pseudonym, "consent-request", [row.payload_sha256 for row in rows])
        titles = {party.party_id: party.title for party in self._parties.all()}
        rows.sort(key=lambda row: (state_of(row, now) != "open", -row.created_at, row.request_id))
        return ReceivedRequests(
            requests=tuple(
                ReceivedRequest(
                    request=row.token,
                    party_id=row.party_id,
                    party_title=titles.get(row.party_id, ""),
                    state=state_of(row, now),
                    answer_by=moment(row.answer_by),
                    log_index=places.get(row.payload_sha256),
                )
                for row in rows
            )
        )

    def _standing(self, session: Session, row: ConsentRequestRow) -> ConsentRequestStanding:
        consent = session.get(ConsentRow, row.request_id)
        return ConsentRequestStanding(
            request_id=row.request_id,
            state=state_of(row, seconds(self._clock())),
            consent=None if consent is None else consent.state,
            answer_by=moment(row.answer_by),
        )

    def _note(self, session: Session, kind: EntryType, actor: str, row: ConsentRequestRow, artefact: bytes) -> None:
        facts: Mapping[str, str] = {} if row.state == "open" else {"state": row.state}
        hidden = {"consent": row.request_id.encode(), "artefact": artefact}
        self._log.append_many(session, [NewEntry(kind, actor, row.pseudonym, facts, hidden)])


def _same(row: ConsentRequestRow, body: ConsentRequest) -> bool:
    """Whether a request is the stored one, signed again later perhaps."""
    stored = ConsentRequest.model_validate_json(peek_payload(row.token))
    return stored.model_copy(update={"issued_at": body.issued_at, "answer_by": body.answer_by}) == body


def _refused(message: str, field: str, remedy: str) -> ConsentRequestError:
    return ConsentRequestError(message, field=field, remedy=remedy)


def _unknown() -> NotFoundError:
    return NotFoundError(
        "There is no such request of yours.", field="request_id", remedy="Check the id that the receipt gave."
    )
