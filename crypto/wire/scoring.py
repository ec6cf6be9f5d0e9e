"""Scoring queries, refusals and answers (docs/protocol.md, 7)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.audit import InclusionProof
from crypto.wire.base import (
    Code,
    Hash,
    KindName,
    ModelId,
    Moment,
    Nonce,
    PartyId,
    Pseudonym,
    Suite,
    Token,
    WireModel,
)
from crypto.wire.consent import Purpose

ANSWER_BYTES_PER_ITEM = 512
"""A sealed answer is padded to this many bytes an item, whatever it holds."""

ConsentCode = Literal[
    "consent-unknown",
    "consent-not-active",
    "consent-revoked",
    "consent-paused",
    "consent-expired",
    "consent-not-yet-valid",
    "notice-unknown",
    "notice-superseded",
    "purpose-not-consented",
    "recipient-not-consented",
    "source-not-consented",
    "category-not-consented",
    "separate-consent-missing",
    "adverse-notice-missing",
]
"""Refusals for which there is one remedy: the merchant's word."""
RefusalCode = Literal[
    "signature-invalid",
    "requester-unknown",
    "request-expired",
    "nonce-reused",
    "request-too-large",
    "feed-stale",
    ConsentCode,
    "frequency-exceeded",
    "source-set-changed",
    "too-few-sources",
    "mixed-sources",
    "model-not-released",
    "model-rolled-back",
    "model-unknown",
    "model-versions-exceeded",
    "answer-expired",
    "source-unreachable",
    "source-failed",
]


class ScoreItem(WireModel):
    """One merchant of a request.

    `sources` is what the consent names for the model's kinds: one party per kind, at least two besides the requester. A
    kind for which the consent names nobody is left out; the requester adds that kind's public absent points.
    """

    pseudonym: Pseudonym
    consent_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    sources: Annotated[dict[KindName, PartyId], Field(min_length=2)]


class ScoreRequest(WireModel):
    """JWS type `score-request`, by the requester. Its hash (SHA-256 of the token) binds masks and answers.

    All items name the same parties as sources: each of them receives the whole request.
    """

    suite: Suite
    requester: PartyId
    purpose: Purpose
    model_id: ModelId
    nonce: Nonce
    issued_at: Moment
    expires_at: Moment
    items: Annotated[tuple[ScoreItem, ...], Field(min_length=1, max_length=500)]


class ItemRefusal(WireModel):
    """Why one item got no answer; says nothing about data."""

    item: Annotated[int, Field(ge=0)]
    code: RefusalCode


class SourceAnswer(WireModel):
    """JWS type `score-answer`, by a source. `sealed` opens only at the requester."""

    suite: Suite
    request_hash: Hash
    source: PartyId
    answered: tuple[int, ...]
    refusals: tuple[ItemRefusal, ...]
    sealed: bytes


class AnswerItem(WireModel):
    """Inside the sealed answer: points plus masks in Z_2^32, and reason codes if the consent allows them."""

    item: Annotated[int, Field(ge=0)]
    masked_points: Annotated[int, Field(ge=0, lt=2**32)]
    reasons: Annotated[tuple[Annotated[str, Field(max_length=80)], ...], Field(max_length=4)] = ()


class AnswerBody(WireModel):
    """The sealed body: canonical JSON, padded with spaces to ANSWER_BYTES_PER_ITEM bytes an item of the request."""

    items: tuple[AnswerItem, ...]


class SourceFailure(WireModel):
    """The hub's word that a source gave no answer, by its name."""

    source: PartyId
    code: Code
    detail: Annotated[str, Field(max_length=200)] = ""


class QueryResult(WireModel):
    """The hub's reply to POST /v1/queries. Proofs are in order of items."""

    request_hash: Hash
    answers: tuple[Token, ...]
    failures: tuple[SourceFailure, ...]
    proofs: tuple[InclusionProof, ...]


class QueryForward(WireModel):
    """What the hub hands to each named source over its link."""

    request: Token


class ScoreAnswer(WireModel):
    """The gateway's answer to its owner: the only place where a score exists."""

    score: int | None
    pd: float | None
    band: Literal["A", "B", "C", "D", "E"] | None
    reasons: tuple[str, ...]
    model_id: ModelId
    epsilon: float | None
    """What the model cost each merchant; None where it was trained without noise, hence without a guarantee."""
    refusals: dict[PartyId, str]
    proof: InclusionProof | None
