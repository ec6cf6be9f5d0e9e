"""Each party's own feed: its length, and its items in order without gaps."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, LongText, PartyName
from hub.tables.base import Base


class FeedCounterRow(Base):
    """The last number given out in a party's feed; its row lock puts concurrent writers in order."""

    __tablename__ = "feed_counters"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    seq: Mapped[int] = mapped_column(Integer)


class FeedItemRow(Base):
    """An item. What a consent brings is looked up by `record_id` and `key_id`, so that it is stored once."""

    __tablename__ = "feed_items"

    party_id: Mapped[str] = mapped_column(PartyName, primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    record_id: Mapped[str | None] = mapped_column(String(32))
    key_id: Mapped[int | None] = mapped_column(BigId)
    token: Mapped[str | None] = mapped_column(LongText)
    model_id: Mapped[str | None] = mapped_column(String(128))
