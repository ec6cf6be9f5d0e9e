"""Tickets: a merchant asks a party for a human review, a correction or a deletion (PIPL 24, 46, 47).

T1  The merchant signs a ticket to one party that one of its consents names; its text is sealed to that party, so that
    the hub, which keeps and passes it, cannot read it. The deadline is 15 working days.
T2  The party fetches its own tickets with what it needs to trust the merchant's key, and opens the text.
T3  It signs one answer, sealed to the key that the ticket brought for it.
T4  The merchant reads the answer and closes the ticket, answered or not.

Each step is logged without identifiers and without a word of the text.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crypto.jws import peek_payload
from crypto.wire.audit import EntryType, LogEntry
from crypto.wire.ticket import (
    SEALED_BYTES,
    Ticket,
    TicketAnswer,
    TicketClosing,
    TicketItem,
    TicketItems,
    TicketStanding,
    TicketStandings,
    TicketState,
)
from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.errors import NotFoundError, RequestSizeError, UnauthorisedError
from hub.log import AuditLog, Fact, NewEntry
from hub.log_places import places_of
from hub.merchant_errors import TicketError, TicketStateError
from hub.merchant_keys import statement_of
from hub.merchant_signatures import verify_one
from hub.party_signatures import verify_body
from hub.roster import RosterKeeper
from hub.tables.consents import ConsentPartyRow, ConsentRow
from hub.tables.parties import MerchantKeyBatchRow, MerchantKeyRow
from hub.tables.tickets import TicketRow
from hub.working_days import working_days_after

WORKING_DAYS = 15
MOST_OPEN = 20
"""Open tickets of one merchant."""
_MAX_TOKEN = 4 * SEALED_BYTES
_SKEW_S = 300


class Tickets:
    """The book of tickets; merchants' steps are logged under `hub_id`, as merchants are no parties."""

    def __init__(self, db: Database, log: AuditLog, roster: RosterKeeper, *, hub_id: str, clock: Clock) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._hub_id = hub_id
        self._clock = clock

    def open(self, token: str) -> TicketStanding:
        """T1: take a ticket. Sent again, it changes nothing.

        Args:
            token: JWS `merchant-ticket`.

        Raises:
            SignatureError, KeyFormatError, MerchantKeyUnknownError, ConsentRefusedError: see `verify_one`.
            RequestSizeError, UnauthorisedError: it is too large, or out of time.
            PartyUnknownError: the party is not on the cosigned roster.
            TicketError: the party has no consent of the merchant, the reference is to nothing of the merchant's, its
                id was used, or too many are open.
        """
        _check_size(token)
        ticket = verify_one(self._db, token, "merchant-ticket", Ticket)
        now = self._clock()
        body = ticket.body
        with self._db.session() as session:
            row = session.get(TicketRow, body.ticket_id)
            if row is None:
                self._in_time(body.issued_at, now)
                self._check(session, body)
                row = TicketRow(
                    ticket_id=body.ticket_id,
                    pseudonym=body.pii_principal_id,
                    party_id=body.party_id,
                    payload_sha256=ticket.sha256,
                    token=token,
                    key_id=ticket.key_id,
                    state="open",
                    created_at=seconds(now),
                    due_at=seconds(working_days_after(now, WORKING_DAYS)),
                )
                session.add(row)
                self._note(session, "ticket", self._hub_id, row, ticket.sha256, about=body.kind, party=body.party_id)
            elif row.payload_sha256 != ticket.sha256:
                raise _refused("Another ticket has this id.", "ticket_id", "Give each a fresh random id.")
            return _standing(row, None)

    def _check(self, session: Session, body: Ticket) -> None:
        self._roster.party(body.party_id)
        named = (
            select(ConsentRow.record_id)
            .join(ConsentPartyRow, ConsentPartyRow.record_id == ConsentRow.record_id)
            .where(ConsentRow.pseudonym == body.pii_principal_id, ConsentPartyRow.party_id == body.party_id)
        )
        records = set(session.scalars(named))
        if not records:
            raise _refused(
                "None of your consents names this party.", "party_id", "Turn to a party that a consent of yours names."
            )
        reference = body.about.reference
        if body.about.sort == "consent" and reference not in records:
            raise _refused(
                "No consent of yours with this party has this id.", "about.reference", "Take it from the list."
            )
        if body.about.sort == "query" and reference not in self._queries(body.pii_principal_id):
            raise _refused("No query about you has this place.", "about.reference", "Choose from the list.")
        if body.about.sort == "record" and reference is not None:
            raise _refused("A record has no reference.", "about.reference", "Leave it out.")
        waiting = select(func.count(TicketRow.ticket_id)).where(
            TicketRow.pseudonym == body.pii_principal_id, TicketRow.state == "open"
        )
        if (session.scalar(waiting) or 0) >= MOST_OPEN:
            raise _refused(f"{MOST_OPEN} tickets of yours are open.", "ticket_id", "Wait for answers, or close some.")

    def _queries(self, pseudonym: bytes) -> set[str]:
        entries = self._log.reader.of_merchant(pseudonym)
        return {str(each.index) for each in entries if LogEntry.model_validate_json(each.leaf).type == "query"}

    def of_party(self, party_id: str) -> TicketItems:
        """T2: a party's own tickets that are not closed, those due first in front."""
        query = (
            select(TicketRow, MerchantKeyRow, MerchantKeyBatchRow)
            .join(MerchantKeyRow, MerchantKeyRow.id == TicketRow.key_id)
            .join(MerchantKeyBatchRow, MerchantKeyBatchRow.batch_id == MerchantKeyRow.batch_id)
            .where(TicketRow.party_id == party_id, TicketRow.state != "closed")
            .order_by(TicketRow.state.desc(), TicketRow.due_at, TicketRow.ticket_id)
        )
        with self._db.reading() as session:
            return TicketItems(
                tickets=tuple(
                    TicketItem(
                        ticket=row.token,
                        merchant_key=statement_of(key, batch),
                        state=cast("TicketState", row.state),
                        received_at=moment(row.created_at),
                        due_at=moment(row.due_at),
                        answer=row.answer,
                    )
                    for row, key, batch in session.execute(query)
                )
            )

    def answer(self, token: str) -> None:
        """T3: take a party's answer. Sent again, it changes nothing.

        Args:
            token: JWS `ticket-answer`.

        Raises:
            PartyUnknownError, SignatureError, ForbiddenError, UnauthorisedError: see `verify_body`.
            RequestSizeError: it is too large.
            NotFoundError: the party has no such ticket.
            TicketStateError: it has another answer, or its merchant closed it.
        """
        _check_size(token)
        now = self._clock()
        party, body = verify_body(self._roster, token, "ticket-answer", TicketAnswer, now=now)
        with self._db.session() as session:
            row = session.get(TicketRow, body.ticket_id, with_for_update=True)
            if row is None or row.party_id != party.party_id:
                raise _unknown()
            if row.answer is not None and peek_payload(row.answer) == peek_payload(token):
                return
            if row.state != "open":
                raise _in_state(row.state)
            row.state, row.answer, row.answered_at = "answered", token, seconds(now)
            sha256 = hashlib.sha256(peek_payload(token)).digest()
            self._note(session, "ticket-answer", party.party_id, row, sha256, decision=body.decision)

    def of_merchant(self, pseudonym: bytes) -> TicketStandings:
        """T4: a merchant's tickets with their answers, the newest first."""
        query = select(TicketRow).where(TicketRow.pseudonym == pseudonym)
        with self._db.reading() as session:
            rows = list(session.scalars(query.order_by(TicketRow.created_at.desc(), TicketRow.ticket_id)))
        places = places_of(self._log.reader, pseudonym, "ticket", [row.payload_sha256 for row in rows])
        return TicketStandings(tickets=tuple(_standing(row, places.get(row.payload_sha256)) for row in rows))

    def close(self, token: str) -> TicketStanding:
        """T4: let a merchant close its ticket; once more changes nothing.

        Args:
            token: JWS `ticket-closing`.

        Raises:
            SignatureError, KeyFormatError, MerchantKeyUnknownError, ConsentRefusedError: see `verify_one`.
            UnauthorisedError: it is out of time.
            NotFoundError: the merchant has no such ticket.
        """
        _check_size(token)
        closing = verify_one(self._db, token, "ticket-closing", TicketClosing)
        now = self._clock()
        self._in_time(closing.body.issued_at, now)
        with self._db.session() as session:
            row = session.get(TicketRow, closing.body.ticket_id, with_for_update=True)
            if row is None or row.pseudonym != closing.body.pii_principal_id:
                raise _unknown()
            if row.state != "closed":
                answered = row.state == "answered"
                row.state, row.closed_at = "closed", seconds(now)
                self._note(session, "ticket-closed", self._hub_id, row, closing.sha256, answered=answered)
            return _standing(row, None)

    @staticmethod
    def _in_time(issued_at: datetime, now: datetime) -> None:
        if abs(seconds(now) - seconds(issued_at)) > _SKEW_S:
            raise UnauthorisedError(
                "The signature's time is more than 5 minutes from the hub's.",
                field="issued_at",
                remedy="Set the clock, sign again.",
            )

    def _note(
        self, session: Session, kind: EntryType, actor: str, row: TicketRow, artefact: bytes, **facts: Fact
    ) -> None:
        self._log.append_many(session, [NewEntry(kind, actor, row.pseudonym, facts, {"artefact": artefact})])


def _standing(row: TicketRow, place: int | None) -> TicketStanding:
    return TicketStanding(
        ticket=row.token,
        state=cast("TicketState", row.state),
        received_at=moment(row.created_at),
        due_at=moment(row.due_at),
        answer=row.answer,
        answered_at=None if row.answered_at is None else moment(row.answered_at),
        log_index=place,
    )


def _check_size(token: str) -> None:
    if len(token) > _MAX_TOKEN:
        raise RequestSizeError(
            f"A ticket or its answer has at most {_MAX_TOKEN} characters.", field="body", remedy="Send the token alone."
        )


def _refused(message: str, field: str, remedy: str) -> TicketError:
    return TicketError(message, field=field, remedy=remedy)


def _in_state(state: str) -> TicketStateError:
    return TicketStateError(
        f"The ticket is {state}.",
        field="ticket_id",
        remedy="Its answer stands; a new ticket may be opened.",
    )


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such ticket of yours.", field="ticket_id", remedy="Take the id from the list.")
