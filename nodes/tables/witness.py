"""What the witness has approved, signed and allowed."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class ApprovalRow(NodeTableBase):
    """A party that the witness's owner approved by name; the fingerprint is over its kind and both keys."""

    __tablename__ = "witness_approvals"

    party_id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    approved_at: Mapped[int]


class SignedRosterRow(NodeTableBase):
    """A roster that the witness signed. A version is signed once."""

    __tablename__ = "witness_rosters"

    version: Mapped[int] = mapped_column(primary_key=True)
    roster: Mapped[bytes]
    token: Mapped[str]


class ProposedPartyRow(NodeTableBase):
    """A party that the hub proposed and that is not approved, for the owner to look at."""

    __tablename__ = "witness_proposed"

    party_id: Mapped[str] = mapped_column(primary_key=True)
    party: Mapped[bytes]
    proposed_at: Mapped[int]


class CosignedLogRow(NodeTableBase):
    """The newest checkpoint of the hub's log that the witness cosigned."""

    __tablename__ = "witness_log"

    id: Mapped[int] = mapped_column(primary_key=True)
    origin: Mapped[str]
    size: Mapped[int]
    root: Mapped[bytes]


class CosignedCheckpointRow(NodeTableBase):
    """Every checkpoint that the witness cosigned: the signed note with both lines, and when."""

    __tablename__ = "witness_checkpoints"

    size: Mapped[int] = mapped_column(primary_key=True)
    root: Mapped[bytes]
    note: Mapped[str]
    cosigned_at: Mapped[int] = mapped_column(index=True)


class RefusedCheckpointRow(NodeTableBase):
    """A checkpoint that the witness refused to cosign: evidence, kept for good.

    `open` until the hub offers one that the witness can cosign again.
    """

    __tablename__ = "witness_refused_checkpoints"

    id: Mapped[int] = mapped_column(primary_key=True)
    detail: Mapped[str]
    remedy: Mapped[str]
    note: Mapped[str]
    known_size: Mapped[int]
    first: Mapped[int]
    last: Mapped[int]
    """When it was offered first and last, in Unix seconds."""
    open: Mapped[bool]


class VoprfUseRow(NodeTableBase):
    """How many identifiers the witness evaluated for a party, in all."""

    __tablename__ = "witness_voprf_use"

    party_id: Mapped[str] = mapped_column(primary_key=True)
    used: Mapped[int]


class VoprfNonceRow(NodeTableBase):
    """A request that was served; kept as long as it could be fresh."""

    __tablename__ = "witness_voprf_nonces"

    party_id: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[bytes] = mapped_column(primary_key=True)
    until: Mapped[int] = mapped_column(index=True)


class ProposedModelRow(NodeTableBase):
    """A model that the hub proposed for release while its owner decides on releases by hand."""

    __tablename__ = "witness_proposed_models"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    artefact: Mapped[bytes]
    proposed_at: Mapped[int]
    word: Mapped[str]
    """The owner's: `pending`, `approved` or `refused`."""
    reason: Mapped[str | None]
    assessment: Mapped[str | None]
    """JSON of the newest `ImpactAssessment` that it was proposed with."""


class SignedReleaseRow(NodeTableBase):
    """A model that the witness released or withdrew, as it signed it."""

    __tablename__ = "witness_releases"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    """`evaluation`, `release` or `withdrawn`."""
    token: Mapped[str]


class SignedRollbackRow(NodeTableBase):
    """A rollback that the witness signed, with the proposal's exact bytes."""

    __tablename__ = "witness_rollbacks"

    serial: Mapped[int] = mapped_column(primary_key=True)
    proposal: Mapped[bytes]
    token: Mapped[str]
