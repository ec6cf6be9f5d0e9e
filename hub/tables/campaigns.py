"""Campaigns: what was ordered, how far it is, what was decided, and what must survive a restart of the hub."""

from __future__ import annotations

from sqlalchemy import Boolean, Float, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base

CampaignName = String(128)
AttemptName = String(128)


class CampaignRow(Base):
    """One campaign. `failure` is JSON of problem details; the hold-out salt never changes afterwards."""

    __tablename__ = "campaigns"

    campaign_id: Mapped[str] = mapped_column(CampaignName, primary_key=True)
    order: Mapped[str] = mapped_column(LongText)
    """The campaign file as JSON."""
    schema_document: Mapped[str] = mapped_column(LongText)
    status: Mapped[str] = mapped_column(String(16), index=True)
    abort_asked: Mapped[bool] = mapped_column(Boolean, default=False)
    holdout_salt: Mapped[bytes] = mapped_column(Bytes)
    created_at: Mapped[int] = mapped_column(Seconds)
    ended_at: Mapped[int | None] = mapped_column(Seconds)
    failure: Mapped[str | None] = mapped_column(LongText)
    encoder_model: Mapped[str | None] = mapped_column(String(71))
    scorecard_model: Mapped[str | None] = mapped_column(String(71))
    run_by: Mapped[str | None] = mapped_column(String(300))
    """Machine and process that took it up last."""


class CampaignEventRow(Base):
    """One step of a campaign as it was reported."""

    __tablename__ = "campaign_events"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(CampaignName, ForeignKey("campaigns.campaign_id"), index=True)
    at: Mapped[int] = mapped_column(Seconds)
    stage: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[str] = mapped_column(AttemptName)
    step: Mapped[str] = mapped_column(String(16))
    done: Mapped[int] = mapped_column(Integer)
    total: Mapped[int] = mapped_column(Integer)
    seconds: Mapped[float] = mapped_column(Float)
    detail: Mapped[str] = mapped_column(LongText)


class CampaignAttemptRow(Base):
    """A manifest that the witness cosigned, and its decision; without one the attempt is still open."""

    __tablename__ = "campaign_attempts"

    attempt: Mapped[str] = mapped_column(AttemptName, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(CampaignName, ForeignKey("campaigns.campaign_id"), index=True)
    stage: Mapped[str] = mapped_column(String(16))
    h: Mapped[bytes] = mapped_column(Bytes)
    terms: Mapped[str] = mapped_column(LongText)
    """The hub's signed terms, exact."""
    decision: Mapped[str | None] = mapped_column(LongText)
    created_at: Mapped[int] = mapped_column(Seconds)


class CampaignRefusalRow(Base):
    """A party that refused, or was lost, and so ended an attempt; `reason` is its code and the numbers it gave."""

    __tablename__ = "campaign_refusals"

    attempt: Mapped[str] = mapped_column(AttemptName, primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(CampaignName, ForeignKey("campaigns.campaign_id"), index=True)
    reason: Mapped[str] = mapped_column(LongText)


class UndeliveredDecisionRow(Base):
    """A node that has not heard the witness's decision yet; it is told when it is back."""

    __tablename__ = "undelivered_decisions"

    attempt: Mapped[str] = mapped_column(AttemptName, ForeignKey("campaign_attempts.attempt"), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)


class OpenedTableRow(Base):
    """An opened table: noisy counts as little-endian float64, in the order of the layout of its terms."""

    __tablename__ = "opened_tables"

    attempt: Mapped[str] = mapped_column(AttemptName, ForeignKey("campaign_attempts.attempt"), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(CampaignName, ForeignKey("campaigns.campaign_id"), index=True)
    counts: Mapped[bytes] = mapped_column(Bytes)


class TableShareRow(Base):
    """A node's exact share of an opened table, from which the witness fits the model again, and its receipt."""

    __tablename__ = "table_shares"

    attempt: Mapped[str] = mapped_column(AttemptName, ForeignKey("opened_tables.attempt"), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    share: Mapped[bytes] = mapped_column(Bytes)
    receipt: Mapped[str] = mapped_column(LongText)


class EncoderRoundRow(Base):
    """An opened encoder round: the try that was counted, and the parameters (float64) that it was run on."""

    __tablename__ = "encoder_rounds"

    attempt: Mapped[str] = mapped_column(AttemptName, primary_key=True)
    run: Mapped[str] = mapped_column(AttemptName, ForeignKey("campaign_attempts.attempt"), index=True)
    round: Mapped[int] = mapped_column(Integer)
    parameters: Mapped[bytes] = mapped_column(Bytes)


class EncoderShareRow(Base):
    """A node's exact share of an opened encoder round and its receipt: the witness replays the encoder from these."""

    __tablename__ = "encoder_shares"

    attempt: Mapped[str] = mapped_column(AttemptName, ForeignKey("encoder_rounds.attempt"), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    share: Mapped[bytes] = mapped_column(Bytes)
    receipt: Mapped[str] = mapped_column(LongText)


class EncoderCheckpointRow(Base):
    """Where an encoder run stands after its last opened round; vectors are little-endian float64."""

    __tablename__ = "encoder_checkpoints"

    attempt: Mapped[str] = mapped_column(AttemptName, ForeignKey("campaign_attempts.attempt"), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(CampaignName, ForeignKey("campaigns.campaign_id"), index=True)
    acceptances: Mapped[str] = mapped_column(LongText)
    step: Mapped[int] = mapped_column(Integer)
    retries: Mapped[int] = mapped_column(Integer)
    parameters: Mapped[bytes] = mapped_column(Bytes)
    velocity: Mapped[bytes] = mapped_column(Bytes)
    tail_sum: Mapped[bytes] = mapped_column(Bytes)
