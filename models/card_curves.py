"""Curves of a model card: the ROC of exact scores, and of the noisy histogram of an evaluation with a band."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.codes import DEFAULTED, PERFORMING
from models.evaluation import CalibrationRow, Interval
from models.tables import FloatArray

_DRAWS = 400
_GRID = 41
_POINTS = 120
_Z = 1.959964


@dataclass(frozen=True)
class RocCurve:
    """Shares of others (`false`) and of defaulters (`true`) below each cutoff; `low` and `high` bound `true`."""

    false: tuple[float, ...]
    true: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def exact_roc(
    scores: NDArray[np.integer] | FloatArray, outcomes: NDArray[np.integer]
) -> tuple[tuple[float, float], ...]:
    """(false, true) of exact scores, higher ones safer, thinned to at most 121 points; unlabelled rows are left out."""
    from sklearn.metrics import roc_curve  # noqa: PLC0415  (agents that hold models need not load it)

    labels = np.asarray(outcomes)
    known = (labels == DEFAULTED) | (labels == PERFORMING)
    false, true, _ = roc_curve(labels[known] == DEFAULTED, -np.asarray(scores, dtype=np.float64)[known])
    kept = np.unique(np.linspace(0, len(false) - 1, min(len(false), _POINTS + 1)).round().astype(int))
    return tuple((float(false[at]), float(true[at])) for at in kept)


def banded_roc(counts: FloatArray, sigma: float, *, seed: int = 0) -> RocCurve:
    """ROC of a histogram by score, lowest first, with a 95 % band by parametric bootstrap.

    Args:
        counts: (bins, 2) of defaulted and performing; may be noisy, also negative.
        sigma: standard deviation of the noise on each count.
        seed: of the bootstrap.
    """
    clean = np.maximum(np.asarray(counts, dtype=np.float64), 0.0) + 1e-9
    false, true = _shares(clean)
    rng = np.random.default_rng(seed)
    drawn = rng.poisson(clean, (_DRAWS, *clean.shape)) + rng.normal(0.0, sigma, (_DRAWS, *clean.shape))
    grid = np.linspace(0.0, 1.0, _GRID)
    lines = np.stack([np.interp(grid, *_shares(np.maximum(each, 0.0) + 1e-9)) for each in drawn])
    middle = np.interp(grid, false, true)
    # Clipping noise at 0 biases the draws; their mean shift is taken out, as for the AUC.
    lines += middle - lines.mean(axis=0)
    low, high = np.clip(np.quantile(lines, [0.025, 0.975], axis=0), 0.0, 1.0)
    low[0], high[0], low[-1], high[-1] = 0.0, high[0], low[-1], 1.0
    return RocCurve(_tuple(grid), _tuple(middle), _tuple(low), _tuple(high))


def wilson(row: CalibrationRow) -> Interval:
    """The 95 % interval of an observed share (Wilson 1927)."""
    n, p = max(row.count, 1), row.observed
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return Interval(p, max(centre - half, 0.0), min(centre + half, 1.0))


def _shares(cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    below = np.vstack([np.zeros((1, 2)), np.cumsum(cells, axis=0)])
    shares = below / below[-1]
    return shares[:, 1], shares[:, 0]


def _tuple(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
