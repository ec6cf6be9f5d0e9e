"""Requests for a consent as the merchant reads them: the party's own signed terms, item by item in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crypto.canonical import canonical_bytes
from crypto.jws import peek_payload
from crypto.wire.consent_request import ConsentRequest, ReceivedRequest, ReceivedRequests
from hub.errors import NotFoundError
from hub.web import merchant_words as words
from hub.web.merchant_views import Category, Named, Parties, categories_of
from models.said import Said

STATES = {
    "open": ("waits for your answer", "info"),
    "signed": ("You agreed", "good"),
    "refused": ("You refused", "neutral"),
    "expired": ("It ran out", "neutral"),
    "withdrawn": ("taken back by the institution", "neutral"),
}


@dataclass(frozen=True)
class PurposeBox:
    """A purpose to tick."""

    name: str
    words: str


@dataclass(frozen=True)
class RecipientBoxes:
    """A recipient to tick, and under it the kinds of data that it may have a result made of."""

    party: Named
    kind_words: str
    categories: tuple[Category, ...]


@dataclass(frozen=True)
class Proposal:
    """A request. `terms` is their canonical JSON, out of which the browser makes what it signs."""

    request_id: str
    by: Named
    state_words: str
    tone: str
    open: bool
    answer_by: datetime
    purposes: tuple[PurposeBox, ...]
    categories: tuple[Category, ...]
    recipients: tuple[RecipientBoxes, ...]
    frequency: Said
    data_life: Said
    valid_from: datetime
    valid_until: datetime
    legal_article: str
    notice_version: str
    notice_sha256: str
    terms: str


def proposals_of(received: ReceivedRequests, parties: Parties) -> tuple[Proposal, ...]:
    """All requests, in the hub's order: open ones first, then the newest."""
    return tuple(_proposal(each, parties) for each in received.requests)


def proposal(received: ReceivedRequests, request_id: str, parties: Parties) -> Proposal:
    """The request of this id; NotFoundError where the merchant has none."""
    for each in received.requests:
        found = _proposal(each, parties)
        if found.request_id == request_id:
            return found
    raise NotFoundError(
        "There is no such request to you.", field="request", remedy="Open the list of the requests to you."
    )


def _proposal(each: ReceivedRequest, parties: Parties) -> Proposal:
    request = ConsentRequest.model_validate_json(peek_payload(each.request))
    terms = request.terms
    state_words, tone = STATES[each.state]
    categories = categories_of(terms, parties)
    separate = {(pair.recipient, pair.category) for pair in terms.separate_consent}
    return Proposal(
        request_id=request.request_id,
        by=parties.named(each.party_id),
        state_words=state_words,
        tone=tone,
        open=each.state == "open",
        answer_by=each.answer_by,
        purposes=tuple(PurposeBox(name, words.purpose(name)) for name in terms.purposes),
        categories=categories,
        recipients=tuple(
            RecipientBoxes(
                named := parties.named(recipient),
                words.kind(named.kind),
                # Sensitive data for which a recipient asks no separate consent cannot reach it, so there is no box.
                tuple(one for one in categories if not one.sensitive or (recipient, one.name) in separate),
            )
            for recipient in terms.recipients
        ),
        frequency=words.frequency(terms.frequency.count, terms.frequency.per, terms.fetch_type),
        data_life=words.span(terms.data_life.unit, terms.data_life.value),
        valid_from=terms.valid_from,
        valid_until=terms.valid_until,
        legal_article=terms.legal_article,
        notice_version=terms.privacy_notice.version,
        notice_sha256=terms.privacy_notice.sha256,
        terms=canonical_bytes(terms).decode(),
    )
