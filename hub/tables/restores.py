"""That the database was brought back from a backup, what the log lacks since, and feeds that went on without it."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, LongText, PartyName, Seconds
from hub.tables.base import Base


class RestoreRow(Base):
    """One restoring, or a database found older than what the witness cosigned. The newest row says where it stands.

    `phase` is `held` (nothing may be written), `resubmitting` (the log is whole again, what it speaks of comes back) or
    `ended`. `log_size` entries were in the backup, the witness had cosigned `witness_size`.
    """

    __tablename__ = "restores"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    phase: Mapped[str] = mapped_column(String(16))
    log_size: Mapped[int] = mapped_column(BigId)
    witness_size: Mapped[int | None] = mapped_column(BigId)
    made_at: Mapped[int | None] = mapped_column(Seconds)
    restored_at: Mapped[int] = mapped_column(Seconds)
    ended_at: Mapped[int | None] = mapped_column(Seconds)
    lost: Mapped[str | None] = mapped_column(LongText)
    """JSON: how many entries of each type came back from the witness without what they speak of."""


class RestoredFeedRow(Base):
    """A feed whose party held more than the backup: its numbers go on after `held_seq`, moved once a restoring."""

    __tablename__ = "restored_feeds"

    restore_id: Mapped[int] = mapped_column(BigId, ForeignKey("restores.id"), primary_key=True, autoincrement=False)
    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    hub_seq: Mapped[int] = mapped_column(Integer)
    held_seq: Mapped[int] = mapped_column(Integer)
