"""The audit log as it crosses boundaries (docs/protocol.md, 8)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import Hash, Moment, PartyId, Token, WireModel

EntryType = Literal[
    "hub-initialised",
    "enrolment-token",
    "enrolment",
    "key-rotation",
    "party-revoked",
    "hub-restored",
    "feed-moved",
    "roster",
    "merchant-keys",
    "notice",
    "consent",
    "consent-event",
    "invitation",
    "key-offer",
    "consent-request",
    "consent-request-ended",
    "ticket",
    "ticket-answer",
    "ticket-closed",
    "voprf",
    "campaign-started",
    "manifest",
    "attempt-decision",
    "encoder-round",
    "table-opened",
    "evaluation-points",
    "histogram-opened",
    "bins-opened",
    "campaign-ended",
    "assessment",
    "model-registered",
    "model-evaluated",
    "model-proposed",
    "model-rollback",
    "model-release",
    "model-withdrawal",
    "query",
    "query-result",
    "deletion",
    "erasure",
    "data-look",
]


class LogEntry(WireModel):
    """One leaf: canonical JSON of this. `subject` is SHA-256(salt ‖ pseudonym); its salt lives off the log.

    The facts `consent` (of a consent's id) and `artefact` (of a payload's SHA-256) are commitments under the same salt.
    """

    type: EntryType
    time: Moment
    actor: PartyId
    subject: Hash | None = None
    facts: dict[str, str | int | bool | None] = {}
    """Hashes, ids, counts and codes; never identifiers, pseudonyms, rows, points or scores."""


class InclusionProof(WireModel):
    """A leaf's place under a cosigned checkpoint: `checkpoint` is the signed note, `entry` the exact leaf bytes."""

    index: Annotated[int, Field(ge=0)]
    entry: str
    hashes: tuple[Hash, ...]
    checkpoint: str


class ConsistencyProof(WireModel):
    """One log at two times: `old` and `new` are signed notes, `hashes` show that the second extends the first."""

    old: str
    new: str
    hashes: tuple[Hash, ...]


class CheckpointOffer(WireModel):
    """Hub to witness: cosign this note, which extends the one of `old_size` that you cosigned last."""

    old_size: Annotated[int, Field(ge=0)]
    proof: tuple[Hash, ...]
    note: str


class LogTailRequest(WireModel):
    """Hub to witness: entries from index `start`, at most `limit`, up to the checkpoint that you cosigned last."""

    start: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=0, le=1000)]


class LogTail(WireModel):
    """Witness to hub: the checkpoint that it cosigned last, entries of its own copy of the log, its newest roster."""

    size: Annotated[int, Field(ge=0)]
    note: str | None = None
    entries: tuple[str, ...] = ()
    roster: Token | None = None


class CheckpointCosignature(WireModel):
    """The witness's cosignature line; or, when the hub is behind or ahead, the size it knows."""

    line: str | None = None
    known_size: Annotated[int, Field(ge=0)]
