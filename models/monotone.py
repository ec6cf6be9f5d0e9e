"""Fits whose weights rise or fall along a feature's ordered bins, as the schema declares of its risk.

Steps of weights become the unknowns: the first ordered bin's weight, then the differences from bin to bin, which must
not be negative. Least squares with bounds is then solved by an active-set method (Stark & Parker 1995), which ends at
the optimum itself, so a second fit elsewhere gives the same weights up to rounding. Sums of steps that are not negative
never decrease in floating point either, so the result is monotone exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from models.errors import FitError
from models.feature import Direction
from models.tables import FeatureBins, FloatArray

_SIGNS: dict[Direction, float] = {"increasing": 1.0, "decreasing": -1.0}
"""Weights are risk: points, which are safety, go the other way."""


@dataclass(frozen=True)
class Restrained:
    """A fit within its bounds.

    Attributes:
        weights: (D,).
        influence: (D, k) with (dw/dr) = influence · influenceᵀ where no bound begins or ceases to bind.
    """

    weights: FloatArray
    influence: FloatArray


def restrained_fit(
    features: Sequence[FeatureBins], root: FloatArray, values: FloatArray, vectors: FloatArray, response: FloatArray
) -> Restrained:
    """Minimise ½ wᵀ(C + Σ⁻¹)w − rᵀw over monotone weights.

    Args:
        features: blocks of the D columns.
        root: lower-triangular R with R Rᵀ = Σ.
        values, vectors: of Rᵀ C R, eigenvalues not negative.
        response: r.

    Raises:
        FitError: the active-set method did not end.
    """
    steps, least = _steps(features)
    widen = np.sqrt(values + 1.0)
    design = widen[:, None] * (vectors.T @ linalg.solve_triangular(root, steps, lower=True))
    target = (vectors.T @ (root.T @ response)) / widen
    found = bounded_least_squares(design, target, least)
    free = found > least
    triangle = linalg.qr(design[:, free], mode="r")[0][: int(free.sum())]
    influence = linalg.solve_triangular(triangle, steps[:, free].T, trans="T").T
    return Restrained(_summed(features, found), np.asarray(influence))


def bounded_least_squares(design: FloatArray, target: FloatArray, least: FloatArray) -> FloatArray:
    """Minimise ‖design·x − target‖ over x ≥ least; what lies at a bound is exactly there.

    Raises:
        FitError: the method did not end.
    """
    found = optimize.lsq_linear(
        design, target, bounds=(least, np.inf), method="bvls", tol=1e-14, max_iter=20 * len(least) + 100
    )
    if found.status < 1:
        raise FitError(
            "no fit was found with the monotone features that the schema declares",
            field="monotone",
            remedy="declare fewer features monotone",
        )
    return np.asarray(np.maximum(found.x, least))


def isotonic(feature: FeatureBins, scores: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Scores of one feature's bins, pooled until they go as declared.

    Args:
        feature: with or without a direction; without one nothing changes.
        scores: (width,).
        counts: (width,) weights of the bins.

    Returns:
        The scores, and how each answers to itself: 1 where nothing was pooled, else its bin's share of the pool.
    """
    shares = np.ones_like(scores)
    if feature.monotone is None:
        return scores, shares
    line = list(feature.ordered)
    pooled = optimize.isotonic_regression(
        scores[line], weights=counts[line], increasing=feature.monotone == "increasing"
    )
    found = scores.copy()
    found[line] = pooled.x
    pool = np.repeat(pooled.weights, np.diff(pooled.blocks))
    shares[line] = counts[line] / pool
    return found, shares


def kept_monotone(feature: FeatureBins, weights: FloatArray) -> FloatArray:
    """Weights that rounding may have moved out of order by a last digit, in order again."""
    if feature.monotone is None:
        return weights
    line = list(feature.ordered)
    found = weights.copy()
    sign = _SIGNS[feature.monotone]
    found[line] = sign * np.maximum.accumulate(sign * weights[line])
    return found


def _steps(features: Sequence[FeatureBins]) -> tuple[FloatArray, FloatArray]:
    """(D, D) from steps to weights, and (D,) the least value of each step."""
    columns = sum(feature.width for feature in features)
    steps, least = np.eye(columns), np.full(columns, -np.inf)
    start = 0
    for feature in features:
        if feature.monotone is not None:
            line = start + np.array(feature.ordered, dtype=np.intp)
            sign = _SIGNS[feature.monotone]
            for place, column in enumerate(line):
                steps[line[place:], column] = 1.0 if place == 0 else sign
            least[line[1:]] = 0.0
        start += feature.width
    return steps, least


def _summed(features: Sequence[FeatureBins], steps: FloatArray) -> FloatArray:
    weights = steps.copy()
    start = 0
    for feature in features:
        if feature.monotone is not None:
            line = start + np.array(feature.ordered, dtype=np.intp)
            sign = _SIGNS[feature.monotone]
            signed = np.concatenate([sign * steps[line[:1]], steps[line[1:]]])
            weights[line] = sign * np.cumsum(signed)
        start += feature.width
    return weights
