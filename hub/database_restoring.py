"""An archive of `hub.database_archive` back into an empty database, all or nothing, as the hub and the platform do it.

The archive is checked whole against its manifest before anything is written. Then the schema is made as the archive had
it, and the rows are written in one transaction; newer versions of the schema come after it, so that an archive of an
older program can be restored.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, MetaData, Table, insert, inspect
from sqlalchemy import text as statement

from hub.alembic_versions import Versions
from hub.database_archive import (
    MANIFEST,
    SECRETS,
    SQLITE_SEQUENCES,
    TABLES,
    ArchivedDatabase,
    read_manifest,
    sequence_of,
    table_file,
    value_of,
)
from hub.db import Database
from hub.errors import StateError
from hub.keys import write_secret
from hub.state_errors import BackupError
from models.archive import first_difference

_ROWS = 1000
M = TypeVar("M", bound=ArchivedDatabase)


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open an archive; BackupError where it is none."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise BackupError(
            f"{path} cannot be read as a backup ({error}).",
            field="archive",
            remedy="Name a file that `backup` wrote.",
        ) from error


def check_archive(archive: zipfile.ZipFile, kind: type[M]) -> M:
    """Compare every member with the manifest; return the manifest."""
    manifest = read_manifest(archive, kind)
    if (what := first_difference(archive, manifest.members, manifest=MANIFEST)) is not None:
        raise _damaged(what)
    return manifest


def check_empty(db: Database) -> None:
    """StateError where the database holds anything."""
    with db.engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
    if names:
        raise StateError(
            "The database is not empty; a backup is restored into an empty one only.",
            field="database",
            remedy="Move the old database away, or name a new one. Keep the old one: it may be newer than the backup.",
        )


def load(db: Database, archive: zipfile.ZipFile, manifest: ArchivedDatabase, versions: Versions) -> None:
    """Make the schema of the archive and write its rows; the database stays at that schema.

    Raises:
        BackupError: this program does not know the schema, or a table is not what the schema says.
    """
    try:
        versions.migrate(db, revision=manifest.revision)
    except StateError as error:
        raise BackupError(
            f"The backup has schema {manifest.revision}, which this program does not know.",
            field="archive",
            remedy="Restore it with the program that wrote it, or a newer one.",
        ) from error
    with db.engine.begin() as connection:
        declared = MetaData()
        declared.reflect(connection)
        present = {table_file(table.name) for table in declared.sorted_tables} - {table_file("alembic_version")}
        brought = {name for name in manifest.members if name.startswith(TABLES)}
        if present != brought:
            raise BackupError(
                f"The backup's tables are not those of schema {manifest.revision}: "
                f"{', '.join(sorted(present ^ brought))}.",
                field="archive",
                remedy="Take another backup; this one was altered.",
            )
        for table in declared.sorted_tables:
            if table.name != "alembic_version":
                for rows in _chunks(archive, table):
                    connection.execute(insert(table), rows)
        _set_sequences(connection, manifest)


def write_secrets(archive: zipfile.ZipFile, manifest: ArchivedDatabase, place: Callable[[str], Path | None]) -> None:
    """Write the archive's secret files where there are none; those that are there already stay.

    Args:
        place: of a file by its name in the archive; None where it has none here.
    """
    for name in manifest.members:
        if name.startswith(SECRETS):
            path = place(name.removeprefix(SECRETS))
            if path is not None and not path.exists():
                write_secret(path, archive.read(name))


def _chunks(archive: zipfile.ZipFile, table: Table) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    with archive.open(table_file(table.name)) as file:
        for line in file:
            row = {name: value_of(value) for name, value in json.loads(line).items()}
            if row.keys() != set(table.columns.keys()):
                raise _damaged(f"a row of {table.name} has other columns")
            chunk.append(row)
            if len(chunk) == _ROWS:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _set_sequences(connection: Connection, manifest: ArchivedDatabase) -> None:
    """Numbers go on after the last that was given out, even where its row is gone."""
    if connection.dialect.name == "sqlite":
        if not inspect(connection).has_table(SQLITE_SEQUENCES):
            return
        for table, last in manifest.sequences.items():
            changed = connection.execute(
                statement("UPDATE sqlite_sequence SET seq = :last WHERE name = :table"), {"last": last, "table": table}
            )
            if not changed.rowcount:
                connection.execute(
                    statement("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)"),
                    {"last": last, "table": table},
                )
        return
    for table in inspect(connection).get_table_names():
        numbered = sequence_of(connection, table)
        if numbered is not None:
            sequence, column = numbered
            highest = connection.scalar(statement(f'SELECT max("{column}") FROM "{table}"')) or 0  # noqa: S608
            last = max(int(highest), manifest.sequences.get(table, 0))
            if last:
                connection.execute(
                    statement("SELECT setval(CAST(:name AS regclass), :last)"), {"name": sequence, "last": last}
                )


def _damaged(what: str) -> BackupError:
    return BackupError(f"The backup is damaged: {what}.", field="archive", remedy="Take another copy of it.")
