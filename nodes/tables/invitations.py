"""Merchants that this node invited."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class InvitationRow(NodeTableBase):
    """An invitation with its one-time token, by which alone an offered key is known to be the merchant's."""

    __tablename__ = "invitations"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    token: Mapped[str]
    pseudonym: Mapped[bytes] = mapped_column(index=True)
    replaces: Mapped[bool]
    join_url: Mapped[str | None]
    expires_at: Mapped[int] = mapped_column(index=True)
