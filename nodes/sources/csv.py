"""CSV files: UTF-8 with or without a byte order mark, the column names in the first row."""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import polars as pl

from models.said import Said, said
from nodes.errors import SourceError
from nodes.sources.base import UNREADABLE, require_columns

_SEGMENT_ROWS = 16_384
"""Records read at a time: memory does not grow with the file, as it would with a mapping of all of it."""


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
    _segments: list[tuple[int, int]] = field(default_factory=list, init=False, repr=False)
    """Where the records of each segment end in the file, and how many they are."""

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
        require_columns(self, columns)
        try:
            with self.path.open("rb") as file:
                # before every segment: without it blank lines at its start would not count as rows
                header = file.read(self._segments[0][0])
                for (start, _), (end, rows) in itertools.pairwise(self._segments):
                    file.seek(start)
                    segment = pl.read_csv(
                        header + file.read(end - start),
                        separator=self.separator,
                        infer_schema=False,
                        null_values=list(self.null_values) or None,
                    )
                    if segment.height != rows:
                        raise self._badly_quoted(
                            said("its records cannot be told apart, or it was changed while it was read")
                        )
                    yield from segment.select(list(columns)).iter_slices(block_rows)
        except UNREADABLE as problem:
            # the library's own message may quote cells
            raise self._badly_quoted(said("the file cannot be read as CSV")) from problem

    def _check_records(self) -> tuple[str, ...]:
        """Every record must have the header's length: a cut row would else read as missing values."""
        row = 0
        try:
            with self.path.open("rb") as file:
                lines = _Lines(file)
                records = csv.reader(lines, delimiter=self.separator, strict=True)
                header = tuple(next(records, ()))
                segments = [(lines.read, 0)]
                for row, record in enumerate(records, start=2):
                    if (row - 1) % _SEGMENT_ROWS == 0:
                        segments.append((lines.read, _SEGMENT_ROWS))
                    if len(record) not in (len(header), 0):
                        raise SourceError(
                            said(
                                "{name}: row {row} has {cells} cells, the header has {columns}",
                                name=self.path,
                                row=row,
                                cells=len(record),
                                columns=len(header),
                            ),
                            field=f"row {row}",
                            remedy=said("complete the row, or quote cells that contain the separator"),
                        )
        except UnicodeDecodeError as problem:
            raise SourceError(
                said("{name}: not UTF-8 text", name=self.path),
                field="path",
                remedy=said("save it as UTF-8, e.g. iconv -f GB18030 -t UTF-8 old.csv > new.csv"),
            ) from problem
        except OSError as problem:
            raise SourceError(
                said("{name}: cannot be read ({reason})", name=self.path, reason=problem.strerror),
                field="path",
                remedy=said("check the path and its permissions"),
            ) from problem
        except csv.Error as problem:
            raise self._badly_quoted(said("after row {row}: badly quoted", row=max(row, 1))) from problem
        if not header:
            raise SourceError(
                said("{name}: the file is empty", name=self.path),
                field="path",
                remedy=said("put the column names in the first row"),
            )
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SourceError(
                said("{name}: row 1: the column {column} occurs twice", name=self.path, column=repr(twice[0])),
                field=twice[0],
                remedy=said("rename or drop one of them"),
            )
        if lines.read > segments[-1][0]:
            segments.append((lines.read, max(row - 1, 0) % _SEGMENT_ROWS))
        self._segments = segments
        return header

    def _badly_quoted(self, what: Said) -> SourceError:
        return SourceError(
            said("{name}: {what}", name=self.path, what=what),
            field="path",
            remedy=said("check the quotes: a quoted cell starts and ends with one, inner ones are doubled"),
        )


class _Lines:
    """A file's lines as text; `read` is how many bytes they took, which after a record is where it ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            start = len(codecs.BOM_UTF8) if self.read == 0 and line.startswith(codecs.BOM_UTF8) else 0
            self.read += len(line)
            yield line[start:].decode()
