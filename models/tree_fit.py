"""F9 of `models.fit`: the score equations of logistic regression, with rows told from the private table.

A logistic regression's weights w make every bin's defaulters as many as its model expects: p_b = Σ PD over the
merchants of b, less the prior's pull. PD bends, so this needs the distribution of the score z among the merchants of
each bin, where least squares needs means alone. It is taken from the dependence tree (`models.population`), moved to
the mean that the pair table gives each bin, as far as its noise allows, and stretched to the variance that the pair
table leaves within bins, half to twofold.

Steps are Newton's, damped, with an approximate curvature. Their number is fixed, so that no comparison of floating
point decides when they end; what is left after them is far below a point.

Where features' dependence is no tree the equations are off, and alone they rank worse than least squares there; the
average of both scores ranks better than either (docs/adr/0005-what-the-fit-does-with-noise.md).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.special import expit

from models.fit_options import FitOptions
from models.margins import Margins
from models.monotone import isotonic
from models.population import DependenceTree
from models.prior import piecewise_precision
from models.tables import FloatArray, OpenedTable

_CELLS = 512
_STEPS = 16
_INTERCEPT_STEPS = 4
_LONGEST = 0.4
"""A step moves z by at most this standard deviation, in log-odds."""


@dataclass(frozen=True)
class TreeFit:
    """Weights in log-odds.

    Attributes:
        weights: (D,).
        response: (D, D) dw/dp.
    """

    weights: FloatArray
    response: FloatArray


def fit_on_tree(table: OpenedTable, margins: Margins, positive: FloatArray, options: FitOptions) -> TreeFit:
    """Solve p_b − n_b·E[PD | b] = (P w)_b for all bins b, P the prior's precision.

    Args:
        table: as opened.
        margins: of it.
        positive: (D, D) C without negative eigenvalues.
        options: the prior's.
    """
    n, p = margins.n, margins.p
    rate = margins.defaults / margins.size
    # The ridge of F4 is on rates, whose curvature is 1 a merchant; that of log-odds is r(1 − r).
    prior = rate * (1 - rate) * piecewise_precision(table, margins, options)
    tree = DependenceTree(table, margins)
    weights, intercept = np.zeros(table.columns), math.log(rate / (1 - rate))
    inverse = np.zeros_like(prior)
    for _ in range(_STEPS):
        weights = _centred(table, n, weights)
        within = _within_bins(table, margins, tree, positive, weights)
        for _ in range(_INTERCEPT_STEPS):
            expected, curvature = _expected(within, intercept)
            excess = float(p.sum() - n @ expected) / float(n @ curvature)
            intercept += min(max(excess, -0.5), 0.5)
        expected, curvature = _expected(within, intercept)
        hessian = _curvature(table, margins, positive, curvature) + prior
        inverse = linalg.cho_solve(linalg.cho_factor(hessian), np.eye(table.columns))
        step = inverse @ (p - n * expected - prior @ weights)
        length = math.sqrt(max(float(step @ positive @ step) / margins.size, 1e-12))
        weights = weights + step * min(0.9, _LONGEST / length)
    return _monotone(table, n, TreeFit(weights, inverse))


def _within_bins(
    table: OpenedTable, margins: Margins, tree: DependenceTree, positive: FloatArray, weights: FloatArray
) -> list[tuple[FloatArray, FloatArray]]:
    """Per feature, values of z (bins, cells) and their probabilities within each bin."""
    n, blocks = margins.n, [slice(*ends) for ends in itertools.pairwise(table.offsets())]
    grid, masses = tree.within_bins([weights[block] for block in blocks], _CELLS)
    means = positive @ weights / n
    variance = float(weights @ positive @ weights) / margins.size
    total, found = float(weights @ weights), []
    for block, mass in zip(blocks, masses, strict=True):
        share = n[block] / n[block].sum()
        centres = mass @ grid
        spread = float(share @ np.maximum(mass @ grid**2 - centres**2, 1e-12))
        # Of a bin with few merchants the pair table's mean is noise: the tree's own stands in, in that proportion.
        noise = table.sigma_pair**2 * (total - float(weights[block] @ weights[block])) / n[block] ** 2
        trust = variance / (variance + noise + 1e-12)
        told = trust * (means[block] - share @ means[block]) + (1 - trust) * (centres - share @ centres)
        between = told - share @ told
        left = max(variance - float(share @ between**2), 0.1 * variance)
        stretch = min(max(math.sqrt(left / spread), 0.5), 2.0)
        mean = share @ centres + between
        found.append((mean[:, None] + stretch * (grid[None, :] - centres[:, None]), mass))
    return found


def _expected(within: list[tuple[FloatArray, FloatArray]], intercept: float) -> tuple[FloatArray, FloatArray]:
    """(D,) mean of PD, and of PD·(1 − PD), within each bin."""
    means, curvatures = [], []
    for z, mass in within:
        pd = expit(intercept + z)
        means.append((mass * pd).sum(axis=1))
        curvatures.append((mass * pd * (1 - pd)).sum(axis=1))
    return np.concatenate(means), np.concatenate(curvatures)


def _curvature(table: OpenedTable, margins: Margins, positive: FloatArray, curvature: FloatArray) -> FloatArray:
    """(D, D) about −d(p − n·E[PD])/dw, the intercept moving along; no negative eigenvalues.

    PD·(1 − PD) of the merchants that two bins share is taken as the geometric mean of both bins'.
    """
    n, root = margins.n, np.sqrt(curvature)
    joint = root[:, None] * (positive + np.outer(n, n) / margins.size) * root[None, :]
    bins = np.maximum(n * curvature, 1e-9)
    whole = joint - np.outer(bins, bins) * (len(table.features) / bins.sum())
    scale = 1.0 / np.sqrt(bins)
    values, vectors = linalg.eigh(scale[:, None] * (whole + whole.T) / 2 * scale[None, :])
    half = vectors * np.sqrt(np.maximum(values, 0.0)) / scale[:, None]
    return np.asarray(half @ half.T)


def _centred(table: OpenedTable, n: FloatArray, weights: FloatArray) -> FloatArray:
    """Weights less their mean over the merchants present at the kind: the intercept holds the level."""
    found = weights.copy()
    for start, end in itertools.pairwise(table.offsets()):
        found[start:end] -= (n[start:end] @ weights[start:end]) / n[start:end].sum()
    return found


def _monotone(table: OpenedTable, n: FloatArray, found: TreeFit) -> TreeFit:
    """Weights pooled as far as their features' declared directions ask."""
    offsets = table.offsets()
    weights, shares = found.weights.copy(), np.ones(table.columns)
    for i, feature in enumerate(table.features):
        block = slice(offsets[i], offsets[i + 1])
        weights[block], shares[block] = isotonic(feature, weights[block], n[block])
    return TreeFit(weights, shares[:, None] * found.response)
