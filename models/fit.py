"""A linear scorecard from a noisy table (docs/protocol.md, 4): everything here is free as to privacy.

The steps, numbered as in the code:

F1  Totals: every block's counts are shifted to the public (or pooled) total; n is kept at least 1, p from 0 to n.
F2  Margins: every pair block is projected on the margins that the class counts already tell.
F3  Moments: C = G − n nᵀ/N, r = p − n·P/N.
F4  Prior: a ridge that grows with the noise and with a bin's count, smooth over neighbouring bins.
F5  Solve in the prior's coordinates, with the negative eigenvalues that noise makes set to zero; where features are
    declared monotone, over the weights that are (`models.monotone`). F6 to F8 and rounding keep that order.
F6  Blend with a ridge on one smoothed weight-of-evidence score per feature, which needs little data.
F7  Optimism: how much of wᵀr is the fit's answer to the noise in r, to first order.
F8  Bend the weights, which stand for rates, half way towards log-odds; moments of the score z, less the optimism, for
    the calibration of PD.

A merchant without a record at a kind has an all-zero block there: it gets weight 0 for that kind. The fit is
deterministic in float64, and weights are rounded to a grid, so that a witness who fits again gets the same model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from models.errors import FitError
from models.monotone import bounded_least_squares, isotonic, kept_monotone, restrained_fit
from models.tables import FeatureBins, FloatArray, OpenedTable

_LEAST_RATE = 0.2
"""A bin's rate is taken as at least this share of the mean when it is turned into log-odds."""


@dataclass(frozen=True)
class FitOptions:
    """Knobs of the fit; the defaults were chosen on other splits than those reported.

    Attributes:
        ridge_noise: weight of s·√D in the prior's precision.
        ridge_count: weight of a bin's count in it.
        smoothness: share of a bin's prior variance common with its neighbours (4/5 in F4).
        reach: distance in bins over which that share falls by e.
        woe_share: standard deviations of the weight-of-evidence score in the blend, per one of the ridge's.
        woe_prior: pseudo-merchants that pull a bin's rate to the mean.
        woe_sharpness: neighbours enter a bin's rate with this power of their likeness in F4.
        woe_ridge: ridge of the F×F combination, as a share of each score's variance.
        log_odds_share: how far weights are bent from rates to log-odds: 0 not at all, 1 wholly.
        grid: weights are multiples of this.
    """

    ridge_noise: float = 1.0
    ridge_count: float = 0.3
    smoothness: float = 0.8
    reach: float = 4.0
    woe_share: float = 0.3
    woe_prior: float = 100.0
    woe_sharpness: float = 4.0
    woe_ridge: float = 0.05
    log_odds_share: float = 0.5
    grid: float = 1e-6


