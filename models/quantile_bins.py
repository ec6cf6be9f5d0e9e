"""Bins from private quantiles: what is counted, and which bins follow from the noisy counts (docs/protocol.md, 6a).

A schema may leave the bins of an ordinal feature open and give a public grid instead (`models.quantile_grid`). Of each
such feature the rows are counted in the grid's cells and in a b-ary tree of sums over them; the noisy total of all
nodes' trees is made consistent (Hay et al. 2010, by OpenDP), and its quantiles, at edges of the grid, are the bins.
Everything after the noise is a deterministic function of the opened counts and the schema, so that each party can make
the bins again and none can choose them.

A merchant stands in one node of the tree at each level, for each such feature that it has a value of: that is what the
accountant is told (`CountTree.levels`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.codes import Codes
from models.errors import DataError, SchemaError
from models.feature import Feature
from models.schema import FeatureSpec, Schema, unsettled

BRANCHING = 5
"""Simulated rank errors over 64 to 121 cells are 4 to 12 % above those of b = 2, with a quarter to two fifths fewer
counts; of b = 8 and more they are greater."""
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class CountTree:
    """The counts of one feature without given bins.

    Attributes:
        feature, kind: whose.
        cells: of its grid, the tree's leaves.
        nodes: counts in all, of all levels.
        levels: of the tree, root and leaves included: counts in which one row stands.
    """

    feature: str
    kind: str
    cells: int
    nodes: int
    levels: int


def count_trees(schema: Schema) -> tuple[CountTree, ...]:
    """The trees of a schema's features without given bins, in order of features; empty where all bins are given."""
    return tuple(
        _shape(each.name, each.kind, len(_grid(each.spec)) + 1) for each in schema.all_features() if each.spec.unsettled
    )


def on_grid(schema: Schema) -> Schema:
    """The schema with whole grids as bins, under which a node reads its rows before the bins are known.

    Products of features without given bins are left out; `settled_codes` makes them. A schema whose bins are all given
    is returned as it is.
    """
    if not unsettled(schema):
        return schema

    def change(feature: FeatureSpec, plain: dict[str, Any]) -> dict[str, Any] | None:
        if _open_product(schema, feature):
            return None
        if feature.spec.unsettled:
            del plain["quantiles"]
            plain["bins"] = _with_special(feature.spec, _grid(feature.spec))
        return plain

    return _changed(schema, change)


def open_form(schema: Schema) -> Schema:
    """The schema as it was before its bins came from quantiles; itself where none did."""

    def change(feature: FeatureSpec, plain: dict[str, Any]) -> dict[str, Any]:
        if feature.spec.quantiles is not None:
            plain.pop("bins", None)
        return plain

    return _changed(schema, change)


def tree_counts(schema: Schema, kind: str, codes: Codes) -> Counts:
    """Counts rows of one kind in all trees of the schema; those of other kinds are zero.

    Args:
        schema: with bins still to come.
        kind: the rows'.
        codes: (n, F) under `on_grid` of it; `ABSENT` rows, missing values and special codes are not counted.

    Returns:
        (Σ nodes,) counts, tree after tree, each from its root down, level by level.
    """
    places = {each.name: at for at, each in enumerate(on_grid(schema).features(kind))}
    parts: list[Counts] = []
    for tree in count_trees(schema):
        if tree.kind != kind:
            parts.append(np.zeros(tree.nodes, dtype=np.int64))
            continue
        counted = np.bincount(codes[:, places[tree.feature]], minlength=tree.cells)[: tree.cells]
        parts.append(np.array(_expanded(tree.cells)(counted.astype(np.int64)), dtype=np.int64))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def settled(schema: Schema, counts: Counts) -> Schema:
    """The schema with the bins that follow from the opened counts.

    Args:
        schema: with bins still to come.
        counts: (Σ nodes,) noisy counts, in any unit (the integer grid of the noise will do).

    Raises:
        DataError: the counts are of another shape.
    """
    trees = count_trees(schema)
    if counts.shape != (sum(tree.nodes for tree in trees),):
        raise DataError(
            f"{counts.shape} counts are not those of the schema's trees",
            field="counts",
            remedy="take the counts that the bins stage of this schema opened",
        )
    edges: dict[str, tuple[float, ...]] = {}
    start = 0
    for tree in trees:
        spec = schema.feature(tree.feature).spec
        cells = _consistent_cells(tree, counts[start : start + tree.nodes])
        edges[tree.feature] = _with_special(spec, _edges(spec, cells))
        start += tree.nodes
    return with_bins(schema, edges)


