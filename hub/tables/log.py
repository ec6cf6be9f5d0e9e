"""The audit log: what waits for its place, entries, tiles, checkpoints, index, refusals, and the erasable salts."""

from __future__ import annotations

from sqlalchemy import Boolean, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, PartyName, Seconds
from hub.tables.base import Base


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
    time: Mapped[int] = mapped_column(Seconds)
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


class LogPostingRow(Base):
    """Where one term stands among the 4096 entries of a block (crypto.log_index)."""

    __tablename__ = "log_postings"
    __table_args__ = {"sqlite_with_rowid": False}

    term: Mapped[str] = mapped_column(String(160), primary_key=True)
    block: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    bits: Mapped[bytes] = mapped_column(Bytes)


class LogBlockRow(Base):
    """Between which times the entries of a block lie; a clock may have been set back within it."""

    __tablename__ = "log_blocks"

    block: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    earliest: Mapped[int] = mapped_column(Seconds)
    latest: Mapped[int] = mapped_column(Seconds)


class LogCommitmentRow(Base):
    """Which entries hold a commitment that begins with `key` (crypto.log_index.commitment_key)."""

    __tablename__ = "log_commitments"
    __table_args__ = {"sqlite_with_rowid": False}

    key: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)


class CosigningRefusalRow(Base):
    """A time during which the witness gave no signature that counts though it was asked; `ended_at` when it did again.

    `size` is that of the newest checkpoint that was offered, `cosigned_size` of the newest that has its signature.
    """

    __tablename__ = "cosigning_refusals"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    code: Mapped[str] = mapped_column(PartyName)
    detail: Mapped[str] = mapped_column(LongText)
    size: Mapped[int] = mapped_column(BigId)
    cosigned_size: Mapped[int] = mapped_column(BigId)
    since: Mapped[int] = mapped_column(Seconds)
    last_at: Mapped[int] = mapped_column(Seconds)
    ended_at: Mapped[int | None] = mapped_column(Seconds, index=True)


class SubjectSaltRow(Base):
    """What links an entry to a merchant, off the log; erased on the merchant's demand (PIPL 47).

    `outcome` is JSON, for a query: `answered` or the code of the refusal by source.
    """

    __tablename__ = "subject_salts"

    pending_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    pseudonym: Mapped[bytes] = mapped_column(Bytes, index=True)
    salt: Mapped[bytes] = mapped_column(Bytes)
    appended_at: Mapped[int] = mapped_column(Seconds, index=True)
    outcome: Mapped[str | None] = mapped_column(LongText)
