"""The witness's verified copy of the hub's log: a file of its own beside the node's store, which can be made again."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class MirrorTableBase(DeclarativeBase):
    """Base of every table of the mirror."""


class MirrorHeadRow(MirrorTableBase):
    """Up to where the log was verified and kept."""

    __tablename__ = "mirror_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    origin: Mapped[str]
    size: Mapped[int]
    root: Mapped[bytes]
    verified_at: Mapped[int]


class MirrorEntryRow(MirrorTableBase):
    """An exact leaf at its place; `time` is the entry's own, in Unix seconds."""

    __tablename__ = "mirror_entries"

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[int]
    leaf: Mapped[bytes]


class MirrorBitsRow(MirrorTableBase):
    """Which entries of a block a term of `crypto.log_index` stands in, as a bitmap."""

    __tablename__ = "mirror_bits"
    __table_args__ = {"sqlite_with_rowid": False}

    term: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True)
    bits: Mapped[bytes]


class MirrorCommitmentRow(MirrorTableBase):
    """In which entries a commitment stands, by `crypto.log_index.commitment_key`."""

    __tablename__ = "mirror_commitments"
    __table_args__ = {"sqlite_with_rowid": False}

    key: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)


class MirrorSpanRow(MirrorTableBase):
    """The earliest and the latest time of a block's entries, in Unix seconds."""

    __tablename__ = "mirror_spans"

    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first: Mapped[int]
    last: Mapped[int]


class MirrorTileRow(MirrorTableBase):
    """The widest form of a tile of the tree so far."""

    __tablename__ = "mirror_tiles"

    level: Mapped[int] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class MirrorDayRow(MirrorTableBase):
    """How often something was logged on a day (`YYYY-MM-DD`)."""

    __tablename__ = "mirror_days"
    __table_args__ = {"sqlite_with_rowid": False}

    day: Mapped[str] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]


class MirrorAlarmRow(MirrorTableBase):
    """Why the mirror cannot go on, until it does again."""

    __tablename__ = "mirror_alarms"

    code: Mapped[str] = mapped_column(primary_key=True)
    detail: Mapped[str]
    remedy: Mapped[str]
    since: Mapped[int]
    """When it was first found, in Unix seconds."""
