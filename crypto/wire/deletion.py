"""Proof of deletion: what a node states about data that it kept under a consent (docs/consent.md, 2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import Hash, Moment, PartyId, Suite, Token, WireModel

DeletionReason = Literal["data-life-over", "consent-expired", "consent-revoked", "consent-refused"]
DeletedKind = Literal["batch-answers", "single-answers", "reasons"]


class DeletionStatement(WireModel):
    """JWS type `deletion`, by the node that kept the data: they are gone from its store.

    `record` is SHA-256(salt ‖ consent id), so that the statement by itself names neither merchant nor consent. Kinds of
    which there was nothing left are absent: `counts` is empty where all of it was deleted before.
    """

    suite: Suite
    deletion_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    party_id: PartyId
    record: Hash
    reason: DeletionReason
    counts: dict[DeletedKind, Annotated[int, Field(ge=1)]]
    deleted_at: Moment


class DeletionReport(WireModel):
    """A statement with what opens it: which consent it is about."""

    statement: Token
    record_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    salt: Annotated[bytes, Field(min_length=16, max_length=16)]


class DeletionSubmission(WireModel):
    """Body of POST /v1/deletions: all are taken, or none."""

    reports: Annotated[tuple[DeletionReport, ...], Field(min_length=1, max_length=500)]


class DeletionReceipt(WireModel):
    """Reply to a `DeletionSubmission`: how many statements were new, and how many were stored before."""

    stored: int
    known: int
