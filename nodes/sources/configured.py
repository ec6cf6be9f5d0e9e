"""From a node's configuration to the source of its rows."""

from __future__ import annotations

from models.schema_file import load_schema
from nodes.dataset_config import DatasetConfig, TableFile
from nodes.errors import ConfigError
from nodes.sources.base import Source
from nodes.sources.csv import CsvSource
from nodes.sources.labelled import LabelledSource
from nodes.sources.parquet import ParquetSource
from nodes.sources.sql import SqlSource


def source_of(dataset: DatasetConfig) -> Source:
    """The source that a dataset names; nothing is read yet but files with secrets, and the schema for outcomes.

    Raises:
        ConfigError: a file with an address or a password cannot be used.
        SchemaError: outcomes have a file of their own, and the schema is malformed.
    """
    table = _table_of(dataset)
    if dataset.outcomes is None:
        return table
    return LabelledSource(table, _file_of(dataset.outcomes), load_schema(dataset.schema_file))


def _table_of(dataset: DatasetConfig) -> Source:
    if dataset.sql is not None:
        return SqlSource(dataset.sql.address(), dataset.sql.query)
    return _file_of(dataset)


def _file_of(named: DatasetConfig | TableFile) -> Source:
    if named.parquet is not None:
        return ParquetSource(named.parquet)
    if named.csv is None:
        raise ConfigError(
            "a dataset names no table", field="datasets", remedy="give one of csv, parquet and sql beside its schema"
        )
    return CsvSource(named.csv)
