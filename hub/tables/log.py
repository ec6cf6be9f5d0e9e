"""The audit log: what waits for its place, entries, tiles, checkpoints, and the erasable salts."""

from __future__ import annotations

from sqlalchemy import Boolean, Integer
from sqlalchemy.orm import Mapped, mapped_column

from hub.tables.base import Base, BigId, Bytes, LongText, Seconds


class LogPendingRow(Base):
    """A leaf that was committed with its cause and waits for the sequencer. Ids are never used twice."""

    __tablename__ = "log_pending"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    leaf: Mapped[bytes] = mapped_column(Bytes)


class LogEntryRow(Base):
    """A leaf at its place."""

    __tablename__ = "log_entries"

    index: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    pending_id: Mapped[int] = mapped_column(BigId, unique=True)
    leaf: Mapped[bytes] = mapped_column(Bytes)
    hash: Mapped[bytes] = mapped_column(Bytes)


class LogTileRow(Base):
    """The widest form of a tile so far; a narrower one is its first `width` hashes."""

    __tablename__ = "log_tiles"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    width: Mapped[int] = mapped_column(Integer)
    data: Mapped[bytes] = mapped_column(Bytes)


class CheckpointRow(Base):
    """A signed note; with the witness's line when `cosigned`."""

    __tablename__ = "checkpoints"

    size: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(LongText)
    cosigned: Mapped[bool] = mapped_column(Boolean, index=True)
    created_at: Mapped[int] = mapped_column(Seconds)


class SubjectSaltRow(Base):
    """What links an entry to a merchant, off the log; erased on the merchant's demand (PIPL 47).

    `outcome` is JSON, for a query: `answered` or the code of the refusal by source.
    """

    __tablename__ = "subject_salts"

    pending_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    pseudonym: Mapped[bytes] = mapped_column(Bytes, index=True)
    salt: Mapped[bytes] = mapped_column(Bytes)
    outcome: Mapped[str | None] = mapped_column(LongText)
