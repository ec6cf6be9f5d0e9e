"""`digua-hub synthesize`: files of synthetic merchants in the likeness of Lishui's, whole or not at all.

All files are written in a folder beside the target, which takes its name in one step at the end. A manifest says in
both languages that nobody in them exists.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError
from sqlalchemy.exc import SQLAlchemyError

from crypto.synthetic_codes import CAPACITY, synthetic_usccs
from hub.campaign_errors import SynthesisError
from hub.synthetic_files import SUFFIXES, Format, TableFile, open_table
from models.lishui.blocks import BLOCK_ROWS, KINDS, Block, blocks
from models.lishui.places import PROVINCES

MANIFEST = "manifest.json"
ID_COLUMN = "uscc"
LABEL = "default_24m"
MAX_NODES = 1000
LEAST_PER_NODE = 10
_NOTICE = {
    "zh": "合成数据（SYNTHETIC）：其中没有任何真实的商户、代码、金额或违约记录。",
    "en": "SYNTHETIC DATA: no merchant, code, amount or default in these files is anyone's.",
}
_EVEN, _LOCAL = 3.0, 0.3  # Dirichlet parameters: of banks' sizes; of a bureau's or utility's hold on a province

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SynthesisOptions:
    """What to write.

    Attributes:
        nodes: kind → number of nodes with a file each; empty for one joined table.
    """

    merchants: int
    seed: int
    out: Path
    form: Format = "csv"
    nodes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Synthesised:
    """What was written: the manifest, as in its file."""

    folder: Path
    manifest: dict[str, Any]


def synthesise(options: SynthesisOptions, progress: Progress) -> Synthesised:
    """Writes the files and the manifest.

    Args:
        progress: called with merchants made and merchants in all.

    Raises:
        SynthesisError: the folder is there already, the options make no sense, or the disk refuses.
    """
    _check(options)
    out = options.out.absolute()
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        manifest = _write(options, partial, progress)
        partial.rename(out)
    except (OSError, SQLAlchemyError, PolarsError) as problem:
        raise SynthesisError(
            f"{options.out} cannot be written: {problem}",
            field="out",
            remedy="give a new folder on a disk with room and permission",
        ) from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Synthesised(out, manifest)


def joined_blocks(seed: int, merchants: int) -> Iterator[pl.DataFrame]:
    """The joined table in blocks, identifier first."""
    for block, rows in blocks(seed, merchants):
        yield block.joined().insert_column(0, _identifiers(block)).head(rows)


def node_names(nodes: Mapping[str, int]) -> dict[str, list[str]]:
    """Kind → party ids, as the simulator names them."""
    return {kind: [f"{kind}-{number:02d}" for number in range(1, nodes[kind] + 1)] for kind in KINDS}


class Placement:
    """Which node has each merchant. Banks differ in size; bureaus and utilities are mostly of one province or a few."""

    def __init__(self, seed: int, nodes: Mapping[str, int]) -> None:
        self._seed = seed
        self._nodes = nodes
        rng = self._rng(0)
        self._weights: dict[str, NDArray[np.float64]] = {}
        for kind in KINDS:
            if kind == "bank":
                one = rng.dirichlet(np.full(nodes[kind], _EVEN))
                self._weights[kind] = np.tile(one, (len(PROVINCES), 1))
            else:
                self._weights[kind] = rng.dirichlet(np.full(nodes[kind], _LOCAL), size=len(PROVINCES))

    def holders(self, block: Block) -> dict[str, NDArray[np.int64]]:
        """Kind → (n,) index of the node that has each merchant's record, −1 where none has."""
        rng = self._rng(block.index + 1)
        found: dict[str, NDArray[np.int64]] = {}
        for kind in KINDS:
            bounds = self._weights[kind].cumsum(axis=1)[block.merchants.province]
            # the last bound may round to less than 1
            node = (rng.random(block.rows)[:, None] >= bounds[:, :-1]).sum(axis=1).astype(np.int64)
            node[~block.records[kind].present] = -1
            if block.index == 0:  # so that no node is empty
                first = np.flatnonzero(node >= 0)[: self._nodes[kind]]
                node[first] = np.arange(len(first))
            found[kind] = node
        return found

    def _rng(self, index: int) -> np.random.Generator:
        # apart from the generators of the blocks, whose spawn keys have one number
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(index, 1)))


