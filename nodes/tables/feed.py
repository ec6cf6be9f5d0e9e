"""The node's place in its feed, and items that did not verify when they came."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class FeedPlaceRow(NodeTableBase):
    """One row: the last feed item taken in, and when the hub last said that there was no more."""

    __tablename__ = "feed_place"

    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int]
    head_time: Mapped[int]
    """Seconds since 1970, of the hub's signed head or our clock, whichever is earlier; never goes back."""


class RefusedItemRow(NodeTableBase):
    """An item that its handler refused; tried again when a newer roster brings other keys."""

    __tablename__ = "feed_refused"

    seq: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[bytes]
    code: Mapped[str]
