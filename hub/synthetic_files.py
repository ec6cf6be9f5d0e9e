"""Tables written in blocks, as CSV, Parquet or SQLite: what is in memory is one block, however long the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import polars as pl
from sqlalchemy import BigInteger, Column, Double, MetaData, Table, Text, create_engine, insert

Format = Literal["csv", "parquet", "sqlite"]
SUFFIXES: dict[Format, str] = {"csv": ".csv", "parquet": ".parquet", "sqlite": ".sqlite"}
SQL_TABLE = "merchants"
SQL_QUERY = "SELECT * FROM merchants"
"""All of that table, in the words of a node's configuration."""

_SQL_TYPES = {pl.String: Text, pl.Int64: BigInteger, pl.Float64: Double}


class TableFile(ABC):
    """One table that is being written. The caller puts it in place when all of them are whole.

    Attributes:
        rows: written so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """Add a block; all blocks have the same columns."""
        self._write(frame)
        self.rows += frame.height

    @abstractmethod
    def _write(self, frame: pl.DataFrame) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Finish the file, which had a block at least."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of what is open; the file is not whole."""


class CsvTable(TableFile):
    """UTF-8 with a header row."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = path.open("wb")

    def _write(self, frame: pl.DataFrame) -> None:
        frame.write_csv(self._file, include_header=self.rows == 0)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetTable(TableFile):
    """Blocks as files of their own first, then streamed into one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._folder = path.with_suffix(".blocks")
        self._folder.mkdir()
        self._blocks: list[Path] = []

    def _write(self, frame: pl.DataFrame) -> None:
        block = self._folder / f"{len(self._blocks):06d}.parquet"
        frame.write_parquet(block)
        self._blocks.append(block)

    def close(self) -> None:
        """Join the blocks and delete them."""
        pl.scan_parquet(self._blocks).sink_parquet(self.path)
        for block in self._blocks:
            block.unlink()
        self._folder.rmdir()

    def abandon(self) -> None:
        """Nothing is open."""


class SqliteTable(TableFile):
    """A database with one table, `merchants`, whose first column is the key."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._engine = create_engine(f"sqlite:///{path}")
        self._statement = ""

    def _write(self, frame: pl.DataFrame) -> None:
        with self._engine.begin() as connection:
            if not self._statement:
                columns: list[Column[Any]] = [
                    Column(name, _SQL_TYPES[dtype.base_type()], primary_key=index == 0)
                    for index, (name, dtype) in enumerate(frame.schema.items())
                ]
                table = Table(SQL_TABLE, MetaData(), *columns)
                table.create(connection)
                self._statement = str(insert(table).compile(dialect=self._engine.dialect))
            connection.exec_driver_sql(self._statement, frame.rows())

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def abandon(self) -> None:
        """Close the database."""
        self._engine.dispose()


def open_table(path: Path, form: Format) -> TableFile:
    """A new table at a path that has nothing yet."""
    if form == "csv":
        return CsvTable(path)
    return ParquetTable(path) if form == "parquet" else SqliteTable(path)
