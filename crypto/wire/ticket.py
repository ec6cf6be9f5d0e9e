"""Tickets: a merchant asks one party for a review, an explanation, a correction or a deletion (PIPL 24, 46, 47)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import Identifier, Key, Moment, PartyId, Pseudonym, Suite, Token, WireModel
from crypto.wire.party import MerchantKeyStatement
from crypto.wire.service import LogIndex

TEXT_CHARACTERS = 2000
PADDED_BYTES = 8192
SEALED_BYTES = PADDED_BYTES + 48

TicketId = Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
TicketKind = Literal["review", "explanation", "correction", "deletion"]
TicketState = Literal["open", "answered", "closed"]
TicketDecision = Literal["granted", "partly-granted", "declined"]
SealedText = Annotated[bytes, Field(min_length=SEALED_BYTES, max_length=SEALED_BYTES)]
"""A text in a sealed box that is as long for every text; see `crypto.ticket_boxes`."""


class TicketSubject(WireModel):
    """What it is about: an entry of the hub's log (a query), a consent, or a source's record of the merchant."""

    sort: Literal["query", "consent", "record"]
    reference: Identifier | None = None
    """The query's index in the log, or the consent's id; none for a record."""


class Ticket(WireModel):
    """JWS type `merchant-ticket`, by the merchant's newest key. `reply_key` is an X25519 key of its browser."""

    suite: Suite
    ticket_id: TicketId
    pii_principal_id: Pseudonym
    party_id: PartyId
    kind: TicketKind
    about: TicketSubject
    sealed: SealedText
    reply_key: Key
    issued_at: Moment


class TicketAnswer(WireModel):
    """JWS type `ticket-answer`, by the party; `sealed` to the ticket's `reply_key`."""

    suite: Suite
    ticket_id: TicketId
    party_id: PartyId
    decision: TicketDecision
    sealed: SealedText
    issued_at: Moment


class TicketClosing(WireModel):
    """JWS type `ticket-closing`, by the merchant: the matter is settled."""

    suite: Suite
    ticket_id: TicketId
    pii_principal_id: Pseudonym
    issued_at: Moment


class TicketStanding(WireModel):
    """A ticket as its merchant sees it. `due_at`: 15 working days, Monday to Friday, after it came in."""

    ticket: Token
    state: TicketState
    received_at: Moment
    due_at: Moment
    answer: Token | None
    answered_at: Moment | None
    log_index: LogIndex


class TicketStandings(WireModel):
    """Reply to POST /v1/merchants/tickets/list, the newest first."""

    tickets: tuple[TicketStanding, ...]


class TicketItem(WireModel):
    """A ticket as it goes to the party that must answer, with what it needs to trust the merchant's key."""

    ticket: Token
    merchant_key: MerchantKeyStatement
    state: TicketState
    received_at: Moment
    due_at: Moment
    answer: Token | None


class TicketItems(WireModel):
    """Reply to GET /v1/tickets, those due first in front."""

    tickets: tuple[TicketItem, ...]
