"""Statements about privacy notices, as the hub signed them."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class NoticeRow(NodeTableBase):
    """A statement, once; rows are never changed or deleted."""

    __tablename__ = "notices"

    sha256: Mapped[bytes] = mapped_column(primary_key=True)
    """Of its payload."""
    serial: Mapped[int]
    token: Mapped[str]
