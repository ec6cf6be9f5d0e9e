"""The cosigned roster and the node's pseudonyms."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class RosterRow(NodeTableBase):
    """A roster that the witness signed; the highest version counts."""

    __tablename__ = "rosters"

    version: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[str]


class PseudonymRow(NodeTableBase):
    """An identifier of the node's own table and its pseudonym, one-to-one. It stays on the node."""

    __tablename__ = "pseudonyms"

    id_type: Mapped[str] = mapped_column(primary_key=True)
    identifier: Mapped[str] = mapped_column(primary_key=True)
    pseudonym: Mapped[bytes] = mapped_column(unique=True)
