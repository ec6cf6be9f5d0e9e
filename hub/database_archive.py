"""One file with the whole of a database: how the hub and the platform write their backups (`hub.backup`).

The file is a ZIP: `manifest.json`, then a file of JSON lines per table, deflated, a row a line; bytes as base64, dates
as ISO 8601. The manifest names schema and each member's rows, bytes and SHA-256. It is the same for SQLite and
PostgreSQL.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, MetaData, Table, inspect, select
from sqlalchemy import text as statement
from sqlalchemy.orm import Session

from hub.state_errors import BackupError
from models.archive import Measured, Member

MANIFEST = "manifest.json"
SECRETS = "secrets/"
FORMAT: Literal[1] = 1
TABLES, LINES = "tables/", ".jsonl"
SQLITE_SEQUENCES = "sqlite_sequence"
_ROWS = 1000
_BYTES, _DATE = "base64", "date"


class TableMember(Member):
    """A file of the archive; of a table the number of its rows."""

    rows: Annotated[int, Field(ge=0)] | None = None

    def fits(self, found: Measured) -> bool:
        """Whether a file is the one that was written."""
        return super().fits(found) and self.rows in (None, found.lines)


class ArchivedDatabase(BaseModel):
    """What an archive says of itself.

    Attributes:
        revision: of the database's schema.
        sequences: table → the last number that it gave out, as numbers are never used twice.
        members: by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    software: str
    revision: str
    made_at: datetime
    sequences: dict[str, int]
    members: dict[str, TableMember]

    @property
    def with_keys(self) -> bool:
        """Whether keys and tokens are in it."""
        return any(name.startswith(SECRETS) for name in self.members)

    @property
    def rows(self) -> int:
        """Of all tables together."""
        return sum(member.rows or 0 for member in self.members.values())


M = TypeVar("M", bound=ArchivedDatabase)


def write_archive(path: Path, fill: Callable[[zipfile.ZipFile], M]) -> M:
    """Write a new file of mode 0600, under another name until it is whole.

    Args:
        path: of the new file.
        fill: adds the members, and returns the manifest.

    Raises:
        BackupError: the file is there already, or cannot be written.
    """
    if path.exists():
        raise BackupError(f"{path} is there already; it is never overwritten.", field="out", remedy="Name a new file.")
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                manifest = fill(archive)
                archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise BackupError(
            f"{path} cannot be written ({error.strerror}).", field="out", remedy="Give it room and permissions."
        ) from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return manifest


def common_facts(revision: str, made_at: datetime) -> dict[str, Any]:
    """What every manifest begins with."""
    return {
        "format": FORMAT,
        "software": importlib.metadata.version("digua"),
        "revision": revision,
        "made_at": made_at,
    }


def add_tables(archive: zipfile.ZipFile, session: Session, tables: MetaData) -> dict[str, TableMember]:
    """Add every row of every table, in the one state that the session sees."""
    return {
        table_file(table.name): _add(archive, table_file(table.name), _lines(session, table))
        for table in tables.sorted_tables
    }


def add_secrets(archive: zipfile.ZipFile, files: Mapping[str, Path]) -> dict[str, TableMember]:
    """Add those secret files that there are, by their names in the archive."""
    return {
        SECRETS + name: _add(archive, SECRETS + name, [path.read_bytes()], rows=False)
        for name, path in files.items()
        if path.exists()
    }


def table_file(table: str) -> str:
    """Name of a table's file in an archive."""
    return f"{TABLES}{table}{LINES}"


def _add(archive: zipfile.ZipFile, name: str, parts: Iterable[bytes], *, rows: bool = True) -> TableMember:
    digest, size, count = hashlib.sha256(), 0, 0
    with archive.open(name, "w", force_zip64=True) as out:
        for part in parts:
            out.write(part)
            digest.update(part)
            size += len(part)
            count += 1
    return TableMember(bytes=size, sha256=digest.hexdigest(), rows=count if rows else None)


def _lines(session: Session, table: Table) -> Iterator[bytes]:
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS)
    for row in session.execute(query):
        values = {name: _plain(value) for name, value in row._mapping.items()}
        yield json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, (bytes, memoryview)):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, date):
        return {_DATE: value.isoformat()}
    return value


def value_of(plain: object) -> object:
    """A value as `_plain` wrote it."""
    if isinstance(plain, dict) and _DATE in plain:
        return date.fromisoformat(plain[_DATE])
    if isinstance(plain, dict):
        return base64.b64decode(plain[_BYTES], validate=True)
    return plain


def read_sequences(session: Session) -> dict[str, int]:
    """Table → the last number that it gave out, of tables whose rows the database numbers and never twice."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        if not inspect(connection).has_table(SQLITE_SEQUENCES):  # no table asks for numbers that never come again
            return {}
        rows = connection.execute(statement(f"SELECT name, seq FROM {SQLITE_SEQUENCES}"))  # noqa: S608
        return {name: int(last) for name, last in rows}
    found: dict[str, int] = {}
    for table in inspect(connection).get_table_names():
        numbered = sequence_of(connection, table)
        if numbered is not None:
            last, called = connection.execute(statement(f"SELECT last_value, is_called FROM {numbered[0]}")).one()  # noqa: S608
            found[table] = int(last) if called else 0
    return found


def sequence_of(connection: Connection, table: str) -> tuple[str, str] | None:
    """The sequence that numbers a table's rows on PostgreSQL, and the column of the numbers; None without one."""
    columns = inspect(connection).get_pk_constraint(table)["constrained_columns"]
    if len(columns) != 1:
        return None
    found: str | None = connection.scalar(
        statement("SELECT pg_get_serial_sequence(:table, :column)"), {"table": f'"{table}"', "column": columns[0]}
    )
    return None if found is None else (found, columns[0])


def read_manifest(archive: zipfile.ZipFile, kind: type[M]) -> M:
    """The manifest of an archive; BackupError where it is none of that kind."""
    try:
        return kind.model_validate_json(archive.read(MANIFEST))
    except (KeyError, ValidationError, zipfile.BadZipFile, ValueError) as error:
        raise BackupError(
            "This is no backup of this kind, or one of another format.",
            field="archive",
            remedy="Name a file that the same program's `backup` wrote; a newer format needs the newer program.",
        ) from error
