"""The priors of a scorecard's weights, F4 and F9 of `models.fit`: how far each may lie from zero, and which are alike.

A weight's precision is L = (a·σ_pair·√D + c·n_b) · (1 + φ·δ_f/s_f), where c grows with the noise on the class counts,
c = c₀·(1 + (ν/ν₀)²), and c₀ falls where the outcome is common (`rareness`). All of it comes from the opened table, so
it is free as to privacy:

* ν, `relative_noise`, is the noise of one class count as a part of the mean number of defaulters in a bin. Where it is
  small the table tells each bin's rate; where it is not, the joint fit would answer to noise, and a stiffer ridge in
  proportion to n draws it towards the sum of what each feature tells alone, which needs far less data.
* δ_f/s_f, `feature_noise`, is what noise alone adds to a feature's sum of r²/n, by what is left of that sum without
  noise and chance: features that tell little are drawn to zero first.

The priors differ in which bins go together: `prior_root`, `piecewise_precision`. The numbers were chosen on split seeds
from 100 on of four data sets, never on those that benchmarks report (docs/adr/0005-what-the-fit-does-with-noise.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import linalg

from models.fit_options import FitOptions
from models.margins import Margins
from models.tables import FeatureBins, FloatArray, OpenedTable

_LEAST_SIGNAL = 0.1
"""A feature's signal is taken as at least this part of what noise and chance give: the difference may be negative."""


def relative_noise(table: OpenedTable, margins: Margins) -> float:
    """ν: standard deviation of a class count's noise by the mean number of defaulters in a bin."""
    mean = margins.defaults / margins.label_scale * len(table.features) / table.columns
    return table.sigma_class / mean


def feature_noise(table: OpenedTable, margins: Margins) -> FloatArray:
    """(F,) δ_f/s_f; bins so small that noise drowns them count little in either sum."""
    offsets = table.offsets()
    rate = margins.defaults / margins.size
    chance = margins.label_scale * rate * (1 - rate)
    noise = (margins.label_scale * table.sigma_class) ** 2
    found = np.zeros(len(table.features))
    for i in range(len(table.features)):
        block = slice(offsets[i], offsets[i + 1])
        n = margins.n[block]
        response = margins.p[block] - n * rate
        weight = n / (n + noise / chance)
        by_noise, by_chance = float((weight * noise / n).sum()), float((weight * chance).sum())
        signal = float((weight * response**2 / n).sum()) - by_noise - by_chance
        found[i] = by_noise / max(signal, _LEAST_SIGNAL * (by_noise + by_chance))
    return found


def rareness(margins: Margins, options: FitOptions) -> float:
    """1 where the outcome is rare; else as much less as its variance is greater.

    The ridge is on rates. In log-odds a merchant tells r(1 − r) as much, so that a prior on those weighs less against
    what merchants tell where r(1 − r) is larger; and there rates and log-odds differ less, so that evidence adds less.
    """
    rate = margins.defaults / margins.size
    return min(1.0, options.common_outcome / (rate * (1 - rate)))


def prior_root(table: OpenedTable, margins: Margins, options: FitOptions) -> FloatArray:
    """F4: lower-triangular R, block by feature, with R Rᵀ the prior covariance of the weights."""
    precision = _precision(table, margins, options)
    root = np.zeros((table.columns, table.columns))
    for block, feature in _blocks(table):
        scale = 1.0 / np.sqrt(precision[block])
        prior = (1 - options.smoothness) * np.eye(feature.width) + options.smoothness * kernel(feature, options)
        root[block, block] = linalg.cholesky(scale[:, None] * prior * scale[None, :], lower=True)
    return root


def piecewise_precision(table: OpenedTable, margins: Margins, options: FitOptions) -> FloatArray:
    """F9: precision (D, D) of weights that are one for a whole piece of a feature's line of bins, and a rest of each.

    A piece of bins has the precision of all its merchants together, so that a small bin goes with its neighbours and
    not, as in F4, far beyond them. Every way to cut a line counts by its probability, cuts being independent.
    """
    precision = _precision(table, margins, options)
    found = np.zeros((table.columns, table.columns))
    for block, feature in _blocks(table):
        rest = np.diag(1.0 / precision[block])
        pieces = _pieces(feature, precision[block], options.tree_pieces)
        covariance = (1 - options.tree_smoothness) * rest + options.tree_smoothness * pieces
        found[block, block] = linalg.cho_solve(linalg.cho_factor(covariance), np.eye(feature.width))
    return found


def _precision(table: OpenedTable, margins: Margins, options: FitOptions) -> FloatArray:
    """(D,) L of the module's docstring."""
    count = options.ridge_count * rareness(margins, options)
    count *= 1 + (relative_noise(table, margins) / options.ridge_doubles) ** 2
    precision = options.ridge_noise * table.sigma_pair * np.sqrt(table.columns) + count * margins.n
    stiffer = 1 + options.ridge_feature * feature_noise(table, margins)
    return np.asarray(precision * np.repeat(stiffer, [feature.width for feature in table.features]))


def _blocks(table: OpenedTable) -> Iterator[tuple[slice, FeatureBins]]:
    offsets = table.offsets()
    for i, feature in enumerate(table.features):
        yield slice(offsets[i], offsets[i + 1]), feature


def kernel(feature: FeatureBins, options: FitOptions) -> FloatArray:
    """Likeness of bins: exp(−distance / reach) between ordinal neighbours, 1 on the diagonal, else 0.

    The bins of a product are as alike as they are along both sides together: the distances add up, and bins that stand
    alone on one side are neighbours along the other.
    """
    if feature.axes:
        first, second = (_line_kernel(axis.width, axis.alone, options) for axis in feature.axes)
        return np.asarray(np.kron(first, second))
    return _line_kernel(feature.width, feature.alone if feature.ordinal else range(feature.width), options)


def _line_kernel(width: int, alone: Iterable[int], options: FitOptions) -> FloatArray:
    bins = np.arange(width)
    near = np.exp(-np.abs(bins[:, None] - bins[None, :]) / options.reach)
    joined = np.full(width, fill_value=True)
    joined[list(alone)] = False
    return np.where(joined[:, None] & joined[None, :], near, np.eye(width))


def _pieces(feature: FeatureBins, precision: FloatArray, pieces: float) -> FloatArray:
    """Mean covariance (bins, bins) over the ways to cut a feature's line; a product's lines run along both sides."""
    if feature.axes:
        first, second = feature.axes
        places = np.arange(feature.width).reshape(first.width, second.width)
        found = np.zeros((feature.width, feature.width))
        for axis, lines in ((second, places), (first, places.T)):
            for line in lines:
                found[np.ix_(line, line)] += _line_pieces(precision[line], axis.alone, pieces) / 2
        return found
    return _line_pieces(precision, feature.alone if feature.ordinal else range(feature.width), pieces)


def _line_pieces(precision: FloatArray, alone: Iterable[int], pieces: float) -> FloatArray:
    found = np.diag(1.0 / precision)
    line = np.setdiff1d(np.arange(len(precision)), list(alone))
    last = len(line) - 1
    if last < 1:
        return found
    cut = min((pieces - 1) / last, 0.95)
    found[line, line] = 0.0
    for start in range(last + 1):
        for end in range(start, last + 1):
            chance = (cut if start > 0 else 1.0) * (cut if end < last else 1.0) * (1 - cut) ** (end - start)
            piece = line[start : end + 1]
            found[np.ix_(piece, piece)] += chance / precision[piece].sum()
    return found