def with_bins(schema: Schema, edges: Mapping[str, tuple[float, ...]]) -> Schema:
    """The schema with these edges, special code included, in the features without given bins.

    Raises:
        SchemaError: an edge is not of its feature's grid, or a feature is left out.
    """
    missing = [each.feature for each in count_trees(schema) if each.feature not in edges]
    if missing:
        raise SchemaError(f"no edges of {missing[0]} are given", field=missing[0], remedy="give edges of every feature")

    def change(feature: FeatureSpec, plain: dict[str, Any]) -> dict[str, Any]:
        if feature.spec.unsettled:
            plain["bins"] = list(edges[feature.name])
        return plain

    return _changed(schema, change)


def settled_codes(schema: Schema, kind: str, codes: Codes) -> Codes:
    """Codes under a schema whose bins came from quantiles, from codes under its grid.

    Args:
        schema: with bins.
        kind: the rows'.
        codes: (n, F') under `on_grid(open_form(schema))`.

    Returns:
        (n, F) under the schema.
    """
    before = open_form(schema)
    fine = {each.name: (at, each.spec) for at, each in enumerate(on_grid(before).features(kind))}
    features = schema.features(kind)
    result = np.empty((len(codes), len(features)), dtype=np.uint8)
    places = {each.name: at for at, each in enumerate(features)}
    for at, each in enumerate(features):
        if each.spec.product is not None:
            continue
        column, spec = fine[each.name]
        result[:, at] = codes[:, column] if spec.bins == each.spec.bins else _coarser(spec, each.spec)[codes[:, column]]
    for at, each in enumerate(features):
        if each.spec.product is not None:
            first, second = (places[name] for name in each.spec.product)
            pair = result[:, first].astype(np.int64) * features[second].width + result[:, second]
            result[:, at] = pair.astype(np.uint8)
    return result


def _coarser(fine: Feature, coarse: Feature) -> NDArray[np.uint8]:
    """(256,) bin of the coarse feature for each bin of the fine one; other codes stay as they are."""
    table = np.arange(256, dtype=np.uint8)
    ends = np.array([*(fine.bins or ()), np.inf])
    table[: len(ends)] = np.searchsorted(np.asarray(coarse.bins), ends, side="left")
    table[fine.missing_bin] = coarse.missing_bin
    return table


