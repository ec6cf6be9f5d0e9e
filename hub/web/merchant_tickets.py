"""A merchant's tickets as its page shows them, and what it can open one about; texts stay sealed until the browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from crypto.jws import peek_payload
from crypto.wire.service import MerchantRecords
from crypto.wire.ticket import Ticket, TicketAnswer, TicketStanding, TicketStandings
from hub.web.merchant_views import Named, Parties, consents_of, queries_of

KINDS: Mapping[str, str] = {
    "review": "Have a person look at a decision",
    "explanation": "Explain how my data count",
    "correction": "Correct data",
    "deletion": "Delete data",
}
STATES: Mapping[str, tuple[str, str]] = {
    "open": ("waits for an answer", "info"),
    "answered": ("answered", "good"),
    "closed": ("closed", "neutral"),
}
DECISIONS: Mapping[str, str] = {
    "granted": "Granted",
    "partly-granted": "Granted in part",
    "declined": "Declined",
}


@dataclass(frozen=True)
class Choice:
    """What a ticket can be about: `value` is sort and reference."""

    value: str
    at: datetime | None
    name: str


@dataclass(frozen=True)
class TicketView:
    """A ticket; `sealed` is the answer's box (hexadecimal), empty before there is one."""

    ticket_id: str
    kind: str
    to: Named
    state: str
    state_words: str
    tone: str
    received_at: datetime
    due_at: datetime
    answered_at: datetime | None
    decision: str
    sealed: str


@dataclass(frozen=True)
class HelpView:
    """The page: parties that can be asked, what about, and the tickets so far, the newest first."""

    parties: tuple[Named, ...]
    queries: tuple[Choice, ...]
    consents: tuple[Choice, ...]
    tickets: tuple[TicketView, ...]
    kinds: tuple[tuple[str, str], ...] = tuple(KINDS.items())


def help_of(records: MerchantRecords, standings: TicketStandings, parties: Parties) -> HelpView:
    """What the page shows.

    Args:
        records: the merchant's; a ticket goes to a party that one of its consents names.
        standings: its tickets.
        parties: by id.
    """
    consents = consents_of(records, parties)
    named = {each.party_id: each for consent in consents for each in consent.recipients}
    named |= {each.source.party_id: each.source for consent in consents for each in consent.categories if each.source}
    return HelpView(
        parties=tuple(sorted(named.values(), key=lambda each: each.party_id)),
        queries=tuple(
            Choice(f"query:{each.proof.index}", each.at, each.by.name)
            for each in queries_of(records, parties)
            if each.proof is not None
        ),
        consents=tuple(
            Choice(f"consent:{each.record_id}", each.given_at, ", ".join(party.name for party in each.recipients))
            for each in consents
        ),
        tickets=tuple(_ticket(each, parties) for each in standings.tickets),
    )


def _ticket(each: TicketStanding, parties: Parties) -> TicketView:
    ticket = Ticket.model_validate_json(peek_payload(each.ticket))
    answer = None if each.answer is None else TicketAnswer.model_validate_json(peek_payload(each.answer))
    state_words, tone = STATES[each.state]
    return TicketView(
        ticket_id=ticket.ticket_id,
        kind=KINDS[ticket.kind],
        to=parties.named(ticket.party_id),
        state=each.state,
        state_words=state_words,
        tone=tone,
        received_at=each.received_at,
        due_at=each.due_at,
        answered_at=each.answered_at,
        decision=DECISIONS[answer.decision] if answer else "",
        sealed=answer.sealed.hex() if answer else "",
    )
