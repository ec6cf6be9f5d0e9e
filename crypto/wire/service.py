"""What the hub says about itself over HTTP, and how a party signs a plain request to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import (
    Code,
    Hash,
    Key,
    ModelId,
    Moment,
    Nonce,
    PartyId,
    Pseudonym,
    Sha256Hex,
    Suite,
    Token,
    WireModel,
)
from crypto.wire.consent import EventType, Purpose
from crypto.wire.notice import NoticeLanguage

SIGNED_REQUEST_SECONDS = 300
"""How far `issued_at` may lie from the hub's clock."""


class SignedRequest(WireModel):
    """JWS type `request`, by a party, in `Authorization: Digua <JWS>`: this method on this path, once.

    `path` is the path with its query string, exactly as requested.
    """

    suite: Suite
    party_id: PartyId
    method: Literal["GET", "POST", "DELETE"]
    path: Annotated[str, Field(min_length=1, max_length=2048)]
    nonce: Nonce
    issued_at: Moment


class WitnessInfo(WireModel):
    """The witness's public keys as the hub knows them; nodes pin theirs out of band and compare."""

    party_id: PartyId
    sign_key: Key
    voprf_key: Key


class HubInfo(WireModel):
    """Body of GET /v1/info. `origin` is the audit log's name in checkpoints, `sign_key` the key that holds now.

    `successions` say which keys of hub and witness follow which; each is signed for itself.
    """

    suite: Suite
    hub_id: PartyId
    software: str
    origin: str
    sign_key: Key
    voprf_key: Key
    witness: WitnessInfo | None
    successions: tuple[Token, ...] = ()
    former_keys: tuple[Key, ...] = ()
    """The hub's keys before that one, newest first, for pages: they trust this answer as they trust the page."""


class EnrolmentReceipt(WireModel):
    """Reply to an enrolment or key rotation. `approved`: the cosigned roster already holds these keys."""

    party_id: PartyId
    approved: bool


class SuccessionReceipt(WireModel):
    """Reply to POST /v1/key-successions: the witness's new key, and from when it holds."""

    party_id: PartyId
    new_key: Key
    holds_from: Moment


class MerchantKeysReceipt(WireModel):
    """Reply to POST /v1/merchant-keys."""

    batch_id: str
    stored: int


class LogPage(WireModel):
    """Body of GET /v1/log/entries: exact leaves from index `start`; `size` is the log's present size."""

    start: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]
    entries: tuple[str, ...]


class LogFound(WireModel):
    """An exact leaf at its place."""

    index: Annotated[int, Field(ge=0)]
    entry: str


class LogSearchPage(WireModel):
    """Body of GET /v1/log/search: the newest entries found, `count` in all; `next` is `before` of the next page."""

    size: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=0)]
    entries: tuple[LogFound, ...]
    next: Annotated[int, Field(ge=0)] | None


class LogProof(WireModel):
    """Body of GET /v1/log/inclusion and /v1/log/consistency: the hashes of RFC 9162, bottom up."""

    hashes: tuple[Hash, ...]


class MerchantRequest(WireModel):
    """JWS type `merchant-request`, by the merchant's newest enrolled key: what is recorded about me? It counts once."""

    suite: Suite
    pii_principal_id: Pseudonym
    nonce: Nonce
    issued_at: Moment


LogIndex = Annotated[int, Field(ge=0)] | None
"""An entry's place in the log; None while it waits for it, and once the merchant's salts were erased."""


class RecordedEvent(WireModel):
    """A change of a consent's state, as it was signed."""

    event: EventType
    token: Token
    log_index: LogIndex


class RecordedConsent(WireModel):
    """A consent as it was signed, and where it stands apart from its dates."""

    record_id: str
    state: str
    consent: Token
    events: tuple[RecordedEvent, ...]
    log_index: LogIndex


class RecordedQuery(WireModel):
    """A query about the merchant. `outcomes`: by source `answered` or the code of its refusal; never a score."""

    time: Moment
    requester: PartyId
    purpose: Purpose
    model_id: ModelId
    sources: tuple[PartyId, ...]
    consent_id: str | None
    outcomes: dict[PartyId, Code]
    log_index: LogIndex


class RecordedKey(WireModel):
    """One of the merchant's keys; the current one alone signs anything new."""

    jwk: dict[str, str]
    enrolled_by: PartyId
    countersigned_by: PartyId
    issued_at: Moment
    received_at: Moment
    current: bool


class ReconsentRequest(WireModel):
    """A consent whose notice has a newer version that asks the merchant again; without an answer it ends at `ends_at`.

    `texts` are the SHA-256 of the newest version by language, for GET /v1/notices/{sha256}.
    """

    record_id: str
    notice: Code
    version: str
    texts: dict[NoticeLanguage, Sha256Hex]
    ends_at: Moment


class RecordedDeletion(WireModel):
    """A node's signed statement that it deleted what it had under a consent; `salt` opens its commitment."""

    record_id: str
    party_id: PartyId
    statement: Token
    salt: bytes
    log_index: LogIndex


class MissingDeletion(WireModel):
    """A recipient that was answered under a consent which ended at `since`, and has stated no deletion."""

    record_id: str
    party_id: PartyId
    since: Moment


class OpenedEntry(WireModel):
    """An exact leaf of the log with the salt that opens its commitments."""

    log_index: LogIndex
    entry: str
    salt: bytes


class MerchantRecords(WireModel):
    """Reply to POST /v1/merchants/records: all that the hub records about a merchant under its pseudonym."""

    pii_principal_id: Pseudonym
    time: Moment
    consents: tuple[RecordedConsent, ...]
    queries: tuple[RecordedQuery, ...]
    entries: tuple[OpenedEntry, ...]
    keys: tuple[RecordedKey, ...]
    requests: tuple[ReconsentRequest, ...] = ()
    deletions: tuple[RecordedDeletion, ...] = ()
    missing_deletions: tuple[MissingDeletion, ...] = ()
