"""Consent records and their events (docs/protocol.md, 2); names of ISO/IEC TS 27560."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from crypto.wire.base import (
    Hash,
    Identifier,
    KindName,
    Moment,
    PartyId,
    Pseudonym,
    Sha256Hex,
    Suite,
    Token,
    WireModel,
)
from crypto.wire.party import MerchantKeyStatement

Purpose = Literal["credit-scoring", "model-training", "pre-qualification", "programme-statistics"]
ArtefactKind = Literal["consent", "consent-event"]
EventType = Literal["given", "paused", "resumed", "revoked", "refused", "expired"]
Unit = Literal["hour", "day", "week", "month", "year"]
DataClass = Literal["C1", "C2", "C3"]


class PrivacyNotice(WireModel):
    """The notice that was shown, by version, language and the SHA-256 of its text."""

    version: Annotated[str, Field(max_length=32)]
    language: Literal["zh", "en"]
    sha256: Sha256Hex


class DataCategory(WireModel):
    """A category of data with its JR/T 0171 class. `category` is a source kind, or `reasons`."""

    category: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    data_class: DataClass


class SeparateConsent(WireModel):
    """Separate consent for one recipient and one sensitive category (PIPL 23, 29)."""

    recipient: PartyId
    category: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class Frequency(WireModel):
    """At most `count` answered queries per `per`, counted by each node over all model versions."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    per: Unit


class DataLife(WireModel):
    """How long a recipient may keep what it received."""

    unit: Unit
    value: Annotated[int, Field(ge=1, le=1200)]


class ConsentTerms(WireModel):
    """What a consent allows. `sources` names one party per kind.

    A category of kind K in `pii_information` lets the source of kind K answer; the category `reasons` lets
    sources add reason codes.
    """

    privacy_notice: PrivacyNotice
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)]
    pii_information: Annotated[tuple[DataCategory, ...], Field(min_length=1)]
    sources: Annotated[dict[KindName, PartyId], Field(min_length=1)]
    recipients: Annotated[tuple[PartyId, ...], Field(min_length=1)]
    separate_consent: tuple[SeparateConsent, ...]
    adverse_consequences_notice: bool
    """The written notice of adverse consequences was given (征信业管理条例 14)."""
    fetch_type: Literal["ONETIME", "PERIODIC"]
    frequency: Frequency
    data_life: DataLife
    valid_from: Moment
    valid_until: Moment
    jurisdiction: Annotated[str, Field(max_length=32)]
    legal_article: Annotated[str, Field(max_length=200)]
    withdrawal_method: Annotated[str, Field(max_length=200)]
    collection_method: Annotated[str, Field(max_length=200)]

    @model_validator(mode="after")
    def _dates_and_duplicates(self) -> Self:
        if self.valid_until <= self.valid_from:
            raise ValueError("valid_until must lie after valid_from")
        for name in ("purposes", "recipients", "pii_information", "separate_consent"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} has a duplicate")
        return self


class ConsentRecord(ConsentTerms):
    """JWS type `consent`, by the merchant's key."""

    suite: Suite
    schema_version: Literal["27560-1"]
    record_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    pii_principal_id: Pseudonym
    event_time: Moment


class ConsentEvent(WireModel):
    """JWS type `consent-event`, by the merchant's key (or by the hub for `expired`)."""

    suite: Suite
    record_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    pii_principal_id: Pseudonym
    event: EventType
    event_time: Moment
    event_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]


class ConsentSubmission(WireModel):
    """Body of POST /v1/consents and /v1/consent-events: all are taken, or none."""

    tokens: Annotated[tuple[Token, ...], Field(min_length=1, max_length=1000)]


class ConsentReceipt(WireModel):
    """JWS type `consent-receipt`, by the hub: it took this artefact, and promises its log entry and its feeds.

    `sha256` is of the artefact's payload, `leaf` the RFC 9162 hash of its entry's leaf, `parties` in whose feeds it is.
    """

    suite: Suite
    kind: ArtefactKind
    sha256: Hash
    leaf: Hash
    parties: tuple[PartyId, ...]
    time: Moment


class Acknowledgement(WireModel):
    """A receipt, the exact leaf that it promises, and the salt that opens it. It links the artefact with the log."""

    receipt: Token
    entry: str
    salt: bytes


class SubmissionReceipt(WireModel):
    """Reply to a `ConsentSubmission`: how many artefacts were new, and how many were stored before.

    `receipts` are in order of the tokens; None for one that was stored before and whose link to the log is erased.
    """

    stored: int
    known: int
    receipts: tuple[Acknowledgement | None, ...]


class ConsentItem(WireModel):
    """A consent as it travels to the nodes it names."""

    consent: Token
    merchant_key: MerchantKeyStatement


ItemKind: TypeAlias = Literal[
    "consent",
    "consent-event",
    "notice",
    "roster",
    "key-succession",
    "model-release",
    "model-withdrawal",
    "model-rollback",
]


class FeedItem(WireModel):
    """One entry of a party's own feed; `seq` counts from 1 without gaps."""

    seq: Annotated[int, Field(ge=1)]
    kind: ItemKind
    consent: ConsentItem | None = None
    token: Token | None = None
    """consent-event: the merchant's JWS; notice: the hub's; roster, releases, withdrawals, rollbacks: the witness's;
    key-succession: by a key and the one that follows it."""
    model_id: Identifier | None = None


class FeedHead(WireModel):
    """JWS type `feed-head`, by the hub: the party's feed ended at `seq` at `time`."""

    suite: Suite
    party_id: PartyId
    seq: Annotated[int, Field(ge=0)]
    time: Moment


class FeedPage(WireModel):
    """Items after a sequence number, and the signed head they lead to (or a later one)."""

    items: tuple[FeedItem, ...]
    head: Token
