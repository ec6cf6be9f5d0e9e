"""The registry of models: exact bytes by hash, what the witness needs to fit them again, its signatures."""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class ModelRow(Base):
    """A model artefact; in its line, e.g. all models of campaigns of one name, it has a version number."""

    __tablename__ = "models"

    model_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    model_type: Mapped[str] = mapped_column(String(16))
    campaign_id: Mapped[str] = mapped_column(String(128), index=True)
    attempt: Mapped[str | None] = mapped_column(String(128))
    artefact: Mapped[bytes] = mapped_column(Bytes)
    registered_at: Mapped[int] = mapped_column(Seconds)
    line: Mapped[str] = mapped_column(String(160))
    version: Mapped[int] = mapped_column(Integer)
    epsilon: Mapped[float | None] = mapped_column(Double)
    """As its artefact states it; None without noise."""
    waits_since: Mapped[int | None] = mapped_column(Seconds)
    """When the witness's owner was first asked to approve its release; None where nobody had to be asked."""

    __table_args__ = (Index("ix_models_line_version", "line", "version", unique=True),)


class ModelEvaluationRow(Base):
    """What an evaluation stage found of a model: JSON of `models.evaluation_result.EvaluationResult`."""

    __tablename__ = "model_evaluations"

    attempt: Mapped[str] = mapped_column(String(128), primary_key=True)
    model_id: Mapped[str] = mapped_column(String(80), ForeignKey("models.model_id"), index=True)
    result: Mapped[str] = mapped_column(LongText)
    received_at: Mapped[int] = mapped_column(Seconds)


class ModelShareRow(Base):
    """A node's exact share bytes in the attempt that the model came from."""

    __tablename__ = "model_shares"

    model_id: Mapped[str] = mapped_column(String(80), ForeignKey("models.model_id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    share: Mapped[bytes] = mapped_column(Bytes)


class ModelRollbackRow(Base):
    """A rollback that the witness signed: of this line an older model is in use, and newer ones are not."""

    __tablename__ = "model_rollbacks"

    serial: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    """The witness's number of it, over all lines."""
    line: Mapped[str] = mapped_column(String(160), index=True)
    model_id: Mapped[str] = mapped_column(String(80), ForeignKey("models.model_id"))
    """What is in use from then on."""
    token: Mapped[str] = mapped_column(LongText)
    received_at: Mapped[int] = mapped_column(Seconds)


class ModelSignatureRow(Base):
    """What the witness signed about a model: `kind` is evaluation, release or withdrawal."""

    __tablename__ = "model_signatures"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    model_id: Mapped[str] = mapped_column(String(80), ForeignKey("models.model_id"))
    kind: Mapped[str] = mapped_column(String(16))
    token: Mapped[str] = mapped_column(LongText)
    received_at: Mapped[int] = mapped_column(Seconds)

    __table_args__ = (Index("ix_model_signatures_model_kind", "model_id", "kind", unique=True),)