def _edges(spec: Feature, cells: NDArray[np.float64]) -> tuple[float, ...]:
    """Edges of the grid, at most count − 1: cells that are as heavy as two bins stand alone, quantiles part the rest.

    Args:
        spec: the feature.
        cells: (L,) counts, none negative.
    """
    count, last = (2 if spec.quantiles is None else spec.quantiles.count), len(cells) - 1
    total = cells.sum()
    if total <= 0:  # nothing but noise, or nobody: any edges will do
        return _at(spec, {round(place) for place in np.linspace(1, last, min(count - 1, last))})
    order = np.argsort(-cells, kind="stable")[: (count - 1) // 2]
    heavy = [int(cell) for cell in order if cells[cell] >= 2 * total / count]
    # Edge k of the grid parts cell k − 1 from cell k.
    places = {place for cell in heavy for place in (cell, cell + 1) if 1 <= place <= last}
    rest = cells.copy()
    rest[heavy] = 0.0
    left = count - 1 - len(places)
    if left > 0 and rest.sum() > 0:
        places |= {min(max(place, 1), last) for place in _quantiles(rest, left)}
    return _at(spec, places)


def _at(spec: Feature, places: set[int]) -> tuple[float, ...]:
    grid = _grid(spec)
    return tuple(grid[place - 1] for place in sorted(places))


def _quantiles(cells: NDArray[np.float64], number: int) -> list[int]:
    """Boundaries of cells nearest to the quantiles that part these counts into number + 1 equal parts."""
    opendp = _opendp()
    bounds = [float(place) for place in range(len(cells) + 1)]
    alphas = [(part + 1) / (number + 1) for part in range(number)]
    found = opendp.make_quantiles_from_counts(bounds, alphas, interpolation="nearest", TA="f64", F="f64")
    return [round(place) for place in found(cells.tolist())]


def _consistent_cells(tree: CountTree, counts: Counts) -> NDArray[np.float64]:
    """(L,) counts of the cells, none negative, from the noisy counts of a tree."""
    from scipy.optimize import isotonic_regression  # noqa: PLC0415 - only where bins are made

    consistent = _opendp().make_consistent_b_ary_tree(BRANCHING, TIA="i64", TOA="f64")
    given = np.array(counts, dtype=np.int64)  # a copy: OpenDP takes no array that may not be written to
    leaves = np.array(consistent(given), dtype=np.float64)[: tree.cells]
    # Cutting negative counts off would pile the noise of empty cells up; sums up to a cell know better.
    rising = isotonic_regression(np.cumsum(leaves)).x
    return np.diff(np.maximum(rising, 0.0), prepend=0.0)


def _shape(feature: str, kind: str, cells: int) -> CountTree:
    transformation = _expanded(cells)
    nodes = len(transformation(np.zeros(cells, dtype=np.int64)))
    return CountTree(feature, kind, cells, nodes, int(transformation.map(1)))


@lru_cache(maxsize=128)
def _expanded(cells: int) -> Any:
    """OpenDP's transformation of cells to a tree; its map is the sensitivity, one count a level."""
    from opendp.domains import atom_domain, vector_domain  # noqa: PLC0415
    from opendp.metrics import l1_distance  # noqa: PLC0415

    space = vector_domain(atom_domain(T="i64")), l1_distance(T="i64")
    return _opendp().make_b_ary_tree(*space, leaf_count=cells, branching_factor=BRANCHING)


def _opendp() -> Any:
    """OpenDP's transformations: a native library that most processes do not need; `opendp.prelude` would load
    scikit-learn too."""
    from opendp import transformations  # noqa: PLC0415
    from opendp.mod import enable_features  # noqa: PLC0415

    enable_features("contrib")
    return transformations


def _grid(spec: Feature) -> tuple[float, ...]:
    return () if spec.quantiles is None else spec.quantiles.grid(whole=spec.whole)


def _with_special(spec: Feature, edges: tuple[float, ...]) -> tuple[float, ...]:
    return edges if spec.special_from is None else (*edges, spec.special_from)


def _open_product(schema: Schema, feature: FeatureSpec) -> bool:
    factors = feature.spec.product or ()
    return any(schema.feature(name).spec.unsettled for name in factors)


def _changed(schema: Schema, change: Callable[[FeatureSpec, dict[str, Any]], dict[str, Any] | None]) -> Schema:
    """The schema with each feature as `change` makes it, left out where that is None; checked anew."""
    plain = schema.model_dump(mode="json", exclude_none=True)
    for kind in plain["kinds"]:
        specs = {each.name: each for each in schema.features(kind["name"])}
        changed = (change(specs[each["name"]], each) for each in kind["features"])
        kind["features"] = [each for each in changed if each is not None]
    return Schema.model_validate(plain)
