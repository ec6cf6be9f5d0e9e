"""Estimates from noisy blocks of counts, with their variances: linear functions, ratios, means over knots.

A block's total is a public number (how many merchants' consents name these kinds), so its cells are first drawn to that
total by least squares. All cells have noise of one σ; after that step the noise of Σ aᵢcᵢ has the variance
σ²·(Σ aᵢ² − (Σ aᵢ)²/K) over the block's K cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Z_95 = 1.959963984540054
_TOLD_FROM = 3.0
"""Standard deviations of noise that a denominator must exceed; below, nothing is said of what it divides."""


@dataclass(frozen=True)
class Estimate:
    """A value and the variance of its error."""

    value: float
    variance: float


@dataclass(frozen=True)
class Figure:
    """What is published of an estimate: value and ends of a 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Block:
    """A released block, drawn to its public total.

    Attributes:
        cells: (rows, columns) counts.
        sigma: of the noise on each cell before that.
    """

    cells: FloatArray
    sigma: float

    @classmethod
    def of(cls, counts: FloatArray, total: int, sigma: float) -> Block:
        """Noisy counts drawn to their total; exact ones are left as they are."""
        cells = np.asarray(counts, dtype=np.float64)
        return cls(cells if sigma == 0 else cells + (total - cells.sum()) / cells.size, sigma)

    def linear(self, weights: FloatArray) -> Estimate:
        """Σ weight × cell; weights are (rows, columns)."""
        return Estimate(float((weights * self.cells).sum()), self.noise(weights))

    def noise(self, weights: FloatArray) -> float:
        """Variance of that sum's noise."""
        return self.sigma**2 * float((weights**2).sum() - weights.sum() ** 2 / self.cells.size)

    def ratio(self, above: FloatArray, below: FloatArray, further: float = 0.0) -> Estimate | None:
        """Σ above × cell over Σ below × cell, by the delta method; None where noise drowns the denominator.

        Args:
            above, below: (rows, columns) weights.
            further: variance of the numerator beside the noise's.
        """
        top, bottom = self.linear(above), self.linear(below)
        if not told(bottom):
            return None
        value = top.value / bottom.value
        return Estimate(value, (self.noise(above - value * below) + further) / bottom.value**2)


def told(count: Estimate) -> bool:
    """Whether a count stands out of its noise."""
    return count.value > 0 and count.value > _TOLD_FROM * math.sqrt(count.variance)


def quotient(top: Estimate, bottom: Estimate) -> Estimate | None:
    """Of two independent estimates; None where noise drowns the denominator."""
    if not told(bottom):
        return None
    value = top.value / bottom.value
    return Estimate(value, (top.variance + value**2 * bottom.variance) / bottom.value**2)


def change(now: Estimate | None, before: Estimate | None) -> Estimate | None:
    """now / before − 1 of two independent estimates; None where either is, or noise drowns the earlier one."""
    found = None if now is None or before is None else quotient(now, before)
    return None if found is None else Estimate(found.value - 1, found.variance)


def rounding_variance(knots: FloatArray, counts: FloatArray) -> float:
    """At most so much do the coins of rounding add to the variance of Σ knot × count.

    One merchant's adds (x − a)(b − x) ≤ (b − a)²/4 between knots a and b; of the two gaps beside its knot the wider is
    taken.

    Args:
        knots: (m,) ascending.
        counts: (m,) merchants at each; negative ones count as none.
    """
    gaps = np.diff(knots)
    wider = np.maximum(np.append(gaps, 0.0), np.insert(gaps, 0, 0.0))
    return float((np.maximum(counts, 0.0) * wider**2).sum() / 4)


def figure(estimate: Estimate | None, *, least: float = 0.0, most: float = math.inf) -> Figure | None:
    """What is published: the possible value that is nearest, and the interval around it, cut to what is possible.

    The truth is possible too, so the nearest possible value is no farther from it than the estimate: the interval holds
    it at least as often, and is never empty where noise has carried the estimate far out.
    """
    if estimate is None:
        return None
    half = Z_95 * math.sqrt(max(estimate.variance, 0.0))
    value = min(max(estimate.value, least), most)
    return Figure(float(value), float(max(value - half, least)), float(min(value + half, most)))
