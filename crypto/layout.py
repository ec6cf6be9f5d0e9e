"""The layout of a released table: which count stands where in the vector that is summed.

A kind's matrix has one block of columns per feature; the label kind has three outcome columns more
(defaulted, performing, unlabelled). Features are numbered over all kinds in order. Released, in this order:

1. class cells: for every feature, for every bin, `p` (defaulted) then `n0` (performing or unlabelled);
2. pair cells: for features f < g, bins of f × bins of g, row-major.

Nothing else enters the vector: in particular no product inside one feature's block, whose off-diagonal cells
are structural zeros (they would show the noise) and whose diagonal is p + n0.

Programme statistics release chosen blocks of these alone, in the same order (`TableLayout.classes`, `pairs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ManifestError

OUTCOMES = ("defaulted", "performing", "unlabelled")

_NOT_RELEASED = -1

UInt32 = NDArray[np.uint32]
CellIndex = NDArray[np.int64]


@dataclass(frozen=True)
class KindBlocks:
    """A kind and the number of bins of each of its features."""

    kind: str
    widths: tuple[int, ...]


@dataclass(frozen=True)
class TableLayout:
    """Positions of all released cells.

    Attributes:
        kinds: in the order of the terms.
        label_kind: the kind whose rows end in the three outcome columns.
        classes: features whose class cells are released; all where None.
        pairs: features (f, g), f < g, whose pair cells are released; all where None.

    Raises:
        ManifestError: kinds repeat, the label kind is missing, a kind has no feature or one with
            fewer than two bins, or chosen cells are none of this table's.
    """

    kinds: tuple[KindBlocks, ...]
    label_kind: str
    classes: tuple[int, ...] | None = None
    pairs: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        names = [blocks.kind for blocks in self.kinds]
        if len(set(names)) != len(names) or self.label_kind not in names:
            raise ManifestError(
                f"kinds {names} repeat or lack the label kind {self.label_kind}",
                field="kinds",
                remedy="name each kind once and the label kind among them",
            )
        for blocks in self.kinds:
            if not blocks.widths or any(width < 2 for width in blocks.widths):
                raise ManifestError(
                    f"kind {blocks.kind} has no feature, or one with fewer than two bins",
                    field="widths",
                    remedy="leave out features that have a single bin",
                )
        self._check_chosen()

    def _check_chosen(self) -> None:
        n, classes, pairs = self.n_features, self.released_classes, self.released_pairs
        ascending = list(classes) == sorted(set(classes)) and list(pairs) == sorted(set(pairs))
        inside = all(0 <= f < n for f in classes) and all(0 <= f < g < n for f, g in pairs)
        if not (ascending and inside and (classes or pairs)):
            raise ManifestError(
                "the chosen cells are none, repeat, are out of order, or are of features that the table does not have",
                field="statistics",
                remedy="choose features of the schema, each pair once with the earlier feature first",
            )

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Bins of every feature, in global order."""
        return tuple(width for blocks in self.kinds for width in blocks.widths)

    @property
    def n_features(self) -> int:
        return len(self.widths)

    @cached_property
    def released_classes(self) -> tuple[int, ...]:
        """Features whose class cells are released."""
        return tuple(range(self.n_features)) if self.classes is None else self.classes

    @cached_property
    def released_pairs(self) -> tuple[tuple[int, int], ...]:
        """Features f < g whose pair cells are released."""
        return tuple(combinations(range(self.n_features), 2)) if self.pairs is None else self.pairs

    @property
    def n_touched(self) -> int:
        """Cells in which one merchant stands, by one each: the square of the L2 sensitivity."""
        return len(self.released_classes) + len(self.released_pairs)

    @cached_property
    def n_class_cells(self) -> int:
        return 2 * sum(self.widths[f] for f in self.released_classes)

    @cached_property
    def n_pair_cells(self) -> int:
        return sum(self.widths[f] * self.widths[g] for f, g in self.released_pairs)

    @property
    def n_cells(self) -> int:
        return self.n_class_cells + self.n_pair_cells

    @cached_property
    def _class_starts(self) -> dict[int, int]:
        sizes = [2 * self.widths[f] for f in self.released_classes]
        return dict(zip(self.released_classes, accumulate(sizes, initial=0), strict=False))

    @cached_property
    def _pair_starts(self) -> dict[tuple[int, int], int]:
        starts, at = {}, self.n_class_cells
        for f, g in self.released_pairs:
            starts[f, g] = at
            at += self.widths[f] * self.widths[g]
        return starts

    def class_slice(self, f: int) -> slice:
        """Cells of feature f's class counts: (bins, 2) row-major."""
        start = self._class_starts[f]
        return slice(start, start + 2 * self.widths[f])

    def pair_slice(self, f: int, g: int) -> slice:
        """Cells of the pair counts of features f < g: (bins of f, bins of g) row-major."""
        start = self._pair_starts[f, g]
        return slice(start, start + self.widths[f] * self.widths[g])

    def blocks(self, kind: str) -> KindBlocks:
        """The blocks of a kind.

        Raises:
            ManifestError: no such kind.
        """
        for blocks in self.kinds:
            if blocks.kind == kind:
                return blocks
        raise ManifestError(
            f"kind {kind} has no part in this table", field="kind", remedy="use a kind that the terms name"
        )

    def order(self, kind: str) -> int:
        """The place of a kind among the kinds."""
        return self.kinds.index(self.blocks(kind))

    def columns(self, kind: str) -> int:
        """Columns of a kind's matrix, outcomes included."""
        return sum(self.blocks(kind).widths) + (len(OUTCOMES) if kind == self.label_kind else 0)

    def kind_pairs(self) -> Iterator[tuple[str, str]]:
        """Every two kinds, earlier first."""
        for at, earlier in enumerate(self.kinds):
            for later in self.kinds[at + 1 :]:
                yield earlier.kind, later.kind

    def features_of(self, kind: str) -> range:
        """Global numbers of a kind's features."""
        start = sum(len(blocks.widths) for blocks in self.kinds[: self.order(kind)])
        return range(start, start + len(self.blocks(kind).widths))

    def _feature_columns(self, kind: str) -> Iterator[tuple[int, int]]:
        """(global feature, its first column in the kind's matrix)."""
        at = 0
        for f in self.features_of(kind):
            yield f, at
            at += self.widths[f]

    def _index(self, earlier: str, later: str) -> CellIndex:
        """(d_earlier, d_later): the released cell that each entry of a product adds to, or −1."""
        index = np.full((self.columns(earlier), self.columns(later)), _NOT_RELEASED, dtype=np.int64)
        for f, row in self._feature_columns(earlier):
            for g, column in self._feature_columns(later):
                if f < g and (f, g) in self._pair_starts:
                    cells = self.pair_slice(f, g)
                    shape = (self.widths[f], self.widths[g])
                    index[row : row + shape[0], column : column + shape[1]] = np.arange(
                        cells.start, cells.stop
                    ).reshape(shape)
        if earlier == self.label_kind:
            outcomes = sum(self.blocks(earlier).widths)
            for g, column in self._feature_columns(later):
                if g in self._class_starts:
                    index[outcomes:, column : column + self.widths[g]] = self._class_index(g)
        elif later == self.label_kind:
            outcomes = sum(self.blocks(later).widths)
            for f, row in self._feature_columns(earlier):
                if f in self._class_starts:
                    index[row : row + self.widths[f], outcomes:] = self._class_index(f).T
        return index

    def _class_index(self, f: int) -> CellIndex:
        """(3, bins): p for defaulted, n0 for performing and unlabelled alike."""
        cells = self.class_slice(f)
        p = np.arange(cells.start, cells.stop, 2)
        return np.stack([p, p + 1, p + 1])

    @cached_property
    def _indices(self) -> dict[tuple[str, str], CellIndex]:
        pairs = [(blocks.kind, blocks.kind) for blocks in self.kinds] + list(self.kind_pairs())
        return {pair: self._index(*pair) for pair in pairs}

    def _scatter(self, pair: tuple[str, str], product: UInt32) -> UInt32:
        index = self._indices.get(pair)
        if index is None or product.shape != index.shape:
            raise ManifestError(
                f"a product of shape {product.shape} is not one of kinds {pair[0]} and {pair[1]}",
                field="product",
                remedy="give the earlier kind first and all columns of both kinds",
            )
        released = index != _NOT_RELEASED
        cells = np.zeros(self.n_cells, dtype=np.uint32)
        np.add.at(cells, index[released], product[released])
        return cells

    def own_cells(self, kind: str, product: UInt32) -> UInt32:
        """Released cells of `XᵀX` (d, d) of one kind: (n_cells,) mod 2^32, zeros elsewhere."""
        return self._scatter((kind, kind), product)

    def cross_cells(self, earlier: str, later: str, product: UInt32) -> UInt32:
        """Released cells of `XᵀY` (d_earlier, d_later) of two kinds: (n_cells,) mod 2^32, zeros elsewhere."""
        return self._scatter((earlier, later), product)

    def per_cell(self, class_value: float, pair_value: float) -> NDArray[np.float64]:
        """(n_cells,): one value for class cells and one for pair cells, e.g. σ."""
        return np.repeat([float(class_value), float(pair_value)], [self.n_class_cells, self.n_pair_cells])

    def split(self, vector: NDArray[Any]) -> tuple[list[NDArray[Any]], dict[tuple[int, int], NDArray[Any]]]:
        """Cuts an opened vector up.

        Args:
            vector: (n_cells,), any type.

        Returns:
            Per released feature (bins, 2) of p and n0; per released pair f < g (bins of f, bins of g).

        Raises:
            ManifestError: the vector has another length.
        """
        if vector.shape != (self.n_cells,):
            raise ManifestError(
                f"a vector of shape {vector.shape} is not a table of {self.n_cells} cells",
                field="vector",
                remedy="split the vector with the layout that it was made with",
            )
        classes = [vector[self.class_slice(f)].reshape(-1, 2) for f in self.released_classes]
        pairs = {
            (f, g): vector[self.pair_slice(f, g)].reshape(self.widths[f], self.widths[g]) for f, g in self._pair_starts
        }
        return classes, pairs
