"""What the witness keeps of the slices that it was shown, until the attempt ends."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class WitnessPiecesRow(NodeTableBase):
    """One block of all nodes' slices: what they add up to, hashes and positions; no pseudonym but the outer two."""

    __tablename__ = "witness_slices"

    attempt: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]
