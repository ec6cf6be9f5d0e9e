"""The owner's tables, found by the hash of the schema that a campaign names."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from models.adverse import day_of
from models.schema import Schema
from models.schema_file import load_schema
from nodes.clock import Clock, system_clock
from nodes.dataset_config import DatasetConfig
from nodes.errors import ConfigError
from nodes.pseudonyms import Progress, PseudonymMap
from nodes.sources.configured import source_of
from nodes.sources.table import NodeTable
from nodes.training_context import TrainingData


@dataclass(frozen=True)
class _Loaded:
    """A table as it was read.

    Attributes:
        stamp: of the files; of a query (0, 0).
        read_at: when it was asked for.
    """

    stamp: tuple[int, ...]
    read_at: datetime
    table: NodeTable


class Datasets:
    """The configured tables. A file is read when it is first asked for, and again when it has changed; a query is run
    again when its rows are older than `refresh_minutes`."""

    def __init__(
        self,
        configured: Sequence[DatasetConfig],
        kind: str,
        pseudonyms: PseudonymMap,
        *,
        clock: Clock = system_clock,
    ) -> None:
        """Read the schemas, not the rows.

        Raises:
            SchemaError: a schema file is malformed.
            ConfigError: two datasets have the same schema.
        """
        self._kind = kind
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._lock = threading.RLock()
        self._tables: dict[str, _Loaded] = {}
        self._training: dict[str, tuple[NodeTable, TrainingData]] = {}
        self._configured: dict[str, tuple[Schema, DatasetConfig]] = {}
        for each in configured:
            schema = load_schema(each.schema_file)
            if schema.hash() in self._configured:
                raise ConfigError(
                    f"two datasets follow schema {schema.name}",
                    field="datasets",
                    remedy="give one table per schema; join the files first",
                )
            self._configured[schema.hash()] = (schema, each)

    def schema(self, schema_sha256: str) -> Schema | None:
        """The configured schema of that hash (hex), or None."""
        found = self._configured.get(schema_sha256)
        return None if found is None else found[0]

    def schemas(self) -> tuple[Schema, ...]:
        """All configured schemas, in order of the configuration."""
        return tuple(schema for schema, _ in self._configured.values())

    def table(self, schema_sha256: str) -> NodeTable | None:
        """The table that follows the schema of that hash (hex), or None where the node has none.

        Raises:
            SourceError: the rows cannot be read, or do not fit the schema.
            ConfigError: a file with a database's address or password cannot be used.
        """
        found = self._configured.get(schema_sha256)
        if found is None:
            return None
        schema, configured = found
        with self._lock:
            stamp, now = _stamp(configured), self._clock()
            loaded = self._tables.get(schema_sha256)
            if loaded is None or loaded.stamp != stamp or _outdated(schema, self._kind, configured, loaded, now):
                rows = NodeTable.load(source_of(configured), schema, self._kind, today=day_of(now))
                loaded = _Loaded(stamp, now, rows)
                self._tables[schema_sha256] = loaded
            return loaded.table

    def training_data(self, schema_sha256: str) -> TrainingData | None:
        """The table with pseudonyms in the place of identifiers, or None where the node has none.

        Raises:
            SourceError: the file does not fit, or an identifier has no pseudonym yet.
        """
        with self._lock:
            table, schema = self.table(schema_sha256), self.schema(schema_sha256)
            if table is None or schema is None:
                return None
            known = self._training.get(schema_sha256)
            if known is None or known[0] is not table:
                merchants = self._pseudonyms.pseudonyms(table.ids, id_type=schema.id.type)
                known = (table, TrainingData(merchants, table.codes, table.outcome))
                self._training[schema_sha256] = known
            return known[1]

    def pseudonymise(self, progress: Progress | None = None) -> int:
        """Have a pseudonym for every identifier of every table; returns how many were new.

        Raises:
            SourceError: a file does not fit its schema.
            PeerError: a key holder refused or is out of reach; what was done is kept.
        """
        new = 0
        for schema_sha256, (schema, _) in self._configured.items():
            table = self.table(schema_sha256)
            if table is not None:
                new += self._pseudonyms.ensure(table.ids, id_type=schema.id.type, progress=progress)
        return new


def _stamp(configured: DatasetConfig) -> tuple[int, ...]:
    outcomes = None if configured.outcomes is None else configured.outcomes.file
    return (*_stamp_of(configured.file), *_stamp_of(outcomes))


def _stamp_of(file: Path | None) -> tuple[int, int]:
    if file is None:
        return (0, 0)
    try:
        status = file.stat()
    except OSError:
        return (0, 0)  # reading it explains what is wrong
    return (status.st_mtime_ns, status.st_size)


def _outdated(schema: Schema, kind: str, configured: DatasetConfig, loaded: _Loaded, now: datetime) -> bool:
    """Whether a query must be run again, or a new day has put adverse facts past their limit; a clock that was set back
    counts as one that moved on."""
    if schema.end_columns(kind) and day_of(loaded.read_at) != day_of(now):
        return True
    if configured.sql is None:
        return False
    return abs(now - loaded.read_at) >= timedelta(minutes=configured.sql.refresh_minutes)
