"""Batches of scoring queries: what is asked, under which requests, and what came of each merchant."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class BatchRow(NodeTableBase):
    """A batch. `source_sha256` is of the file or body that it came from; `key` is the caller's Idempotency-Key.

    While it is `paused` nobody is asked; requests that are under way wait likewise.
    """

    __tablename__ = "batches"

    batch_id: Mapped[str] = mapped_column(primary_key=True)
    source_sha256: Mapped[str] = mapped_column(index=True)
    key: Mapped[str | None] = mapped_column(unique=True)
    purpose: Mapped[str]
    model_id: Mapped[str]
    total: Mapped[int]
    created_at: Mapped[int]
    finished_at: Mapped[int | None]
    paused: Mapped[bool] = mapped_column(default=False)


class BatchItemRow(NodeTableBase):
    """One merchant. `state` is waiting, asked, or done; `answer` is JSON of a ScoreAnswer; else `code` says why."""

    __tablename__ = "batch_items"
    __table_args__ = (Index("ix_batch_items_state", "batch_id", "state", "place"),)

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]
    consent_id: Mapped[str | None]
    state: Mapped[str]
    code: Mapped[str | None]
    detail: Mapped[str | None]
    answer: Mapped[str | None]
    record_id: Mapped[str | None] = mapped_column(index=True)
    """The consent that the answer was received under; `keep_until` is the end of its life."""
    keep_until: Mapped[int | None] = mapped_column(index=True)


class BatchRequestRow(NodeTableBase):
    """A signed request under way: kept before it is sent, deleted with its answers. `places` is JSON."""

    __tablename__ = "batch_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id", ondelete="CASCADE"), index=True)
    token: Mapped[str]
    places: Mapped[str]
    expires_at: Mapped[int]


class GatewayKeyRow(NodeTableBase):
    """A request under its Idempotency-Key: signed, before it is sent; then its answer (JSON) beside it."""

    __tablename__ = "gateway_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    token: Mapped[str | None]
    answer: Mapped[str | None]
    record_id: Mapped[str | None] = mapped_column(index=True)
    keep_until: Mapped[int | None] = mapped_column(index=True)
    created_at: Mapped[int] = mapped_column(index=True)