@dataclass(frozen=True)
class Margins:
    """Counts made consistent.

    Attributes:
        n: per column.
        p: per column, scaled by `label_scale`.
        size: N.
        defaults: P, scaled by `label_scale`.
        label_scale: N / N_labelled; labels are assumed to be missing at random.
        pairs: G, (D, D).
    """

    n: FloatArray
    p: FloatArray
    size: float
    defaults: float
    label_scale: float
    pairs: FloatArray


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
    root = _prior_root(table, n, options)
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
    evidence_scale = options.woe_share * _scale(evidence, positive, size) if evidence.any() else 0.0
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
    bent, slope = _towards_log_odds(blended, steepness, rate, options.log_odds_share)
    weights = _on_grid(table, n, bent, options.grid)
    joined = np.concatenate(weights)
    return LinearFit(
        weights=weights,
        mean=float(joined @ n) / size,
        variance=float(joined @ positive @ joined) / size,
        covariance=(float(joined @ response) - float(slope @ echo)) / size,
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


def consistent_margins(table: OpenedTable) -> Margins:
    """F1 and F2: noisy counts made to agree with each other and with the public totals.

    Raises:
        FitError: if the cohort has fewer than ten defaults or ten others, noise included.
    """
    offsets = table.offsets()
    # F1: P of a kind's merchants is pooled over its features; a sum over q bins has q times the noise.
    defaults_at: dict[str, float] = {}
    for kind in table.kinds:
        here = [i for i, f in enumerate(table.features) if f.kind == kind]
        precision = np.array([1.0 / table.features[i].width for i in here])
        sums = np.array([table.classes[i][:, 0].sum() for i in here])
        defaults_at[kind] = float((precision * sums).sum() / precision.sum())
    complete = [k for k in table.kinds if table.kind_totals[k] == table.cohort_size]
    if complete:
        weights = {k: sum(1.0 / f.width for f in table.features if f.kind == k) for k in complete}
        pooled = sum(weights[k] * defaults_at[k] for k in complete) / sum(weights.values())
        defaults_at.update(dict.fromkeys(complete, pooled))
        defaults = pooled
    else:
        defaults = max(defaults_at.values())
    size = float(table.cohort_size)
    if not 10 <= defaults <= size - 10:
        raise FitError(
            f"the cohort of {table.cohort_size} shows {max(defaults, 0):.0f} defaults; ten of each class are needed",
            field="table",
            remedy="train on more merchants, or check the label column",
        )
    n, p = np.empty(table.columns), np.empty(table.columns)
    for i, feature in enumerate(table.features):
        block = slice(offsets[i], offsets[i + 1])
        counts = table.classes[i]
        n[block] = _rescaled(counts.sum(axis=1), float(table.kind_totals[feature.kind]))
        p[block] = _within(counts[:, 0], n[block], defaults_at[feature.kind])
    # F2
    pairs = np.zeros((table.columns, table.columns))
    for i in range(len(table.features)):
        block = slice(offsets[i], offsets[i + 1])
        pairs[block, block] = np.diag(n[block])
    for (f, g), counts in table.pairs.items():
        rows, columns = slice(offsets[f], offsets[f + 1]), slice(offsets[g], offsets[g + 1])
        total = float(table.present_at_both(table.features[f].kind, table.features[g].kind))
        row_margin = _margin(table, f, table.features[g].kind, n[rows])
        column_margin = _margin(table, g, table.features[f].kind, n[columns])
        projected = (
            counts
            + (row_margin - counts.sum(axis=1))[:, None] / counts.shape[1]
            + (column_margin - counts.sum(axis=0))[None, :] / counts.shape[0]
            - (total - counts.sum()) / counts.size
        )
        pairs[rows, columns] = projected
        pairs[columns, rows] = projected.T
    scale = size / table.labelled if table.labelled else 1.0
    return Margins(n=n, p=p * scale, size=size, defaults=defaults * scale, label_scale=scale, pairs=pairs)


def _rescaled(counts: FloatArray, total: float) -> FloatArray:
    """Counts shifted to the total, kept at least 1, then scaled to the total again."""
    shifted = np.maximum(counts + (total - counts.sum()) / counts.size, 1.0)
    return np.asarray(shifted * (max(total, 1.0) / shifted.sum()))


def _within(counts: FloatArray, most: FloatArray, total: float) -> FloatArray:
    """Counts shifted to the total, each kept from 0 to `most`: no bin has −12 defaults."""
    if not 0 < total < most.sum():
        return np.asarray(most * float(np.clip(total / most.sum(), 0, 1)))
    low, high = -float(counts.max()), float((most - counts).max())
    for _ in range(100):
        shift = (low + high) / 2
        if float(np.clip(counts + shift, 0, most).sum()) < total:
            low = shift
        else:
            high = shift
    return np.asarray(np.clip(counts + high, 0, most))


def _margin(table: OpenedTable, feature: int, other: str, n: FloatArray) -> FloatArray:
    """Counts of a feature's bins among merchants that `other` holds as well.

    These are n itself when all are held there; else they are pooled over the pair blocks with `other`'s features.
    """
    own = table.features[feature].kind
    total = table.present_at_both(*((own, other) if (own, other) in table.pair_totals else (other, own)))
    if own == other or total == table.kind_totals[own]:
        return n
    estimate, precision = np.zeros_like(n), 0.0
    for g, partner in enumerate(table.features):
        if partner.kind == other:
            counts = table.pairs[(feature, g)] if feature < g else table.pairs[(g, feature)].T
            estimate += counts.sum(axis=1) / partner.width
            precision += 1.0 / partner.width
    return _rescaled(estimate / precision, float(total))


def _prior_root(table: OpenedTable, n: FloatArray, options: FitOptions) -> FloatArray:
    """F4: lower-triangular R, block by feature, with R Rᵀ the prior covariance of the weights."""
    offsets = table.offsets()
    precision = options.ridge_noise * table.sigma_pair * np.sqrt(table.columns) + options.ridge_count * n
    root = np.zeros((table.columns, table.columns))
    for i, feature in enumerate(table.features):
        block = slice(offsets[i], offsets[i + 1])
        scale = 1.0 / np.sqrt(precision[block])
        prior = (1 - options.smoothness) * np.eye(feature.width) + options.smoothness * _kernel(feature, options)
        root[block, block] = linalg.cholesky(scale[:, None] * prior * scale[None, :], lower=True)
    return root


def _kernel(feature: FeatureBins, options: FitOptions) -> FloatArray:
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
        near = _kernel(feature, options) ** options.woe_sharpness
        smooth = (near @ p + options.woe_prior * rate) / (near @ n + options.woe_prior)
        smooth = np.clip(smooth, rate / 20, 1 - (1 - rate) / 20)
        log_odds = np.log(smooth / (1 - smooth)) - np.log(rate / (1 - rate))
        scores[block, i], shares = isotonic(feature, log_odds, n)
        slopes[block] = shares * np.diag(near) / (rate * (1 - rate) * (near @ n + options.woe_prior))
    moments = scores.T @ positive @ scores
    noise = table.sigma_pair * (scores**2).sum(axis=0)
    penalty = options.woe_ridge * np.diag(moments) + noise + 1e-9
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
