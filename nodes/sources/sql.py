"""The rows of a query at any database that SQLAlchemy knows; read in blocks through a server-side cursor.

Nothing is ever written: the transaction is read-only where the database has such, and is rolled back in any case.
Every cell becomes the text that it stands for, as in a CSV file, so that blocks cannot differ in type.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
from sqlalchemy import URL, Connection, CursorResult, TextClause, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from models.said import Said, said
from nodes.errors import SourceError
from nodes.sources.base import require_columns

_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}
"""What makes a connection refuse to write; PostgreSQL has an option of its own, others nothing that drivers share."""


@dataclass
class SqlSource:
    """A query. Rows are counted from 1, in the order in which the database gives them."""

    url: URL = field(repr=False)
    query: str
    first_row: int = field(default=1, init=False)
    _columns: tuple[str, ...] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The database's address, without the password and without options, among which there may be others."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    def columns(self) -> tuple[str, ...]:
        """Names of the query's columns.

        Raises:
            SourceError: the database is out of reach, or refuses the query.
        """
        if self._columns is None:
            with self._running(1) as result:
                self._columns = self._names(result)
        return self._columns

    def read_blocks(self, columns: Sequence[str], block_rows: int = 65_536) -> Iterator[pl.DataFrame]:
        """Read some columns as text, in the query's order.

        Raises:
            SourceError: as ``columns``, a column is absent, or a cell is neither text, number nor date.
        """
        require_columns(self, columns)
        row = self.first_row
        with self._running(block_rows) as result:
            names = self._names(result)
            places = [names.index(name) for name in columns]
            for rows in result.partitions(block_rows):
                block = {
                    name: self._texts(name, [each[place] for each in rows], row)
                    for name, place in zip(columns, places, strict=True)
                }
                row += len(rows)
                yield pl.DataFrame(block, schema=dict.fromkeys(columns, pl.String))

    @contextmanager
    def _running(self, block_rows: int) -> Iterator[CursorResult[tuple[object, ...]]]:
        try:
            with self._connected() as connection:
                streamed = connection.execution_options(yield_per=block_rows)
                yield streamed.execute(_literal(self.query))
        except (SQLAlchemyError, ImportError) as problem:
            raise self._refused(problem) from problem

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        dialect, database = self.url.get_backend_name(), self.url.database
        if dialect == "sqlite" and not (database and Path(database).is_file()):
            raise SourceError(
                said("{name}: there is no such database file", name=self.name),
                field="sql.url",
                remedy=said("check the path in the address"),
            )
        engine = create_engine(self.url, poolclass=NullPool, hide_parameters=True)
        try:
            with engine.connect() as connection:
                if dialect == "postgresql":
                    connection = connection.execution_options(postgresql_readonly=True)  # noqa: PLW2901
                elif dialect in _READ_ONLY:
                    connection.exec_driver_sql(_READ_ONLY[dialect])
                yield connection
                connection.rollback()
        finally:
            engine.dispose()

    def _names(self, result: CursorResult[tuple[object, ...]]) -> tuple[str, ...]:
        if not result.returns_rows:
            raise SourceError(
                said("{name}: the query gives no rows", name=self.name),
                field="sql.query",
                remedy=said("write a SELECT of one table"),
            )
        names = tuple(result.keys())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(
                said("{name}: the query has the column {column} twice", name=self.name, column=repr(twice[0])),
                field=twice[0],
                remedy=said("rename or drop one of them"),
            )
        return names

    def _texts(self, column: str, cells: list[object], first_row: int) -> list[str | None]:
        found: list[str | None] = []
        for offset, cell in enumerate(cells):
            writer = _WRITERS.get(type(cell)) or _writer(cell)
            if writer is None:
                raise SourceError(
                    said(
                        "{name}: row {row}, column {column}: is {type}, neither text nor a number",
                        name=self.name,
                        row=first_row + offset,
                        column=column,
                        type=type(cell).__name__,
                    ),
                    field=column,
                    remedy=said("convert it in the query, or leave the column out"),
                )
            found.append(writer(cell))
        return found

    def _refused(self, problem: Exception) -> SourceError:
        what: Said | str
        if isinstance(problem, ImportError):
            what = said("no driver for {database}", database=self.url.drivername)
            remedy = said("install the database's Python driver")
        elif isinstance(problem, (ProgrammingError, OperationalError, InterfaceError)):
            lines = str(problem.orig).strip().splitlines()
            what = lines[0] if lines else said("refused")
            remedy = said("check address, password, rights and query")
        elif isinstance(problem, DBAPIError):
            # the database's own message may quote cells
            what = said("the query failed ({reason})", reason=type(problem.orig).__name__)
            remedy = said("run the query in the database's own client")
        else:
            what = said("the query cannot be run ({reason})", reason=type(problem).__name__)
            remedy = said("check that the address names a database and its driver")
        return SourceError(said("{name}: {what}", name=self.name, what=what), field="sql", remedy=remedy)


def _literal(query: str) -> TextClause:
    """The query as it stands: a colon before a word is no parameter."""
    return text(re.sub(r":(?=\w)", r"\\:", query))


def _float_text(value: float) -> str | None:
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)


def _decimal_text(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    written = format(value, "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


def _writer(cell: object) -> Callable[..., str | None] | None:
    """How a value of a driver's own subclass is written, or None."""
    return next((writer for kind, writer in _WRITERS.items() if isinstance(cell, kind)), None)


_WRITERS: dict[type, Callable[..., str | None]] = {
    type(None): lambda _: None,
    str: lambda value: value,
    bool: lambda value: "true" if value else "false",
    int: str,
    float: _float_text,
    Decimal: _decimal_text,
    datetime: lambda value: value.isoformat(sep=" ", timespec="microseconds"),
    date: date.isoformat,
    time: str,
    timedelta: str,
    uuid.UUID: str,
}
"""By type, the more special ones first."""
