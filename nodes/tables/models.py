"""Models that the witness released."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class ModelRow(NodeTableBase):
    """A model by the hash of its artefact, which may come later than its release.

    A withdrawal may come before the release, or without one, and is final.
    """

    __tablename__ = "models"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    campaign_id: Mapped[str | None]
    scope: Mapped[str | None]
    release: Mapped[str | None]
    """The witness's JWS."""
    issued_at: Mapped[int]
    arrived: Mapped[int]
    """Place among all releases in the order of the feed: of two in one second the later one counts as newer."""
    artefact: Mapped[bytes | None]
    withdrawal: Mapped[str | None]
    """The witness's JWS."""


class ModelRollbackRow(NodeTableBase):
    """What one rollback of the witness says of one model: whether it is in use from then on, or no more."""

    __tablename__ = "model_rollbacks"

    serial: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(primary_key=True)
    in_use: Mapped[bool]
    issued_at: Mapped[int]
    token: Mapped[str]
    """The witness's JWS."""
