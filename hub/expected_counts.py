"""How many merchants each published count is expected to hold, beside the noise that it gets (docs/privacy.md).

From the newest opened table of the same schema where there is one: its noisy margins are public. Else every bin of a
feature is taken to hold equally many merchants, and every bin to have the same default rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np

from models.margins import consistent_margins
from models.tables import FeatureBins, FloatArray, OpenedTable

CountsOf: TypeAlias = Literal["defaulted", "others", "pairs", "bands"]
"""Defaulted or other merchants of a bin; merchants of two bins; defaulted merchants of a band of an evaluation."""


@dataclass(frozen=True)
class Noise:
    """The noise of a mechanism's counts, in merchants.

    Attributes:
        promised: σ that the accountant counts on, with `t_collude` nodes' shares known.
        opened: σ of all nodes' shares together.
        share: σ of one node's.
    """

    promised: float
    opened: float
    share: float

    @classmethod
    def of(cls, sigma: float, nodes: int, t_collude: int) -> Noise:
        """A total σ in shares of σ/√(n − t) (docs/protocol.md, 3)."""
        share = sigma / math.sqrt(max(nodes - t_collude, 1))
        return cls(sigma, share * math.sqrt(nodes), share)


@dataclass(frozen=True)
class ExpectedCounts:
    """Counts of one sort.

    Attributes:
        cells: how many of them are published.
        mean, smallest: expected merchants in one.
        signal: the smallest over the opened noise; None without noise.
        drowned: share of them that are expected to be below twice the opened noise.
    """

    of: CountsOf
    cells: int
    noise: Noise
    mean: float
    smallest: float
    signal: float | None
    drowned: float

    @classmethod
    def measured(cls, of: CountsOf, expected: FloatArray, noise: Noise) -> ExpectedCounts:
        """Of (cells,) expected counts."""
        return cls(
            of=of,
            cells=expected.size,
            noise=noise,
            mean=float(expected.mean()),
            smallest=float(expected.min()),
            signal=float(expected.min()) / noise.opened if noise.opened > 0 else None,
            drowned=float((expected < 2 * noise.opened).mean()),
        )


@dataclass(frozen=True)
class Cells:
    """Expected merchants per cell: (D,) defaulted, (D,) others, and all pair cells."""

    defaulted: FloatArray
    others: FloatArray
    pairs: FloatArray

    def counts(self, classes: Noise, pairs: Noise) -> tuple[ExpectedCounts, ...]:
        """All three beside their noise; a table of one feature has no pairs."""
        found = [
            ExpectedCounts.measured("defaulted", self.defaulted, classes),
            ExpectedCounts.measured("others", self.others, classes),
        ]
        if self.pairs.size:
            found.append(ExpectedCounts.measured("pairs", self.pairs, pairs))
        return tuple(found)


def assumed_cells(
    features: Sequence[FeatureBins], merchants: int, present: Mapping[str, float], default_rate: float
) -> Cells:
    """Where all bins of a feature are alike.

    Args:
        features: blocks.
        merchants: of the cohort.
        present: kind → share of them with a record there; independent of each other.
        default_rate: of all.
    """
    held = [present[feature.kind] for feature in features]
    bins = np.concatenate(
        [
            np.full(feature.width, merchants * share / feature.width)
            for feature, share in zip(features, held, strict=True)
        ]
    )
    pairs = [
        np.full(
            a.width * b.width,
            merchants * (held[i] if a.kind == b.kind else held[i] * held[j]) / (a.width * b.width),
        )
        for (i, a), (j, b) in combinations(enumerate(features), 2)
    ]
    return Cells(default_rate * bins, (1 - default_rate) * bins, np.concatenate(pairs) if pairs else np.zeros(0))


def published_cells(table: OpenedTable, merchants: int) -> Cells:
    """As in an opened table, scaled to another number of merchants.

    Raises:
        FitError: it has too few defaults to tell.
    """
    margins = consistent_margins(table)
    scale = merchants / margins.size
    offsets = table.offsets()
    pairs = [
        margins.pairs[offsets[f] : offsets[f + 1], offsets[g] : offsets[g + 1]].ravel()
        for f, g in combinations(range(len(table.features)), 2)
    ]
    together = np.concatenate(pairs) if pairs else np.zeros(0)
    return Cells(scale * margins.p, scale * (margins.n - margins.p), scale * np.maximum(together, 0.0))
