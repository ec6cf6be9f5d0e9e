"""A linear scorecard from a noisy table (docs/protocol.md, 4): everything here is free as to privacy.

The steps, numbered as in the code:

F1  Totals: every block's counts are shifted to the public (or pooled) total; n is kept at least 1, p from 0 to n.
F2  Margins: every pair block is projected on the margins that the class counts already tell.
F3  Moments: C = G − n nᵀ/N, r = p − n·P/N.
F4  Prior: a ridge that grows with the noise and with a bin's count, smooth over neighbouring bins (`models.prior`).
F5  Solve in the prior's coordinates, with the negative eigenvalues that noise makes set to zero; where features are
    declared monotone, over the weights that are (`models.monotone`). All that follows keeps that order.
F6  Blend with a ridge on one smoothed weight-of-evidence score per feature, which needs little data.
F7  Optimism: how much of wᵀr is the fit's answer to the noise in r, to first order.
F8  Bend the weights, which stand for rates, towards log-odds, half way where there is no noise.
F9  Weights in log-odds from the score equations of logistic regression, over the dependence tree of the features
    (`models.tree_fit`).
F10 The sum of both scores, each in its standard deviations; moments of that, less the optimism, for the calibration of
    PD.

A merchant without a record at a kind has an all-zero block there: it gets weight 0 for that kind. The fit is
deterministic in float64, and weights are rounded to a grid, so that a witness who fits again gets the same model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from models.errors import FitError
from models.fit_options import FitOptions
from models.margins import Margins, consistent_margins
from models.monotone import bounded_least_squares, isotonic, kept_monotone, restrained_fit
from models.prior import kernel, prior_root, rareness, relative_noise
from models.tables import FloatArray, OpenedTable
from models.tree_fit import fit_on_tree

_LEAST_RATE = 0.2
"""A bin's rate is taken as at least this share of the mean when it is turned into log-odds."""


@dataclass(frozen=True)
class LinearFit:
    """z = Σ of the weights of a merchant's bins; higher means riskier. An absent merchant adds 0 for that kind.

    Attributes:
        weights: per feature (bins,), multiples of the grid.
        mean: mean of z over the cohort.
        variance: variance of z, from the pair counts.
        covariance: covariance of z and default, from the class counts, less what the fit owes to noise (F7).
        default_rate: P / N, P scaled for missing labels where the number of labels is public.
    """

    weights: tuple[FloatArray, ...]
    mean: float
    variance: float
    covariance: float
    default_rate: float


def fit(table: OpenedTable, options: FitOptions | None = None) -> LinearFit:
    """Fit the scorecard's weights on an opened table.

    Raises:
        FitError: if the table has too few defaults or others, or shows no association at all.
    """
    options = options or FitOptions()
    margins = consistent_margins(table)
    n, p, size = margins.n, margins.p, margins.size
    # F3
    covariance = margins.pairs - np.outer(n, n) / size
    response = p - n * margins.defaults / size
    # F4
    root = prior_root(table, margins, options)
    # F5
    whitened = root.T @ covariance @ root
    values, vectors = linalg.eigh((whitened + whitened.T) / 2)
    values = np.maximum(values, 0.0)
    if any(feature.monotone is not None for feature in table.features):
        restrained = restrained_fit(table.features, root, values, vectors, response)
        ridge, influence = restrained.weights, restrained.influence
    else:
        ridge = root @ (vectors @ ((vectors.T @ (root.T @ response)) / (values + 1.0)))
        influence = root @ (vectors / np.sqrt(values + 1.0))
    spread = linalg.solve_triangular(root, vectors * np.sqrt(values), lower=True, trans="T")
    positive = spread @ spread.T
    # F6
    evidence, sensitivity = _evidence_weights(table, margins, positive, response, options)
    ridge_scale = _scale(ridge, positive, size)
    # Evidence that goes against every declared direction is none.
    woe_share = options.woe_share * rareness(margins, options) if evidence.any() else 0.0
    evidence_scale = woe_share * _scale(evidence, positive, size) if woe_share else 0.0
    blended = ridge * ridge_scale + evidence * evidence_scale
    # F7: what r's own noise put into each weight, first order: (dw/dr) Cov(r) per column; its sum is wᵀr's optimism.
    rate = margins.defaults / size
    # A bin whose p was brought back to 0 or n does not answer to its noise.
    free = (p > 0) & (p < margins.label_scale * n)
    noise = np.where(free, (margins.label_scale * table.sigma_class) ** 2, 0.0)
    chance = margins.label_scale * rate * (1 - rate)
    ridge_echo = noise * (influence**2).sum(axis=1)
    ridge_echo = ridge_echo + chance * np.einsum("dk,kd->d", influence, influence.T @ positive)
    echo = ridge_scale * ridge_echo + evidence_scale * sensitivity * (noise + chance * n)
    # F8
    variance = float(blended @ positive @ blended) / size
    steepness = (float(blended @ response) - float(echo.sum())) / (size * variance * rate)
    share = options.log_odds_share / (1 + (relative_noise(table, margins) / options.log_odds_halves) ** 2)
    bent, slope = _towards_log_odds(blended, steepness, rate, share)
    # F9
    tree = fit_on_tree(table, margins, positive, options)
    tree_echo = noise * np.diag(tree.response) + chance * np.einsum("df,fd->d", tree.response, positive)
    # F10
    bent_scale = (1 - options.tree_share) * _scale(bent, positive, size)
    tree_scale = options.tree_share * _scale(tree.weights, positive, size) if tree.weights.any() else 0.0
    summed, echo = bent * bent_scale + tree.weights * tree_scale, bent_scale * slope * echo + tree_scale * tree_echo
    weights = _on_grid(table, n, summed, options.grid)
    joined = np.concatenate(weights)
    return LinearFit(
        weights=weights,
        mean=float(joined @ n) / size,
        variance=float(joined @ positive @ joined) / size,
        covariance=(float(joined @ response) - float(echo.sum())) / size,
        default_rate=rate,
    )


