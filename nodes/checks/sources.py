"""The owner's tables: are they readable, do they fit their schema, and how many rows have they?"""

from __future__ import annotations

from collections.abc import Iterator

from models.errors import ModelsError
from models.findings import Finding, Findings, of_error
from models.said import Said, said
from models.schema_file import load_schema
from nodes.config import NodeConfig
from nodes.dataset_config import DatasetConfig
from nodes.errors import NodeError, SourceError
from nodes.sources.configured import source_of
from nodes.sources.table import NodeTable

WITHOUT_DATA = ("client", "witness")
SHOWN_LINES = 4
"""Of what is wrong with a table; `check-data` shows more."""


def check_sources(config: NodeConfig) -> Iterator[Finding]:
    """Read every configured table as training would; nothing is sent."""
    found = Findings("source", config.party_id)
    if not config.datasets:
        if config.kind in WITHOUT_DATA:
            yield found.ok(said("a {kind} brings no data", kind=config.kind))
        else:
            yield found.warning(
                said("no dataset is configured: the node can take part in nothing"),
                said("add a schema and a table under datasets: csv, parquet or sql"),
            )
        return
    for dataset in config.datasets:
        yield _checked(dataset, config, found)


def place_of(dataset: DatasetConfig) -> str:
    """Where a table lies, without secrets."""
    if dataset.sql is not None:
        return dataset.sql.url or str(dataset.sql.url_file)
    return str(dataset.file)


def _checked(dataset: DatasetConfig, config: NodeConfig, found: Findings) -> Finding:
    try:
        schema = load_schema(dataset.schema_file)
        table = NodeTable.load(source_of(dataset), schema, config.kind)
    except SourceError as problem:
        remedy = problem.said_remedy or said("correct the table, and run digua-node check-data")
        return found.fault(said("{place}: {what}", place=place_of(dataset), what=_joined(problem.lines)), remedy)
    except (NodeError, ModelsError) as problem:
        what, remedy = of_error(problem)
        return found.fault(said("{place}: {what}", place=place_of(dataset), what=what), remedy)
    return found.ok(
        said("{place}: {rows} rows fit {schema}", place=place_of(dataset), rows=len(table.ids), schema=schema.name)
    )


def _joined(lines: tuple[Said, ...]) -> Said:
    """The first lines of an error as one text."""
    first, *rest = lines[:SHOWN_LINES]
    return first if not rest else said("{first}; {rest}", first=first, rest=_joined(tuple(rest)))
