"""What a node asks of its owner's data, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import polars as pl

from models.said import said
from nodes.errors import SourceError

UNREADABLE: tuple[type[BaseException], ...] = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What reading a file raises that is absent or damaged; Polars panics over some damaged Parquet files."""


class Source(Protocol):
    """A table of the owner: one row per merchant."""

    @property
    def name(self) -> str:
        """How messages call it, e.g. the file's path."""

    @property
    def first_row(self) -> int:
        """Number of the first data row, as the owner counts them."""

    def columns(self) -> tuple[str, ...]:
        """Names of all columns.

        Raises:
            SourceError: the table cannot be read.
        """

    def read_blocks(self, columns: Sequence[str], block_rows: int) -> Iterator[pl.DataFrame]:
        """Read some columns, in the table's order, at most ``block_rows`` rows at a time.

        Raises:
            SourceError: the table cannot be read, or lacks a column.
        """


def require_columns(source: Source, columns: Sequence[str]) -> None:
    """Refuse a table that lacks some of the columns.

    Raises:
        SourceError: it does, or cannot be read.
    """
    present = source.columns()
    absent = [name for name in columns if name not in present]
    if absent:
        raise SourceError(
            said("{name}: missing columns: {columns}", name=source.name, columns=", ".join(absent)),
            field=absent[0],
            remedy=said("add the columns"),
        )
