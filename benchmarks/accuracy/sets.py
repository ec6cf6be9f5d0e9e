"""The data sets of the accuracy benchmark. Any schema with a source of joined rows can stand in `SETS`.

A split holds out 30 % of the rows by its seed. Where a set is larger than the rows asked for, the seed samples them
as well; the synthetic set is another world of merchants for every seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.bins import encode
from models.codes import ABSENT, DEFAULTED, PERFORMING
from models.datasets import give_me_some_credit, pakdd2009
from models.lishui.blocks import blocks
from models.schema import Kind, Schema
from models.schema_file import load_schema
from models.tables import FeatureBins, feature_bins, joined_codes

HOLDOUT = 0.3
CONFIGS = Path(__file__).parent.parent.parent / "configs"
_WORLDS = 52_000
"""World seeds of synthetic merchants begin here, away from those of tests and demonstrations."""

Codes = NDArray[np.uint8]
Source = Callable[[int, Path | None], pl.DataFrame]


@dataclass(frozen=True)
class Part:
    """Rows of a split: what they are trained or judged by.

    Attributes:
        codes: kind → (n, F_kind) bins; a merchant without a record there has 255 in the whole row.
        outcomes: (n,) 0 defaulted, 1 performing, 2 no label yet.
        frame: the same rows as they were before binning.
    """

    codes: dict[str, Codes]
    outcomes: Codes
    frame: pl.DataFrame

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) rows with a label: all that a learner of joined rows can use."""
        return np.asarray((self.outcomes == DEFAULTED) | (self.outcomes == PERFORMING))

    @property
    def bad(self) -> NDArray[np.bool_]:
        """(n_known,) whether each labelled row defaulted."""
        return np.asarray(self.outcomes[self.known] == DEFAULTED)


@dataclass(frozen=True)
class Split:
    """One set split by one seed."""

    name: str
    seed: int
    schema: Schema
    train: Part
    test: Part

    @cached_property
    def features(self) -> tuple[FeatureBins, ...]:
        """Blocks of the table, in the schema's order."""
        return feature_bins(self.schema)

    def joined(self, part: Part) -> NDArray[np.int64]:
        """(n_known, F) bins of labelled rows; a merchant absent at a kind has one bin more than the feature has."""
        rows = joined_codes(self.features, part.codes, len(part.outcomes))[part.known]
        widths = np.array([feature.width for feature in self.features])
        return np.where(rows < 0, widths[None, :], rows)


@dataclass(frozen=True)
class DataSet:
    """A schema and where its joined rows come from.

    Attributes:
        title: as the report names it.
        schema_file: in configs/.
        source: (split seed, cache) → joined rows, in the columns of the schema.
        rows: how many a split uses; all if None.
        fresh: every split has rows of its own; else splits share rows, which intervals must allow for.
    """

    title: str
    schema_file: str
    source: Source
    rows: int | None = None
    fresh: bool = False

    @property
    def schema(self) -> Schema:
        """The public schema."""
        return load_schema(CONFIGS / self.schema_file)

    def split(self, name: str, seed: int, cache: Path | None) -> Split:
        """The rows of one seed, binned, 30 % of them held out.

        Args:
            name: under which the set is known.
            seed: of the sample and of the split.
            cache: where downloaded sets are kept.
        """
        schema = self.schema
        frame = self.source(seed, cache)
        order = np.random.default_rng(seed).permutation(frame.height)[: self.rows]
        held = round(HOLDOUT * len(order))
        return Split(name, seed, schema, _part(schema, frame[order[held:]]), _part(schema, frame[order[:held]]))


def one_kind(schema: Schema) -> Schema:
    """The same columns, all of them at every bank: what a consortium of banks alone would have."""
    kind = schema.label.kind
    features = {name: spec for held in schema.kinds.values() for name, spec in held.features.items()}
    columns = tuple(name for held in schema.kinds.values() for name in held.columns or ())
    joined = Kind(title=schema.kinds[kind].title, columns=columns or None, features=features)
    return schema.model_copy(update={"kinds": {kind: joined}})


def public_range(edges: tuple[float, ...], given: tuple[float, float] | None) -> tuple[float, float]:
    """What a schema tells about a column's values: its range, else the edges with a bin of like width at either end.

    Columns whose edges are not negative are taken to start at zero.
    """
    if given is not None:
        return given
    steps = [after - before for before, after in pairwise(edges)] or [max(abs(edges[0]), 1.0)]
    low = edges[0] - steps[0]
    return (0.0 if edges[0] >= 0 and low < 0 else low), edges[-1] + steps[-1]


def _part(schema: Schema, frame: pl.DataFrame) -> Part:
    codes: dict[str, Codes] = {}
    outcomes: Codes | None = None
    for kind in schema.kinds_in_order():
        encoded = encode(schema, kind, frame)
        absent = frame.select(pl.all_horizontal(pl.col(*schema.columns(kind)).is_null())).to_series().to_numpy()
        codes[kind] = np.where(absent[:, None], np.uint8(ABSENT), encoded.codes)
        outcomes = encoded.outcome if encoded.outcome is not None else outcomes
    if outcomes is None:
        raise SystemExit(f"{schema.name}: the label's kind has no outcomes")
    return Part(codes, outcomes, frame)


@lru_cache(maxsize=2)
def _give_me_some_credit(cache: Path | None) -> pl.DataFrame:
    return give_me_some_credit(cache)


@lru_cache(maxsize=2)
def _pakdd2009(cache: Path | None) -> pl.DataFrame:
    return pakdd2009(cache)


def _lishui(merchants: int) -> Source:
    def source(seed: int, _: Path | None) -> pl.DataFrame:
        return pl.concat([block.joined().head(rows) for block, rows in blocks(_WORLDS + seed, merchants)])

    return source


SETS: dict[str, DataSet] = {
    "gmsc-28k": DataSet(
        "Give Me Some Credit, 28,000",
        "give-me-some-credit.yaml",
        lambda _, cache: _give_me_some_credit(cache),
        28_000,
    ),
    "gmsc-150k": DataSet(
        "Give Me Some Credit, 150,000",
        "give-me-some-credit.yaml",
        lambda _, cache: _give_me_some_credit(cache),
    ),
    "pakdd-2009": DataSet("PAKDD 2009, 39,988", "pakdd-2009.yaml", lambda _, cache: _pakdd2009(cache)),
    "lishui-28k": DataSet("Synthetic Lishui, 28,000", "lishui-merchants.yaml", _lishui(28_000), fresh=True),
}


def schema_digest(schema: Schema) -> str:
    """Short hash of a schema: cells of another one are not those of this one."""
    return hashlib.sha256(schema.canonical_json()).hexdigest()[:12]