def _identifiers(block: Block) -> pl.Series:
    regions = pl.Series(list(PROVINCES)).gather(block.merchants.province).to_list()
    return pl.Series(ID_COLUMN, synthetic_usccs(regions, block.index * BLOCK_ROWS))


def _check(options: SynthesisOptions) -> None:
    if options.out.exists():
        raise SynthesisError(
            f"{options.out} is there already", field="out", remedy="give a folder that is not there yet"
        )
    most = CAPACITY - BLOCK_ROWS
    if not 1 <= options.merchants <= most:
        raise SynthesisError(
            f"{options.merchants} merchants cannot be made", field="merchants", remedy=f"ask for 1 to {most}"
        )
    if options.seed < 0:
        raise SynthesisError(f"the seed is {options.seed}", field="seed", remedy="give 0 or more")
    wrong = set(options.nodes) != set(KINDS) or any(not 1 <= each <= MAX_NODES for each in options.nodes.values())
    if options.nodes and wrong:
        raise SynthesisError(
            f"nodes are given for {', '.join(options.nodes)}; there are {', '.join(KINDS)}",
            field="nodes",
            remedy=f"give 1 to {MAX_NODES} nodes of each, e.g. {','.join(f'{kind}=3' for kind in KINDS)}",
        )
    if options.nodes and options.merchants < LEAST_PER_NODE * max(options.nodes.values()):
        raise SynthesisError(
            f"{options.merchants} merchants for {max(options.nodes.values())} nodes of a kind",
            field="merchants",
            remedy=f"use fewer nodes, or at least {LEAST_PER_NODE} merchants for each",
        )


def _write(options: SynthesisOptions, folder: Path, progress: Progress) -> dict[str, Any]:
    suffix = SUFFIXES[options.form]
    names = node_names(options.nodes) if options.nodes else {"": ["joined"]}
    tables = {
        kind: [open_table(folder / f"{party}{suffix}", options.form) for party in parties]
        for kind, parties in names.items()
    }
    counts = _Counts()
    try:
        placement = Placement(options.seed, options.nodes) if options.nodes else None
        for block, rows in blocks(options.seed, options.merchants):
            _append(block, rows, tables, placement)
            counts.add(block, rows)
            progress(counts.merchants, options.merchants)
        for table in _all(tables):
            table.close()
    finally:
        for table in _all(tables):
            table.abandon()
    manifest = {
        "synthetic": True,
        "notice": _NOTICE,
        "generator": "digua-hub synthesize: Lishui merchants, version 1",
        "seed": options.seed,
        "merchants": options.merchants,
        "block_rows": BLOCK_ROWS,
        "id_column": ID_COLUMN,
        "label": LABEL,
        **counts.summary(),
        "tables": [
            {
                "party": table.path.stem,
                "kind": kind or None,
                "file": table.path.name,
                "rows": table.rows,
                "bytes": table.path.stat().st_size,
                "sha256": _digest(table.path),
            }
            for kind, each in tables.items()
            for table in each
        ],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return manifest


def _append(block: Block, rows: int, tables: Mapping[str, list[TableFile]], placement: Placement | None) -> None:
    identifiers = _identifiers(block)
    if placement is None:
        tables[""][0].append(block.joined().insert_column(0, identifiers).head(rows))
        return
    for kind, holder in placement.holders(block).items():
        whole = block.table(kind).insert_column(0, identifiers).head(rows)
        for index, table in enumerate(tables[kind]):
            mine = holder[:rows] == index
            if mine.any():
                table.append(whole.filter(pl.Series(mine)))


@dataclass
class _Counts:
    """What the manifest says of the merchants."""

    merchants: int = 0
    labelled: int = 0
    defaults: int = 0

    def add(self, block: Block, rows: int) -> None:
        """Count a block's first rows."""
        known = block.outcomes.known[:rows]
        self.merchants += rows
        self.labelled += int(known.sum())
        self.defaults += int((known & (block.outcomes.month[:rows] > 0)).sum())

    def summary(self) -> dict[str, Any]:
        """As the manifest has it."""
        rate = round(self.defaults / self.labelled, 6) if self.labelled else None
        return {"labelled": self.labelled, "defaults": self.defaults, "default_rate": rate}


def _all(tables: Mapping[str, list[TableFile]]) -> Iterator[TableFile]:
    for each in tables.values():
        yield from each


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
