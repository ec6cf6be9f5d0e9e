"""Merchants' tickets at the party that must answer: verified, opened here alone, answered once (docs/protocol.md, 2).

T2  A ticket counts when its merchant signed it, under a key that platform and bank of the roster both signed for, and
    when it is to this party. What fails is refused and journalled.
T3  The answer is sealed to the key that the ticket brought for it, and signed by this party.

Whoever opens a text, or answers it, is in the journal with the ticket's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydantic import ValidationError

from crypto.errors import CryptoError, ProofError, SealError
from crypto.jws import parse_canonical, peek_payload, sign_model, verify_merchant
from crypto.keys import BoxKey, Signer
from crypto.ticket_boxes import open_text, seal_text, ticket_context
from crypto.wire.base import SUITE
from crypto.wire.ticket import Ticket, TicketAnswer, TicketDecision, TicketItem, TicketItems, TicketState
from nodes.clock import Clock, system_clock
from nodes.errors import NodeError, PolicyRefusal
from nodes.hub_client import HubClient, parsed
from nodes.journal import Journal
from nodes.merchant_keys import MerchantKeyVerifier
from nodes.pseudonyms import PseudonymMap

_LOG = structlog.get_logger("nodes.tickets")


@dataclass(frozen=True)
class ReceivedTicket:
    """A verified ticket; its text stays sealed.

    Attributes:
        merchant: its identifier, where it is one of this party's own.
        decision: of the answer that was given.
    """

    ticket: Ticket
    merchant: str | None
    state: TicketState
    received_at: datetime
    due_at: datetime
    decision: TicketDecision | None


class TicketDesk:
    """The party's side of tickets.

    Args:
        hub, pseudonyms, journal, clock: the node's.
        keys: verifies merchants' keys.
        party_id, identity: who answers.
        boxes: its X25519 keys, the newest first; after a rotation the former one opens what was sealed before.
    """

    def __init__(
        self,
        hub: HubClient,
        pseudonyms: PseudonymMap,
        keys: MerchantKeyVerifier,
        journal: Journal,
        *,
        party_id: str,
        identity: Signer,
        boxes: Sequence[BoxKey],
        clock: Clock = system_clock,
    ) -> None:
        self._hub = hub
        self._pseudonyms = pseudonyms
        self._keys = keys
        self._journal = journal
        self._party_id = party_id
        self._identity = identity
        self._boxes = tuple(boxes)
        self._clock = clock

    def waiting(self) -> tuple[ReceivedTicket, ...]:
        """All tickets to this party that their merchants have not closed: open ones first, those due first in front.

        Raises:
            PeerError: the hub is out of reach, or answers nonsense.
        """
        items = parsed(TicketItems, self._hub.request("GET", "/v1/tickets", signed=True)).tickets
        found: list[ReceivedTicket] = []
        for item in items:
            try:
                found.append(self._verified(item))
            except (CryptoError, NodeError, ValidationError) as problem:
                _LOG.warning("ticket-refused", code=getattr(problem, "code", "malformed"))
                self._journal.note("ticket-refused", {"code": getattr(problem, "code", "malformed")})
        return tuple(found)

    def find(self, ticket_id: str) -> ReceivedTicket:
        """A ticket by its id.

        Raises:
            PolicyRefusal: there is none to this party.
            PeerError: the hub is out of reach.
        """
        for each in self.waiting():
            if each.ticket.ticket_id == ticket_id:
                return each
        raise PolicyRefusal(
            "ticket-unknown",
            f"there is no ticket {ticket_id} to this party that is not closed",
            field="ticket_id",
            remedy="digua-node tickets list shows those that are",
        )

    def read(self, received: ReceivedTicket, *, reader: str) -> str:
        """Open a ticket's text; the journal says who did.

        Args:
            received: from `waiting` or `find`.
            reader: a person's id, or `command line`.

        Raises:
            SealError: none of this party's keys opens it.
        """
        ticket = received.ticket
        context = ticket_context(ticket.ticket_id, ticket.pii_principal_id, self._party_id, "question")
        self._journal.note("ticket-opened", {"ticket": ticket.ticket_id, "reader": reader})
        for place, box in enumerate(self._boxes):
            try:
                return open_text(ticket.sealed, box, context=context)
            except SealError:
                if place == len(self._boxes) - 1:
                    raise
        raise SealError("This party has no key.", field="boxes", remedy="Restore keys_dir from its backup.")

    def answer(self, received: ReceivedTicket, decision: TicketDecision, text: str, *, author: str) -> None:
        """T3: answer a ticket, once.

        Args:
            received: from `waiting` or `find`.
            decision: granted, partly-granted or declined; the text says why.
            text: 1 to 2,000 characters, which the merchant alone can read.
            author: a person's id, or `command line`.

        Raises:
            SealError: the text is empty or too long, or the ticket's reply key is no key.
            PeerError: the hub refused, e.g. as there is an answer, or is out of reach.
        """
        ticket = received.ticket
        context = ticket_context(ticket.ticket_id, ticket.pii_principal_id, self._party_id, "answer")
        answer = TicketAnswer(
            suite=SUITE,
            ticket_id=ticket.ticket_id,
            party_id=self._party_id,
            decision=decision,
            sealed=seal_text(text, ticket.reply_key, context=context),
            issued_at=self._clock(),
        )
        self._hub.bring(
            "/v1/tickets/answers", sign_model(answer, self._identity, typ="ticket-answer", kid=self._party_id)
        )
        facts = {"ticket": ticket.ticket_id, "decision": decision, "author": author}
        self._journal.note("ticket-answered", facts)

    def _verified(self, item: TicketItem) -> ReceivedTicket:
        key = self._keys.verify(item.merchant_key)
        payload = verify_merchant(item.ticket, key.jwk, typ="merchant-ticket", kid=key.pseudonym.hex())
        ticket = parse_canonical(payload, Ticket)
        if (ticket.pii_principal_id, ticket.party_id) != (key.pseudonym, self._party_id):
            raise ProofError(
                "the ticket is another merchant's, or to another party",
                field="ticket",
                remedy="keep the hub's answer, and report it to the witness's owner",
            )
        decision = None
        if item.answer is not None:
            decision = TicketAnswer.model_validate_json(peek_payload(item.answer)).decision
        merchant = self._pseudonyms.identifier_of(key.pseudonym)
        return ReceivedTicket(ticket, merchant, item.state, item.received_at, item.due_at, decision)
