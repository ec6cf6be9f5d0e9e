"""Parquet files, one row per merchant; read in blocks.

Types are the file's: integers, floats, decimals, Booleans and text are read alike, so the same table has the same bins
in any of them. Memory is bounded by the largest row group, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from models.said import said
from nodes.errors import SourceError
from nodes.sources.base import UNREADABLE, require_columns


@dataclass
class ParquetSource:
    """A Parquet file. Rows are counted from 1."""

    path: Path
    first_row: int = field(default=1, init=False)
    _columns: tuple[str, ...] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def columns(self) -> tuple[str, ...]:
        """Names of the file's columns.

        Raises:
            SourceError: the file is absent, or is not Parquet.
        """
        if self._columns is None:
            try:
                self._columns = tuple(self._scan().collect_schema().names())
            except UNREADABLE as problem:
                raise self._unreadable(problem) from problem
        return self._columns

    def read_blocks(self, columns: Sequence[str], block_rows: int = 65_536) -> Iterator[pl.DataFrame]:
        """Read some columns in their types, in file order.

        Raises:
            SourceError: as ``columns``, or a column is absent.
        """
        require_columns(self, columns)
        try:
            scan = self._scan().select(list(columns))
            for block in scan.collect_batches(chunk_size=block_rows, maintain_order=True):
                yield from block.iter_slices(block_rows)
        except UNREADABLE as problem:
            raise self._unreadable(problem) from problem

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.path, glob=False, hive_partitioning=False, low_memory=True, cache=False)

    def _unreadable(self, problem: BaseException) -> SourceError:
        if isinstance(problem, OSError) and problem.errno is not None:
            what = said("cannot be read ({reason})", reason=problem.strerror)
            remedy = said("check the path and its permissions")
        elif not self.path.is_file():
            what, remedy = said("is no file"), said("check the path")
        else:
            # the library's own message may quote cells
            what, remedy = said("is not a Parquet file, or is damaged"), said("write the file again")
        return SourceError(said("{name}: {what}", name=self.path, what=what), field="path", remedy=remedy)
