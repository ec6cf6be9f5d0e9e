"""CSV files: UTF-8 with or without a byte order mark, the column names in the first row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from nodes.errors import SourceError


@dataclass
class CsvSource:
    """A CSV file; all values are read as text, empty cells as missing.

    Row numbers in messages are those of the file's records: the header is row 1.

    Attributes:
        path: the file.
        separator: one character.
        null_values: further texts that mean "missing", e.g. ``NA``.
    """

    path: Path
    separator: str = ","
    null_values: tuple[str, ...] = ()
    first_row: int = field(default=2, init=False)
    _header: tuple[str, ...] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.path)

    def columns(self) -> tuple[str, ...]:
        """Names in the first row.

        Raises:
            SourceError: the file is absent, empty, not UTF-8, or its records differ in length.
        """
        if self._header is None:
            self._header = self._check_records()
        return self._header

    def read_blocks(self, columns: Sequence[str], block_rows: int = 65_536) -> Iterator[pl.DataFrame]:
        """Read some columns as text, in file order.

        Raises:
            SourceError: as ``columns``, or a column is absent.
        """
        absent = [name for name in columns if name not in self.columns()]
        if absent:
            raise SourceError(
                f"{self.path}: missing columns: {', '.join(absent)}", field=absent[0], remedy="add the columns"
            )
        try:
            scan = pl.scan_csv(
                self.path,
                separator=self.separator,
                infer_schema=False,
                null_values=list(self.null_values) or None,
                glob=False,
            )
            for block in scan.select(list(columns)).collect_batches(chunk_size=block_rows, maintain_order=True):
                yield from block.iter_slices(block_rows)
        except (pl.exceptions.PolarsError, OSError) as problem:
            # the library's own message may quote cells
            raise SourceError(
                f"{self.path}: the file cannot be read as CSV",
                field="path",
                remedy="check the quotes: a quoted cell starts and ends with one, inner ones are doubled",
            ) from problem

    def _check_records(self) -> tuple[str, ...]:
        """Every record must have the header's length: a cut row would else read as missing values."""
        row = 0
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as text:
                records = csv.reader(text, delimiter=self.separator, strict=True)
                header = tuple(next(records, ()))
                for row, record in enumerate(records, start=2):
                    if len(record) not in (len(header), 0):
                        raise SourceError(
                            f"{self.path}: row {row} has {len(record)} cells, the header has {len(header)}",
                            field=f"row {row}",
                            remedy="complete the row, or quote cells that contain the separator",
                        )
        except UnicodeDecodeError as problem:
            raise SourceError(
                f"{self.path}: not UTF-8 text",
                field="path",
                remedy="save it as UTF-8, e.g. iconv -f GB18030 -t UTF-8 old.csv > new.csv",
            ) from problem
        except OSError as problem:
            raise SourceError(
                f"{self.path}: cannot be read ({problem.strerror})",
                field="path",
                remedy="check the path and its permissions",
            ) from problem
        except csv.Error as problem:
            raise SourceError(
                f"{self.path}: after row {max(row, 1)}: badly quoted",
                field="path",
                remedy="check the quotes: a quoted cell starts and ends with one, inner ones are doubled",
            ) from problem
        if not header:
            raise SourceError(
                f"{self.path}: the file is empty", field="path", remedy="put the column names in the first row"
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(
                f"{self.path}: row 1: the column {twice[0]!r} occurs twice",
                field=twice[0],
                remedy="rename or drop one of them",
            )
        return header
