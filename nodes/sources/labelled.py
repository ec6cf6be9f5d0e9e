"""Outcomes from a file of their own, beside a table without them: a lender's system or a platform exports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from crypto.errors import IdentifierError
from crypto.identifiers import masked, normalise
from models.bins import text_values
from models.said import Said, said
from models.schema import Schema
from nodes.errors import SourceError
from nodes.sources.base import Source, require_columns

_BLOCK_ROWS = 65_536
_KEY = "outcome of"  # no column of an owner's can be mistaken for it: it is never read from a file


@dataclass
class LabelledSource:
    """A table and, by identifier, its merchants' outcomes. A merchant whom the outcomes do not name has none yet.

    Attributes:
        table: everything but the label.
        outcomes: the columns of identifier and label as the schema names them; one row per merchant.
        schema: says which columns these are.
    """

    table: Source
    outcomes: Source
    schema: Schema

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def first_row(self) -> int:
        """That of the table."""
        return self.table.first_row

    def columns(self) -> tuple[str, ...]:
        """Those of the table, then of the label.

        Raises:
            SourceError: one of both cannot be read, the outcomes lack a column, or the table has the label as well.
        """
        wanted = self._label_columns()
        require_columns(self.outcomes, [self.schema.id.column, *wanted])
        own = self.table.columns()
        twice = [name for name in wanted if name in own]
        if twice:
            raise SourceError(
                said("{name}: the column {column} occurs twice", name=self.name, column=repr(twice[0])),
                field=twice[0],
                remedy=said("take the label out of the table, or leave out the file with outcomes"),
            )
        return (*own, *wanted)

    def read_blocks(self, columns: Sequence[str], block_rows: int = _BLOCK_ROWS) -> Iterator[pl.DataFrame]:
        """Read some columns, in the table's order.

        Raises:
            SourceError: as ``columns``; or a merchant stands in the outcomes twice, or under no valid identifier.
        """
        require_columns(self, columns)
        wanted = [name for name in self._label_columns() if name in columns]
        own = [name for name in columns if name not in wanted]
        if not wanted:
            yield from self.table.read_blocks(own, block_rows)
            return
        known = self._known(wanted)
        column = self.schema.id.column
        read = own if column in own else [*own, column]
        for block in self.table.read_blocks(read, block_rows):
            # Rows whose identifier is wrong get no outcome here, and their refusal where the table is checked.
            keys = pl.Series(_KEY, [self._spelled(each) for each in text_values(block[column])], dtype=pl.String)
            yield block.with_columns(keys).join(known, on=_KEY, how="left", maintain_order="left").select(columns)

    def _label_columns(self) -> list[str]:
        label = self.schema.label
        return [label.column, *([] if label.ended_at is None else [label.ended_at])]

    def _known(self, wanted: Sequence[str]) -> pl.DataFrame:
        column = self.schema.id.column
        frame = pl.concat(list(self.outcomes.read_blocks([column, *wanted], _BLOCK_ROWS)) or [pl.DataFrame()])
        if not frame.width:
            return pl.DataFrame(schema={_KEY: pl.String, **dict.fromkeys(wanted, pl.String)})
        rows: dict[str, int] = {}
        for row, value in enumerate(text_values(frame[column]).to_list(), self.outcomes.first_row):
            spelled = self._spelled(value)
            if spelled is None:
                raise self._wrong(row, said("has no valid identifier"), said("correct it in the file with outcomes"))
            if spelled in rows:
                what = said("identifier {masked} is already in row {row}", masked=masked(spelled), row=rows[spelled])
                raise self._wrong(row, what, said("give one outcome per merchant"))
            rows[spelled] = row
        return frame.drop(column).with_columns(pl.Series(_KEY, list(rows), dtype=pl.String))

    def _spelled(self, value: str | None) -> str | None:
        try:
            return None if value is None else normalise(self.schema.id.type, value)
        except IdentifierError:
            return None

    def _wrong(self, row: int, what: Said, remedy: Said) -> SourceError:
        line = said("row {row}, column {column}: {what}", row=row, column=self.schema.id.column, what=what)
        return SourceError(
            said("{name}: {what}", name=self.outcomes.name, what=line), field=self.schema.id.column, remedy=remedy
        )
