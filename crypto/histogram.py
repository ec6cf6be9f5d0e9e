"""The histogram of an evaluation: which count stands where, its integer grid, its noise (docs/protocol.md, 6).

Counted are held-out merchants with a known outcome, in this order of cells:

1. band × outcome (defaulted, performing);
2. for every parity feature: band × outcome × group.

One merchant stands in one cell of 1 and in one of each of 2, by one: the L2 sensitivity is √(1 + number of parity
features). All cells have the same σ. As for tables, all nodes of the attempt add a share of σ/√(n − t_collude), and
counts are multiplied by a power of two where a share would be below 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ManifestError
from crypto.noise import SMALLEST_SIGMA, discrete_gaussian, share_sigma, sum_delta
from crypto.secure_sum import sum_bound
from crypto.table_grid import table_scale
from crypto.wire.campaign import Terms
from crypto.wire.evaluation import EvaluationTerms

OUTCOMES = 2
"""Defaulted and performing; merchants without a label are not counted."""

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class HistogramLayout:
    """Cells of a histogram.

    Attributes:
        bands: bands of the score.
        groups: groups of each parity feature.
    """

    bands: int
    groups: tuple[int, ...] = ()

    @property
    def n_cells(self) -> int:
        """Cells in all."""
        return self.bands * OUTCOMES * (1 + sum(self.groups))

    @property
    def touched(self) -> int:
        """Cells in which one merchant stands."""
        return 1 + len(self.groups)

    def count(
        self, bands: NDArray[np.integer], outcomes: NDArray[np.integer], groups: Sequence[NDArray[np.integer]]
    ) -> NDArray[np.int64]:
        """Counts merchants: (n_cells,) int64.

        Args:
            bands: (n,) band of each merchant's score.
            outcomes: (n,) 0 defaulted, 1 performing; others are not counted.
            groups: per parity feature (n,) group.

        Raises:
            ManifestError: a band or group that the histogram does not have.
        """
        known = np.asarray(outcomes) < OUTCOMES
        place = np.asarray(bands)[known].astype(np.int64) * OUTCOMES + np.asarray(outcomes)[known]
        parts = [_counted(place, self.bands * OUTCOMES)]
        for number, width in enumerate(self.groups):
            group = np.asarray(groups[number])[known].astype(np.int64)
            if np.any((group < 0) | (group >= width)):
                raise _outside()
            parts.append(_counted(place * width + group, self.bands * OUTCOMES * width))
        return np.concatenate(parts)

    def split(self, vector: NDArray[Any]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Cuts an opened vector up: (bands, 2), and per parity feature (bands, 2, groups).

        Raises:
            ManifestError: the vector has another length.
        """
        if vector.shape != (self.n_cells,):
            raise ManifestError(
                f"a vector of shape {vector.shape} is not a histogram of {self.n_cells} cells",
                field="vector",
                remedy="split the vector with the layout that it was made with",
            )
        rows = self.bands * OUTCOMES
        ends = list(accumulate((rows, *(rows * width for width in self.groups))))
        whole = vector[: ends[0]].reshape(self.bands, OUTCOMES)
        parts = [
            vector[start:end].reshape(self.bands, OUTCOMES, width)
            for start, end, width in zip(ends, ends[1:], self.groups, strict=False)
        ]
        return whole, parts


@dataclass(frozen=True)
class HistogramGrid:
    """Scale, shares and range of the sum of a histogram, or of other counts of one σ.

    Attributes:
        scale: power of two by which counts are multiplied.
        share: σ of one node's share on that grid; 0 where noise is off.
        bound: largest magnitude of an honest total on that grid.
        sigma: standard deviation of the noise that is in the opened counts when all nodes added theirs, in counts.
    """

    scale: int
    share: float
    bound: int
    sigma: float

    def noise(self, n_cells: int) -> NDArray[np.int64] | None:
        """(n_cells,) one node's share, or `None` where noise is off."""
        return discrete_gaussian(n_cells, self.share) if self.share else None

    def counts(self, opened: NDArray[np.int64]) -> NDArray[np.float64]:
        """The opened total in counts; exact, as the scale is a power of two."""
        return opened / float(self.scale)


def histogram_delta(n_nodes: int, n_cells: int) -> float:
    """Distance of summed shares from one discrete Gaussian: the bound at the smallest share that a grid allows."""
    return sum_delta(SMALLEST_SIGMA, n_nodes, n_cells)


def evaluation_terms(terms: Terms) -> EvaluationTerms:
    """The terms' evaluation.

    Raises:
        ManifestError: these are not terms of an evaluation.
    """
    if terms.evaluation is None:
        raise ManifestError(
            f"the terms of attempt {terms.attempt} describe no evaluation",
            field="evaluation",
            remedy="refuse the attempt; the hub must issue terms of the evaluation stage",
        )
    return terms.evaluation


def terms_histogram(terms: Terms) -> HistogramLayout:
    """The layout of the histogram that terms describe; raises as `evaluation_terms`."""
    evaluation = evaluation_terms(terms)
    return HistogramLayout(len(evaluation.edges) + 1, tuple(each.groups for each in evaluation.parity))


def histogram_grid(terms: Terms) -> HistogramGrid:
    """The grid of the histogram that terms describe.

    Raises:
        ManifestError: these are not terms of an evaluation.
        NoiseError, RangeError: n and t, or σ, are outside the range of the argument, or the sum might wrap.
    """
    return sum_grid(evaluation_terms(terms).sigma, terms)


def sum_grid(sigma: float, terms: Terms) -> HistogramGrid:
    """The grid of counts that all nodes of an attempt sum under noise of one σ; raises as `noise_grid`."""
    return noise_grid(
        sigma,
        n_nodes=len(terms.roster),
        t_collude=terms.privacy.t_collude,
        cohort_size=terms.cohort_size,
        noise=terms.privacy.noise == "on",
    )


def noise_grid(sigma: float, *, n_nodes: int, t_collude: int, cohort_size: int, noise: bool) -> HistogramGrid:
    """What terms of these numbers imply for a histogram; arguments and errors as `crypto.table_grid.table_grid`."""
    if not noise:
        return HistogramGrid(1, 0.0, sum_bound(cohort_size, 0.0, width=32), 0.0)
    share, scale = share_sigma(sigma, n_nodes, t_collude), table_scale(sigma, n_nodes=n_nodes, t_collude=t_collude)
    whole = share * math.sqrt(n_nodes)
    bound = sum_bound(cohort_size * scale, whole * scale, width=32)
    return HistogramGrid(scale, share * scale, bound, whole)


def _counted(place: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    if len(place) and (place.min() < 0 or place.max() >= size):
        raise _outside()
    return np.bincount(place, minlength=size).astype(np.int64)


def _outside() -> ManifestError:
    return ManifestError(
        "a merchant's band or group is not one of the histogram's",
        field="groups",
        remedy="take bands and groups from the terms and the schema",
    )
