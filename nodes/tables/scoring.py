"""Answers that were given, and what each used up of a consent."""

from __future__ import annotations

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class AnswerRow(NodeTableBase):
    """A request and the exact answer to it, kept until the request expires; its nonce is kept for good."""

    __tablename__ = "score_answers"
    __table_args__ = (UniqueConstraint("requester", "nonce"),)

    request_hash: Mapped[bytes] = mapped_column(primary_key=True)
    requester: Mapped[str]
    nonce: Mapped[bytes]
    expires_at: Mapped[int] = mapped_column(index=True)
    answer: Mapped[bytes | None]


class UseRow(NodeTableBase):
    """One merchant's answered item: what counts against frequency, model versions and source sets."""

    __tablename__ = "score_uses"
    __table_args__ = (Index("ix_score_uses_recipient", "recipient", "pseudonym"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    recipient: Mapped[str]
    pseudonym: Mapped[bytes]
    record_id: Mapped[str] = mapped_column(index=True)
    request_hash: Mapped[bytes]
    model_id: Mapped[str]
    sources: Mapped[str]
    """Canonical JSON: kind → party."""
    used_at: Mapped[int]
    life_until: Mapped[int]
    """Until when the recipient may keep the answer."""
