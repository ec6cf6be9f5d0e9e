"""One joined table split over simulated nodes: a CSV file each, uneven, with merchants missing at some kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hub.errors import SimulationError
from models.schema import Schema

_SPREAD = 3.0  # Dirichlet parameter of node sizes: the largest node of twelve has about three times the mean
_ID_BYTES = 12


@dataclass(frozen=True)
class NodeFile:
    """One node's file."""

    party_id: str
    kind: str
    path: Path


@dataclass(frozen=True)
class SplitTable:
    """A joined table cut up.

    Attributes:
        files: one per node, kinds in order.
        ids: (n,) identifiers in the order of the joined rows.
        own_ids: whether they are the table's own.
        frame: the joined rows that were used.
        sources: kind → (n,) party id, or None where the merchant is absent at that kind.
    """

    files: tuple[NodeFile, ...]
    ids: list[str]
    own_ids: bool
    frame: pl.DataFrame
    sources: Mapping[str, list[str | None]]


def read_joined(path: Path) -> pl.DataFrame:
    """The joined table; everything is text, as nodes read theirs.

    Raises:
        SimulationError: it cannot be read as CSV.
    """
    try:
        return pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise SimulationError(
            f"{path} cannot be read as a CSV file", field="table", remedy="give a UTF-8 CSV file with a header"
        ) from problem


def split_table(
    schema: Schema,
    frame: pl.DataFrame,
    nodes: Mapping[str, int],
    folder: Path,
    *,
    seed: int,
    merchants: int | None = None,
    absent: Mapping[str, float] | None = None,
) -> SplitTable:
    """Cuts the joined table into one CSV file per node.

    Args:
        schema: whose columns go to which kind.
        frame: the joined rows.
        nodes: kind → number of nodes.
        folder: where the files go, as `<party>.csv`.
        seed: of sampling, sizes and identifiers; noise never depends on it.
        merchants: how many rows to sample, all if None.
        absent: kind → share of merchants that have no record there.

    Raises:
        SimulationError: kinds or columns do not fit the schema, or there are fewer merchants than nodes.
    """
    _check(schema, frame, nodes, absent or {}, merchants)
    rng = np.random.default_rng(seed)
    if merchants is not None and merchants < frame.height:
        kept = np.sort(rng.choice(frame.height, size=merchants, replace=False))
        frame = frame[kept.tolist()]
    own_ids = schema.id.column in frame.columns
    ids = frame[schema.id.column].to_list() if own_ids else _random_ids(rng, frame.height, schema)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[NodeFile] = []
    sources: dict[str, list[str | None]] = {}
    for kind in schema.kinds_in_order():
        parties = [f"{kind}-{number:02d}" for number in range(1, nodes[kind] + 1)]
        holder = _holders(rng, frame.height, len(parties), (absent or {}).get(kind, 0.0))
        names = np.array([*parties, None], dtype=object)
        sources[kind] = list(names[holder])
        columns = [feature.name for feature in schema.features(kind)]
        if kind == schema.label.kind:
            columns.append(schema.label.column)
        whole = frame.select(columns).insert_column(0, pl.Series(schema.id.column, ids))
        for index, party in enumerate(parties):
            path = folder / f"{party}.csv"
            whole.filter(pl.Series(holder == index)).write_csv(path)
            files.append(NodeFile(party, kind, path))
    return SplitTable(tuple(files), ids, own_ids, frame, sources)


def _check(
    schema: Schema, frame: pl.DataFrame, nodes: Mapping[str, int], absent: Mapping[str, float], merchants: int | None
) -> None:
    kinds = schema.kinds_in_order()
    if set(nodes) != set(kinds) or any(number < 1 for number in nodes.values()):
        raise SimulationError(
            f"nodes are given for {', '.join(nodes) or 'no kind'}; the schema has {', '.join(kinds)}",
            field="nodes",
            remedy=f"give at least one node of each kind, e.g. {','.join(f'{kind}=3' for kind in kinds)}",
        )
    wanted = [feature.name for feature in schema.all_features()] + [schema.label.column]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise SimulationError(
            f"the table lacks columns: {', '.join(missing)}",
            field="table",
            remedy="name the columns as the schema does",
        )
    rows = frame.height if merchants is None else min(frame.height, merchants)
    if rows < max(nodes.values()):
        raise SimulationError(
            f"{rows} merchants for {max(nodes.values())} nodes", field="table", remedy="use fewer nodes"
        )
    for kind, share in absent.items():
        if kind not in kinds or kind == schema.label.kind or not 0 <= share < 1:
            raise SimulationError(
                f"absent {kind}={share:g} is not possible",
                field="absent",
                remedy=f"give a share of 0 to below 1 for a kind other than {schema.label.kind}",
            )


def _random_ids(rng: np.random.Generator, count: int, schema: Schema) -> list[str]:
    if schema.id.type != "opaque":
        raise SimulationError(
            f"the table has no column {schema.id.column}, and identifiers of type {schema.id.type} cannot be made up",
            field=schema.id.column,
            remedy="add the identifiers, or use a schema whose id is opaque",
        )
    raw = rng.bytes(_ID_BYTES * count)
    return [raw[at : at + _ID_BYTES].hex() for at in range(0, len(raw), _ID_BYTES)]


def _holders(rng: np.random.Generator, merchants: int, parties: int, absent: float) -> NDArray[np.intp]:
    """(merchants,) which party holds each, −1 for none; uneven, and no party is empty."""
    holder = rng.choice(parties, size=merchants, p=rng.dirichlet(np.full(parties, _SPREAD)))
    if absent:
        holder[rng.random(merchants) < absent] = -1
    holder[rng.choice(merchants, size=parties, replace=False)] = np.arange(parties)
    return holder
