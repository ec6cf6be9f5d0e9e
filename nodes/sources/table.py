"""A node's own table, validated and binned: the only form in which its rows enter a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Self

import numpy as np
import polars as pl

from crypto.errors import IdentifierError
from crypto.identifiers import IdentifierType, masked, normalise
from models.adverse import day_of, days_of, too_old
from models.bins import CellProblem, bin_frame, outcome_checked, text_values
from models.codes import Codes
from models.quantile_bins import on_grid
from models.said import Said, said
from models.schema import Schema
from nodes.clock import system_clock
from nodes.errors import SourceError
from nodes.sources.base import Source

BLOCK_ROWS = 65_536
MAX_REPORTED = 20


@dataclass(frozen=True)
class NodeTable:
    """The rows of one node.

    Attributes:
        ids: (n) normalised identifiers, all different.
        codes: (n, F) bins, features in the order of the schema.
        outcome: (n,) 0 defaulted, 1 performing, 2 no label; ``None`` where the kind has no label.
        outside: (F,) values outside the feature's ``range``.
        too_old: column of an adverse fact → values that are past the five-year limit and were left out.
        ends: column of an adverse fact → (n,) days of its end, null where it has none.
    """

    ids: list[str]
    codes: Codes
    outcome: Codes | None
    outside: tuple[int, ...]
    too_old: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[str, pl.Series] = field(default_factory=dict)

    @classmethod
    def load(
        cls, source: Source, schema: Schema, kind: str, *, block_rows: int = BLOCK_ROWS, today: date | None = None
    ) -> Self:
        """Read, check and bin the owner's table. Rows without any value are skipped.

        Args:
            source: where the rows are.
            schema: the campaign's public schema; where its bins are still to come from quantiles, codes are cells of
                the grids (`models.quantile_bins.on_grid`).
            kind: this node's kind.
            block_rows: rows held as text at a time.
            today: adverse facts that are past the limit on this day are left out, as if their cells were empty; the
                present day in Beijing if not given.

        Raises:
            SourceError: columns are missing, or cells do not fit: up to 20 problems are named at once.
            SchemaError: the schema has no such kind.
        """
        schema = on_grid(schema)
        features = schema.features(kind)
        labelled = schema.label.kind == kind
        wanted = [schema.id.column, *schema.columns(kind)]
        if labelled:
            wanted.append(schema.label.column)
        ends = schema.end_columns(kind)
        wanted += dict.fromkeys(ends.values())
        _check_columns(source, wanted, kind)
        day = today or day_of(system_clock())
        old = dict.fromkeys(ends, 0)
        ended: dict[str, list[pl.Series]] = {column: [] for column in ends}

        ids = _Identifiers(schema.id.type, schema.id.column)
        report = _Report()
        codes: list[Codes] = [np.empty((0, len(features)), dtype=np.uint8)]
        outcomes: list[Codes] = [np.empty(0, dtype=np.uint8)]
        outside = np.zeros(len(features), dtype=np.int64)
        row = source.first_row
        for block in source.read_blocks(wanted, block_rows):
            filled = _filled(block)
            numbers = row + np.flatnonzero(filled)
            kept = block.filter(pl.Series(filled))
            row += block.height
            ids.add(text_values(kept[schema.id.column]).to_list(), numbers.tolist(), report)
            for column, ended_at in ends.items():
                past, problems = too_old(kept[ended_at], day)
                report.add_cells(problems, numbers.tolist())
                ended[column].append(days_of(kept[ended_at])[0])
                facts = kept[column]
                old[column] += int((past & text_values(facts).is_not_null().to_numpy()).sum())
                kept = kept.with_columns(facts.set(pl.Series(past), None))
            binned = bin_frame(schema, kind, kept)
            report.add_cells(binned.problems, numbers.tolist())
            codes.append(binned.codes)
            outside += binned.outside
            if labelled:
                outcome, problems = outcome_checked(schema.label, kept[schema.label.column])
                report.add_cells(problems, numbers.tolist())
                outcomes.append(outcome)
        if not ids.values and not report.total:
            raise SourceError(
                said("{name}: no rows", name=source.name),
                field="rows",
                remedy=said("give a table with one row per merchant"),
            )
        report.refuse(source.name)
        outcome_or_none = np.concatenate(outcomes) if labelled else None
        days = {column: pl.concat(parts) for column, parts in ended.items() if parts}
        return cls(ids.values, np.concatenate(codes), outcome_or_none, tuple(outside.tolist()), old, days)


@dataclass
class _Report:
    """The first problems by row, and how many there are in all."""

    lines: list[tuple[int, str, Said]] = field(default_factory=list)
    total: int = 0

    def add(self, row: int, column: str, what: Said) -> None:
        self.total += 1
        self.lines.append((row, column, what))
        if len(self.lines) >= 50 * MAX_REPORTED:
            self._trim()

    def add_cells(self, problems: list[CellProblem], numbers: list[int]) -> None:
        for problem in problems:
            self.add(numbers[problem.row], problem.column, problem.what)

    def refuse(self, name: str) -> None:
        if not self.total:
            return
        self._trim()
        lines = [
            said("row {row}, column {column}: {what}", row=row, column=column, what=what)
            for row, column, what in self.lines
        ]
        if self.total > len(lines):
            lines.append(said("and {number} more", number=self.total - len(lines)))
        one = said("{name}: 1 problem", name=name)
        raise SourceError(
            one if self.total == 1 else said("{name}: {number} problems", name=name, number=self.total),
            *lines,
            field=self.lines[0][1],
            remedy=said("correct these cells; leave a cell empty where its value is unknown"),
        )

    def _trim(self) -> None:
        self.lines = sorted(self.lines, key=lambda line: line[0])[:MAX_REPORTED]


@dataclass
class _Identifiers:
    """Identifiers seen so far, normalised, with the rows they stood in."""

    id_type: IdentifierType
    column: str
    values: list[str] = field(default_factory=list)
    _rows: dict[str, int] = field(default_factory=dict)

    def add(self, texts: list[str | None], numbers: list[int], report: _Report) -> None:
        for text, row in zip(texts, numbers, strict=True):
            if text is None:
                report.add(row, self.column, said("has no identifier"))
                continue
            try:
                value = normalise(self.id_type, text)
            except IdentifierError as problem:
                wrong, what = said(problem.wrong, number=problem.number), f"{self.id_type} {masked(text)}"
                report.add(row, self.column, said("{what}: {wrong}", what=what, wrong=wrong))
                continue
            first = self._rows.setdefault(value, row)
            if first != row:
                again = said("identifier {masked} is already in row {row}", masked=masked(value), row=first)
                report.add(row, self.column, again)
            self.values.append(value)


def _check_columns(source: Source, wanted: list[str], kind: str) -> None:
    present = source.columns()
    absent = [name for name in wanted if name not in present]
    if absent:
        raise SourceError(
            said("{name}: missing columns: {columns}", name=source.name, columns=", ".join(absent)),
            field=absent[0],
            remedy=said("a {kind} table needs the columns {columns}", kind=kind, columns=", ".join(wanted)),
        )


def _filled(block: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows hold anything at all (blank lines of a file do not)."""
    filled = np.zeros(block.height, dtype=np.bool_)
    for name in block.columns:
        filled |= block[name].is_not_null().to_numpy()
    return filled