def _towards_log_odds(
    weights: FloatArray, steepness: float, rate: float, share: float
) -> tuple[FloatArray, FloatArray]:
    """F8: weights bent towards log-odds, and the slope of the bend at each.

    Least squares fits probabilities: a weight w stands for a rate of π(1 + k·w). The log-odds of that are about
    log(1 + k·w)/k in units of w, which is far less for the rare bins of high risk.
    """
    if steepness <= 0:
        return weights, np.ones_like(weights)
    rates = 1 + steepness * weights
    # No bin's rate is below zero or above one: weights that say so come from the noise in bins that are nearly empty.
    inside = (rates > _LEAST_RATE) & (rates < 1 / rate)
    rates = np.clip(rates, _LEAST_RATE, 1 / rate)
    bent = (1 - share) * (rates - 1) / steepness + share * np.log(rates) / steepness
    return bent, np.where(inside, 1 - share + share / rates, 0.0)


def _evidence_weights(
    table: OpenedTable, margins: Margins, positive: FloatArray, response: FloatArray, options: FitOptions
) -> tuple[FloatArray, FloatArray]:
    """F6: one smoothed weight of evidence per feature, combined by an F×F ridge on the same moments.

    Returns:
        The weights (D,), and how each answers to its own cell of r (D,), for F7.
    """
    offsets = table.offsets()
    rate = margins.defaults / margins.size
    scores = np.zeros((table.columns, len(table.features)))
    slopes = np.zeros(table.columns)
    for i, feature in enumerate(table.features):
        block = slice(offsets[i], offsets[i + 1])
        n, p = margins.n[block], margins.p[block]
        # Neighbours and pseudo-merchants fill in where a bin is small.
        near = kernel(feature, options) ** options.woe_sharpness
        smooth = (near @ p + options.woe_prior * rate) / (near @ n + options.woe_prior)
        smooth = np.clip(smooth, rate / 20, 1 - (1 - rate) / 20)
        log_odds = np.log(smooth / (1 - smooth)) - np.log(rate / (1 - rate))
        scores[block, i], shares = isotonic(feature, log_odds, n)
        slopes[block] = shares * np.diag(near) / (rate * (1 - rate) * (near @ n + options.woe_prior))
    moments = scores.T @ positive @ scores
    noise = table.sigma_pair * (scores**2).sum(axis=0)
    # One merchant of unit score beside them: a feature whose score hardly varies cannot get a share without bounds.
    penalty = options.woe_ridge * np.diag(moments) + noise + 1.0
    combined, inverse = _combination(table, moments + np.diag(penalty), scores.T @ response)
    per_column = np.concatenate(
        [np.full(f.width, max(weight, 0.0)) for f, weight in zip(table.features, combined, strict=True)]
    )
    sensitivity = slopes * per_column + np.einsum("df,fg,dg->d", scores, inverse, scores)
    return scores @ combined, sensitivity


def _combination(table: OpenedTable, moments: FloatArray, response: FloatArray) -> tuple[FloatArray, FloatArray]:
    """F6: the features' shares c of M c = r, not negative where a score must keep its direction, and dc/dr."""
    restrained = np.array([feature.monotone is not None for feature in table.features])
    inverse = linalg.inv(moments)
    combined = inverse @ response
    if not (restrained & (combined < 0)).any():
        return combined, inverse
    upper = linalg.cholesky(moments)
    target = linalg.solve_triangular(upper, response, trans="T")
    combined = bounded_least_squares(upper, target, np.where(restrained, 0.0, -np.inf))
    free = np.flatnonzero(~restrained | (combined > 0))
    inverse = np.zeros_like(moments)
    inverse[np.ix_(free, free)] = linalg.inv(moments[np.ix_(free, free)])
    return combined, inverse


def _scale(weights: FloatArray, positive: FloatArray, size: float) -> float:
    """The factor that gives a weight vector's score the variance 1."""
    spread = math.sqrt(max(float(weights @ positive @ weights), 0.0) / size)
    if not spread > 1e-12:
        raise FitError(
            "the table shows no association between features and defaults",
            field="table",
            remedy="check the label column, or train with a larger epsilon or cohort",
        )
    return 1.0 / spread


def _on_grid(table: OpenedTable, n: FloatArray, weights: FloatArray, grid: float) -> tuple[FloatArray, ...]:
    """Weights per feature, rounded so that a second fit elsewhere gives the same bytes."""
    offsets = table.offsets()
    blocks: list[FloatArray] = []
    for i, feature in enumerate(table.features):
        block = slice(offsets[i], offsets[i + 1])
        part = weights[block]
        if table.kind_totals[feature.kind] == table.cohort_size:
            # Nobody was absent here, so the table says nothing of absent merchants: they get the cohort's mean.
            part = part - (part @ n[block]) / n[block].sum()
        blocks.append(kept_monotone(feature, np.asarray(np.rint(part / grid) * grid)))
    return tuple(blocks)
