"""From a node's configuration to the source of its rows."""

from __future__ import annotations

from nodes.dataset_config import DatasetConfig
from nodes.errors import ConfigError
from nodes.sources.base import Source
from nodes.sources.csv import CsvSource
from nodes.sources.parquet import ParquetSource
from nodes.sources.sql import SqlSource


def source_of(dataset: DatasetConfig) -> Source:
    """The source that a dataset names; nothing is read yet but files with secrets.

    Raises:
        ConfigError: a file with an address or a password cannot be used.
    """
    if dataset.sql is not None:
        return SqlSource(dataset.sql.address(), dataset.sql.query)
    if dataset.parquet is not None:
        return ParquetSource(dataset.parquet)
    if dataset.csv is None:
        raise ConfigError(
            "a dataset names no table", field="datasets", remedy="give one of csv, parquet and sql beside its schema"
        )
    return CsvSource(dataset.csv)
