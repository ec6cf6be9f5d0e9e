"""Where an owner's table lies: a CSV or Parquet file, or a query at a database.

Passwords lie in files of their own (mode 0600) that the configuration only names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from nodes.config_base import ClosedConfig, resolved
from nodes.errors import ConfigError
from nodes.keys import read_secret

_SECRET_OPTIONS = frozenset({"password", "passwd", "pwd", "sslpassword", "odbc_connect"})


class SqlConfig(ClosedConfig):
    """A query at a database of the owner's.

    Attributes:
        url: SQLAlchemy's address of the database, without a password.
        url_file: a file (mode 0600) that holds the address instead, password included.
        password_file: a file (mode 0600) that holds the password.
        query: a SELECT with one row per merchant.
        refresh_minutes: rows read are used this long before the query is run again.
    """

    url: str | None = None
    url_file: Path | None = None
    password_file: Path | None = None
    query: Annotated[str, Field(min_length=1)]
    refresh_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60

    _resolve = field_validator("url_file", "password_file")(lambda path, info: path and resolved(path, info))

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        try:
            parts = make_url(url)
        except ArgumentError as problem:
            raise ValueError(
                "must be an address such as postgresql+psycopg://reader@db.example.org/credit"
            ) from problem
        if parts.password is not None or _SECRET_OPTIONS & {name.lower() for name in parts.query}:
            raise ValueError("must not hold a password; name a password_file, or put the address into a url_file")
        return _with_path(parts, (info.context or {}).get("base")).render_as_string()

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("give either url or url_file")
        return self

    def address(self) -> URL:
        """The database's address, with its password.

        Raises:
            ConfigError: a file is absent, others may read it, or it holds no address.
        """
        if self.url_file is not None:
            try:
                parts = make_url(read_secret(self.url_file).decode().strip())
            except (ArgumentError, UnicodeDecodeError) as problem:
                raise ConfigError(
                    f"{self.url_file} holds no address of a database",
                    field="sql.url_file",
                    remedy="write one line such as postgresql+psycopg://reader:password@db.example.org/credit",
                ) from problem
            address = _with_path(parts, self.url_file.absolute().parent)
        else:
            address = make_url(self.url or "")
        if self.password_file is None:
            return address
        return address.set(password=read_secret(self.password_file).decode().strip())


class TableFile(ClosedConfig):
    """A CSV or a Parquet file."""

    csv: Path | None = None
    parquet: Path | None = None

    _resolve = field_validator("csv", "parquet")(lambda path, info: path and resolved(path, info))

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if (self.csv is None) == (self.parquet is None):
            raise ValueError("give either csv or parquet")
        return self

    @property
    def file(self) -> Path | None:
        """Whichever it is."""
        return self.csv or self.parquet


class DatasetConfig(ClosedConfig):
    """A table of the owner's, in one of three places, and the schema it follows.

    Attributes:
        outcomes: a file with identifier and label, for a table that has no label itself (docs/schema.md, Tables).
    """

    schema_file: Path = Field(alias="schema")
    csv: Path | None = None
    parquet: Path | None = None
    sql: SqlConfig | None = None
    outcomes: TableFile | None = None

    _resolve = field_validator("schema_file", "csv", "parquet")(lambda path, info: path and resolved(path, info))

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(each is not None for each in (self.csv, self.parquet, self.sql)) != 1:
            raise ValueError("give one of csv, parquet and sql")
        return self

    @property
    def file(self) -> Path | None:
        """The table's file; None for a query."""
        return self.csv or self.parquet


def _with_path(url: URL, base: Path | str | None) -> URL:
    """The address of a SQLite file with its path resolved; any other as it is."""
    if base is None or url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return url
    return url.set(database=str(Path(base) / url.database))
