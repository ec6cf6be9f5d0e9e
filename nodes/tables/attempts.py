"""State of attempts that the node takes part in, with their single-use keys."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import AttemptStateColumns, NodeTableBase


class AttemptRow(AttemptStateColumns, NodeTableBase):
    """The state of an attempt; outlives its key."""

    __tablename__ = "attempts"


class AttemptKeyRow(NodeTableBase):
    """The X25519 key of an attempt; deleted when the attempt ends."""

    __tablename__ = "attempt_keys"

    attempt: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes]


class AttemptBlobRow(NodeTableBase):
    """What an attempt needs between two steps: slices, peers' acceptances, sealed rows."""

    __tablename__ = "attempt_blobs"

    attempt: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[bytes]
    kept_at: Mapped[int] = mapped_column(index=True)
