"""What a party asks a merchant to consent to, and what becomes of it (docs/protocol.md, 2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import Moment, Nonce, PartyId, Pseudonym, Suite, Token, WireModel
from crypto.wire.consent import ConsentItem, ConsentTerms
from crypto.wire.service import LogIndex

RequestId = Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
RequestState = Literal["open", "signed", "refused", "expired", "withdrawn"]


class ConsentRequest(WireModel):
    """JWS type `consent-request`, by a recipient named in its terms, or a client.

    A merchant that agrees signs a consent whose `record_id` is `request_id`: these terms, or narrower ones. One that
    does not signs a `consent-event` `refused` with that `record_id`.
    """

    suite: Suite
    request_id: RequestId
    party_id: PartyId
    pii_principal_id: Pseudonym
    terms: ConsentTerms
    issued_at: Moment
    answer_by: Moment


class ConsentRequestReceipt(WireModel):
    """Reply to POST /v1/consent-requests. `enrolled`: the merchant has a key; without one it is invited first."""

    request_id: RequestId
    state: RequestState
    link: str
    enrolled: bool
    answer_by: Moment


class ConsentRequestStanding(WireModel):
    """Reply to GET /v1/consent-requests/{request_id}. `consent`: where the consent stands that was signed for it."""

    request_id: RequestId
    state: RequestState
    consent: str | None
    answer_by: Moment


class ReceivedRequest(WireModel):
    """A request as the merchant sees it: the party's own signed words, to be verified against the roster."""

    request: Token
    party_id: PartyId
    party_title: str
    state: RequestState
    answer_by: Moment
    log_index: LogIndex


class ReceivedRequests(WireModel):
    """Reply to POST /v1/merchants/requests: open ones first, then the newest."""

    requests: tuple[ReceivedRequest, ...]


class ConsentsQuestion(WireModel):
    """JWS type `consents-question`, by a party: which consents of this merchant name me?"""

    suite: Suite
    party_id: PartyId
    pii_principal_id: Pseudonym
    nonce: Nonce
    issued_at: Moment


class ConsentView(WireModel):
    """A consent, where it stands apart from its dates (given, paused, revoked, refused), and its signed events."""

    state: str
    item: ConsentItem
    events: tuple[Token, ...]


class ConsentViews(WireModel):
    """A merchant's consents that name the asking party, the oldest first; `manage_url`: where the merchant ends one."""

    consents: tuple[ConsentView, ...]
    manage_url: str
