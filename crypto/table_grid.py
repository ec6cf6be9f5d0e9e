"""The integer grid of a noisy table: scales, noise shares and the range of its sum (docs/protocol.md, 3 and 4).

Terms give the total σ of class and of pair cells, in counts. All parties derive the rest from them alike: a share of
σ/√(n−t) per node, and, where a share would be below 2, a power of two by which counts and σ are multiplied. The hub
divides by it after the opening. The accountant is told the scale and composes the mechanism on that very grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ManifestError
from crypto.layout import KindBlocks, TableLayout
from crypto.noise import SMALLEST_SIGMA, discrete_gaussian, grid_scale, share_sigma, sum_delta
from crypto.secure_sum import sum_bound
from crypto.wire.campaign import Terms


@dataclass(frozen=True)
class TableGrid:
    """Scales and shares of one table.

    Attributes:
        class_scale, pair_scale: powers of two by which counts are multiplied.
        class_share, pair_share: σ of one node's share on the scaled grid; 0 where noise is off.
        bound: largest magnitude of an honest total on the scaled grid.
    """

    class_scale: int
    pair_scale: int
    class_share: float
    pair_share: float
    bound: int

    def scales(self, layout: TableLayout) -> NDArray[np.uint32]:
        """(n_cells,) the scale of every cell."""
        return layout.per_cell(self.class_scale, self.pair_scale).astype(np.uint32)

    def share(self, layout: TableLayout) -> NDArray[np.int64] | None:
        """(n_cells,) one node's noise share on the scaled grid, or `None` where noise is off."""
        if not self.class_share:
            return None
        return np.concatenate(
            [
                discrete_gaussian(layout.n_class_cells, self.class_share),
                discrete_gaussian(layout.n_pair_cells, self.pair_share),
            ]
        )

    def counts(self, layout: TableLayout, opened: NDArray[np.int64]) -> NDArray[np.float64]:
        """T4: the opened total in counts; exact, as scales are powers of two."""
        return opened / layout.per_cell(self.class_scale, self.pair_scale)


def table_grid(
    sigma_class: float, sigma_pair: float, *, n_nodes: int, t_collude: int, cohort_size: int, noise: bool
) -> TableGrid:
    """What the terms imply for a table.

    Args:
        sigma_class, sigma_pair: standard deviation of the total noise, in counts.
        n_nodes: nodes that add noise, all of the attempt's.
        t_collude: colluding nodes that the promise withstands.
        cohort_size: the largest count.
        noise: off only for synthetic data.

    Raises:
        NoiseError: n and t, or σ, outside the range of the argument.
        RangeError: the sum might wrap.
    """
    if not noise:
        return TableGrid(1, 1, 0.0, 0.0, sum_bound(cohort_size, 0.0, width=32))
    shares = [share_sigma(sigma, n_nodes, t_collude) for sigma in (sigma_class, sigma_pair)]
    scales = [table_scale(sigma, n_nodes=n_nodes, t_collude=t_collude) for sigma in (sigma_class, sigma_pair)]
    bounds = [
        sum_bound(cohort_size * scale, share * scale * math.sqrt(n_nodes), width=32)
        for share, scale in zip(shares, scales, strict=True)
    ]
    return TableGrid(scales[0], scales[1], shares[0] * scales[0], shares[1] * scales[1], max(bounds))


def table_scale(sigma: float, *, n_nodes: int, t_collude: int) -> int:
    """The power of two by which counts are multiplied so that a node's share of σ is at least 2.

    Raises:
        NoiseError: n and t, or σ, outside the range of the argument.
    """
    return grid_scale(share_sigma(sigma, n_nodes, t_collude))


def table_delta(n_nodes: int, n_cells: int) -> float:
    """Distance of summed shares from one discrete Gaussian: the bound at the smallest share that a grid allows."""
    return sum_delta(SMALLEST_SIGMA, n_nodes, n_cells)


def terms_layout(terms: Terms) -> TableLayout:
    """The layout of the table that terms describe.

    Raises:
        ManifestError: kinds repeat, the label kind is not among them, or the cells of statistics are none of the table.
    """
    kinds = tuple(KindBlocks(each.kind, each.widths) for each in terms.kinds)
    chosen = terms.statistics
    if chosen is None:
        return TableLayout(kinds, terms.label_kind)
    return TableLayout(kinds, terms.label_kind, chosen.classes, chosen.pairs)


def terms_grid(terms: Terms) -> TableGrid:
    """The grid of the table that terms describe.

    Raises:
        ManifestError: these are not terms of a table.
        NoiseError, RangeError: as `table_grid`.
    """
    if terms.tables is None:
        raise ManifestError(
            f"the terms of attempt {terms.attempt} describe no table",
            field="tables",
            remedy="refuse the attempt; the hub must issue terms of the scorecard or the statistics stage",
        )
    return table_grid(
        terms.tables.sigma_class,
        terms.tables.sigma_pair,
        n_nodes=len(terms.roster),
        t_collude=terms.privacy.t_collude,
        cohort_size=terms.cohort_size,
        noise=terms.privacy.noise == "on",
    )


def whole_sigma(terms: Terms) -> float:
    """σ of all n shares in a class cell, in counts: the terms' is that of the n − t whose noise is counted on."""
    n, t = len(terms.roster), terms.privacy.t_collude
    return 0.0 if terms.tables is None else terms.tables.sigma_class * math.sqrt(n / (n - t))
