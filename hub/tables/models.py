"""The registry of models: exact bytes by hash, what the witness needs to fit them again, its signatures."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.tables.base import Base, BigId, Bytes, LongText, PartyName, Seconds


class ModelRow(Base):
    """A model artefact."""

    __tablename__ = "models"

    model_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    model_type: Mapped[str] = mapped_column(String(16))
    campaign_id: Mapped[str] = mapped_column(String(128), index=True)
    attempt: Mapped[str | None] = mapped_column(String(128))
    artefact: Mapped[bytes] = mapped_column(Bytes)
    registered_at: Mapped[int] = mapped_column(Seconds)


class ModelShareRow(Base):
    """A node's exact share bytes in the attempt that the model came from."""

    __tablename__ = "model_shares"

    model_id: Mapped[str] = mapped_column(String(80), ForeignKey("models.model_id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    share: Mapped[bytes] = mapped_column(Bytes)


class ModelSignatureRow(Base):
    """What the witness signed about a model: `kind` is evaluation, release or withdrawal."""

    __tablename__ = "model_signatures"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    model_id: Mapped[str] = mapped_column(String(80), ForeignKey("models.model_id"))
    kind: Mapped[str] = mapped_column(String(16))
    token: Mapped[str] = mapped_column(LongText)
    received_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (Index("ix_model_signatures_model_kind", "model_id", "kind", unique=True),)
