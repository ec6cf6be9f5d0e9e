"""The sum of a bins stage: trees of counts, their integer grid and noise (docs/protocol.md, 6a).

Which counts a tree has is `models.quantile_bins`'s; here they are a vector, tree after tree. A merchant stands in one
count of each level of each tree, by one, so the L2 sensitivity is the root of all levels together. Noise and range are
those of an evaluation's histogram.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import digest
from crypto.errors import ManifestError
from crypto.histogram import HistogramGrid, evaluation_terms, sum_grid, terms_histogram
from crypto.wire.bins import BinsTerms
from crypto.wire.campaign import Terms


def bins_terms(terms: Terms) -> BinsTerms:
    """The terms' bins stage.

    Raises:
        ManifestError: these are not terms of a bins stage.
    """
    if terms.bins is None:
        raise ManifestError(
            f"the terms of attempt {terms.attempt} describe no trees of counts",
            field="bins",
            remedy="refuse the attempt; the hub must issue terms of the bins stage",
        )
    return terms.bins


def n_tree_counts(bins: BinsTerms) -> int:
    """Counts in all."""
    return sum(each.nodes for each in bins.trees)


def n_touched(bins: BinsTerms) -> int:
    """Counts in which one merchant stands, at most."""
    return sum(each.levels for each in bins.trees)


def trees_grid(terms: Terms) -> HistogramGrid:
    """The grid of the trees that terms describe; raises as `bins_terms` and `crypto.histogram.sum_grid`."""
    return sum_grid(bins_terms(terms).sigma, terms)


def plain_sum(terms: Terms) -> tuple[int, HistogramGrid]:
    """How many counts a stage without exchange sums, an evaluation or a bins stage, and their grid.

    Raises:
        ManifestError: the terms are of another stage.
    """
    if terms.bins is not None:
        return n_tree_counts(terms.bins), trees_grid(terms)
    return terms_histogram(terms).n_cells, sum_grid(evaluation_terms(terms).sigma, terms)


def counts_sha256(opened: NDArray[np.int64]) -> bytes:
    """What a bins release names the opened counts by."""
    return digest(np.ascontiguousarray(opened, dtype="<i8").tobytes())
