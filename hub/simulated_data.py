"""One joined table split over simulated nodes: a CSV file each, uneven, with merchants missing at some kinds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crypto.manifest import ascending
from hub.campaign_errors import SimulationError
from models.datasets import PUBLIC, public_table
from models.schema import Schema

_SPREAD = 3.0  # Dirichlet parameter of node sizes: the largest node of twelve has about three times the mean
_ID_BYTES = 12
_NODE_FILE = re.compile(r"[a-z][a-z0-9_]*-\d+\.(csv|parquet|sqlite)")


@dataclass(frozen=True)
class NodeFile:
    """One node's file."""

    party_id: str
    kind: str
    path: Path


@dataclass(frozen=True)
class SplitTable:
    """A joined table cut up, or tables that were so before.

    Attributes:
        files: one per node, kinds in order.
        own_ids: whether identifiers are the table's own.
    """

    files: tuple[NodeFile, ...]
    own_ids: bool


def read_joined(path: Path) -> pl.DataFrame:
    """The joined table; everything is text, as nodes read theirs.

    Args:
        path: a CSV or Parquet file, or the name of a public data set where no file has that name.

    Raises:
        DataError: a public data set cannot be had.
        SimulationError: it cannot be read.
    """
    try:
        if str(path) in PUBLIC and not path.exists():
            return public_table(str(path)).cast(pl.String)
        if path.suffix == ".parquet":
            return pl.read_parquet(path).cast(pl.String)
        return pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as problem:
        raise SimulationError(
            f"{path} cannot be read as a table",
            field="table",
            remedy=f"give a UTF-8 CSV file with a header, a Parquet file, or one of: {', '.join(PUBLIC)}",
        ) from problem


def read_folder(schema: Schema, folder: Path) -> SplitTable:
    """Tables that lie in a folder already, one per node: `<kind>-<number>.csv`, `.parquet` or `.sqlite`.

    Raises:
        SimulationError: a kind of the schema has none.
    """
    files: list[NodeFile] = []
    for kind in schema.kinds_in_order():
        found = sorted(
            path for path in folder.iterdir() if _NODE_FILE.fullmatch(path.name) and path.stem.startswith(f"{kind}-")
        )
        if not found or len({path.stem for path in found}) != len(found):
            raise SimulationError(
                f"{folder} has no table of a node of kind {kind}, or two of one node",
                field="table",
                remedy=f"name each node's table {kind}-01.csv or {kind}-01.parquet, {kind}-02.csv and so on",
            )
        files += [NodeFile(path.stem, kind, path) for path in found]
    return SplitTable(tuple(files), own_ids=True)


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
    for kind in schema.kinds_in_order():
        parties = [f"{kind}-{number:02d}" for number in range(1, nodes[kind] + 1)]
        holder = _holders(rng, frame.height, len(parties), (absent or {}).get(kind, 0.0))
        columns = [*schema.columns(kind)]
        if kind == schema.label.kind:
            columns.append(schema.label.column)
        whole = frame.select(columns).insert_column(0, pl.Series(schema.id.column, ids))
        for index, party in enumerate(parties):
            path = folder / f"{party}.csv"
            whole.filter(pl.Series(holder == index)).write_csv(path)
            files.append(NodeFile(party, kind, path))
    return SplitTable(tuple(files), own_ids)


def distinct(pseudonyms: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 32) pseudonyms, each once, in order."""
    ordered = pseudonyms[np.argsort(pseudonyms.view("V32").ravel())]
    new = np.concatenate([np.ones(min(1, len(ordered)), dtype=np.bool_), ascending(ordered)])
    return ordered if new.all() else ordered[new]


def simulated_pseudonyms(ids: Sequence[str]) -> NDArray[np.uint8]:
    """(n, 32) SHA-256 of each identifier: a stand-in for the VOPRF that anyone could reverse by trying."""
    joined = bytearray()
    for each in ids:
        joined += hashlib.sha256(each.encode()).digest()
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 32)


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
    wanted = [column for kind in kinds for column in schema.columns(kind)] + [schema.label.column]
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
