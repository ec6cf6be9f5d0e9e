"""What processes that serve one database share: who they are, whose links they hold, spent nonces, counted requests.

Times that compare replicas with one another are milliseconds of the database's own clock.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, PartyName, Seconds
from hub.tables.base import Base


class ReplicaRow(Base):
    """A process that serves. Its lease is over a while after `seen_ms`; once `ended` it commits nothing more."""

    __tablename__ = "replicas"

    instance: Mapped[str] = mapped_column(String(32), primary_key=True)
    address: Mapped[str] = mapped_column(String(255))
    machine: Mapped[str] = mapped_column(String(255))
    started_at: Mapped[int] = mapped_column(Seconds)
    seen_ms: Mapped[int] = mapped_column(BigInteger)
    ended: Mapped[bool] = mapped_column(Boolean)


class LinkPlaceRow(Base):
    """Which replica holds a party's newest link; `link` names the link."""

    __tablename__ = "link_places"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    instance: Mapped[str] = mapped_column(String(32), index=True)
    link: Mapped[str] = mapped_column(String(32))


class SpentNonceRow(Base):
    """The nonce of a signed request that was used, as SHA-256 of its use, its signer and itself."""

    __tablename__ = "spent_nonces"

    digest: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    issued_at: Mapped[int] = mapped_column(Seconds, index=True)


class CountedRequestRow(Base):
    """A request that a limit counts, by the limit's name; forgotten when no window reaches it any more."""

    __tablename__ = "counted_requests"
    __table_args__ = (Index("ix_counted_requests_name_at_ms", "name", "at_ms"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    expires_ms: Mapped[int] = mapped_column(BigInteger, index=True)
