"""Which keys of hub and witness follow which: statements that were taken, and those that were refused."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class SuccessionRow(NodeTableBase):
    """A statement on the way from the pinned key."""

    __tablename__ = "successions"

    party_id: Mapped[str] = mapped_column(primary_key=True)
    new_key: Mapped[bytes] = mapped_column(primary_key=True)
    token: Mapped[str]
    learned_at: Mapped[int]


class RefusedSuccessionRow(NodeTableBase):
    """A statement that does not continue the line of keys: somebody may have the old key. Times in Unix seconds."""

    __tablename__ = "refused_successions"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    party_id: Mapped[str]
    new_key: Mapped[bytes]
    code: Mapped[str]
    token: Mapped[str]
    first: Mapped[int]
    last: Mapped[int]
