"""That this store is a copy, and when it was found to be one."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class StoreCopyRow(NodeTableBase):
    """A backup that this store came from; the last one counts. Times in Unix seconds.

    What happened between `made_at` and `opened_at` is not in it: charges until `settled_at`, uses of consents for good.
    """

    __tablename__ = "store_copies"

    id: Mapped[int] = mapped_column(primary_key=True)
    made_at: Mapped[int]
    opened_at: Mapped[int | None]
    settled_at: Mapped[int | None]
