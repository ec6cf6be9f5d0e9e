"""Who the hub is, who is enrolled, cosigned rosters, and merchants' keys."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


class HubIdentityRow(Base):
    """One row, written by `init`: start-up compares it with the key files. `sign_key` is the newest announced."""

    __tablename__ = "hub_identity"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    hub_id: Mapped[str] = mapped_column(PartyName)
    origin: Mapped[str] = mapped_column(String(255))
    sign_key: Mapped[bytes] = mapped_column(Bytes)
    voprf_key: Mapped[bytes] = mapped_column(Bytes)


class KeySuccessionRow(Base):
    """A statement that a key of the hub's or the witness's follows another; each key has one successor."""

    __tablename__ = "key_successions"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    old_key: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    new_key: Mapped[bytes] = mapped_column(Bytes)
    holds_from: Mapped[int] = mapped_column(Seconds)
    token: Mapped[str] = mapped_column(LongText)
    announced_at: Mapped[int] = mapped_column(Seconds)


class EnrolmentTokenRow(Base):
    """A one-time token by its SHA-256, bound to a kind and a party id."""

    __tablename__ = "enrolment_tokens"

    token_sha256: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    party_id: Mapped[str] = mapped_column(PartyName)
    replace: Mapped[bool] = mapped_column(Boolean, default=False)
    expires_at: Mapped[int] = mapped_column(Seconds)
    used_at: Mapped[int | None] = mapped_column(Seconds)


class PartyRow(Base):
    """A party as enrolled last."""

    __tablename__ = "parties"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    region: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(120), default="")
    sign_key: Mapped[bytes] = mapped_column(Bytes)
    box_key: Mapped[bytes] = mapped_column(Bytes)
    training_key: Mapped[bytes | None] = mapped_column(Bytes)
    voprf_key: Mapped[bytes | None] = mapped_column(Bytes)
    enrolled_at: Mapped[int] = mapped_column(Seconds)
    changed_at: Mapped[int] = mapped_column(Seconds)


class RevokedKeyRow(Base):
    """An identity key that no party may use any more, and whose it was."""

    __tablename__ = "revoked_keys"

    sign_key: Mapped[bytes] = mapped_column(Bytes, primary_key=True)
    party_id: Mapped[str] = mapped_column(PartyName, index=True)
    kind: Mapped[str] = mapped_column(String(32))
    title: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(LongText)
    revoked_at: Mapped[int] = mapped_column(Seconds)


class RosterRow(Base):
    """A roster as the witness signed it."""

    __tablename__ = "rosters"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    token: Mapped[str] = mapped_column(LongText)
    adopted_at: Mapped[int] = mapped_column(Seconds)


class MerchantKeyBatchRow(Base):
    """A batch of merchants' keys with its two signatures over the same bytes."""

    __tablename__ = "merchant_key_batches"

    batch_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    platform: Mapped[str] = mapped_column(PartyName)
    countersigner: Mapped[str] = mapped_column(PartyName)
    batch: Mapped[str] = mapped_column(LongText)
    countersignature: Mapped[str] = mapped_column(LongText)
    received_at: Mapped[int] = mapped_column(Seconds)


class MerchantKeyRow(Base):
    """One merchant's key: the canonical leaf and its proof (32-byte hashes in a row). The newest id counts."""

    __tablename__ = "merchant_keys"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    pseudonym: Mapped[bytes] = mapped_column(Bytes)
    batch_id: Mapped[str] = mapped_column(String(32), ForeignKey("merchant_key_batches.batch_id"))
    position: Mapped[int] = mapped_column(Integer)
    leaf: Mapped[bytes] = mapped_column(Bytes)
    proof: Mapped[bytes] = mapped_column(Bytes)

    __table_args__ = (
        Index("ix_merchant_keys_pseudonym_id", "pseudonym", "id"),
        Index("ix_merchant_keys_batch_position", "batch_id", "position", unique=True),
        {"sqlite_autoincrement": True},
    )
