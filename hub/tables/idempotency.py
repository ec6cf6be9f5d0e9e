"""Stored answers to POST requests, by idempotency key."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Bytes, Seconds
from hub.tables.base import Base


class IdempotencyRow(Base):
    """`status` is null while the first request runs, at the replica `owner` if there are several.

    `scope` hashes key, path and authorisation.
    """

    __tablename__ = "idempotency"

    scope: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    body_sha256: Mapped[bytes] = mapped_column(Bytes)
    status: Mapped[int | None] = mapped_column(Integer)
    media_type: Mapped[str | None] = mapped_column(String(128))
    answer: Mapped[bytes | None] = mapped_column(Bytes)
    created_at: Mapped[int] = mapped_column(Seconds, index=True)
    owner: Mapped[str | None] = mapped_column(String(32))
