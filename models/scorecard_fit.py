"""From weights to a scorecard (`models.scorecard`): points and the PD that a score means.

PD comes from the private table alone: logit(PD) = a + b·z, with (a, b) such that the mean of PD and its
covariance with z equal those that the class counts show, over the distribution of z that the pair counts show
(`models.population`). These are the score equations of a logistic regression on z. Approximations: the distribution
of z (a dependence tree, stretched to the variance of z), and a first-order correction for optimism (F7).

A small or noisy table can ask for odds that no cohort could bear out. The slope is then lowered until every score
that can occur has a PD from 0.01 % to 99.99 %, and the intercept solved again, so that the mean of PD stays the
cohort's. A table that shows no association is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from models.errors import FitError
from models.fit import LinearFit, fit
from models.fit_options import FitOptions
from models.margins import consistent_margins
from models.population import ScoreDistribution, score_distribution
from models.scorecard import (
    ANCHOR_PD,
    ANCHOR_SCORE,
    LEAST_PD,
    POINTS_TO_DOUBLE,
    SCORE_MAX,
    SCORE_MIN,
    Calibration,
    FeaturePoints,
    Scorecard,
    check_bounds,
    check_monotone,
    points_range,
)
from models.tables import FeatureBins, FloatArray, OpenedTable, kinds_of

_LEAST_FACTOR = 22.0
"""Points per unit of log-odds are more than this where log-odds stay within ±9.2: 300 points have room for 12.2."""


def train(table: OpenedTable, options: FitOptions | None = None) -> Scorecard:
    """Opened table to scorecard, deterministically: what the hub does, and the witness does again to compare.

    Raises:
        FitError: if the table has too few defaults or others, or shows no association beyond its noise.
    """
    linear = fit(table, options)
    card = to_points(table.features, linear, calibrate(table, linear))
    low, high = points_range(card.features, card.absent)
    if low == high:
        raise _no_association()
    return card


def calibrate(table: OpenedTable, linear: LinearFit) -> Calibration:
    """(a, b) of logit(PD) = a + b·z from the table alone, b > 0; see the module.

    Raises:
        FitError: if the table shows no association beyond its noise, or hardly a default.
    """
    if linear.covariance <= 0 or linear.variance <= 0:
        raise _no_association()
    # Rounding to points moves the log-odds by at most half a point for each feature and half for the base.
    limit = -float(logit(LEAST_PD)) - (len(table.features) + 1) / 2 / _LEAST_FACTOR
    if abs(float(logit(linear.default_rate))) >= limit:
        raise FitError(
            f"{100 * linear.default_rate:.3g} % of the cohort default: no scorecard can tell odds so far from even",
            field="table",
            remedy="choose an outcome that is less rare, or check the label column",
        )
    shape = score_distribution(table, consistent_margins(table), linear.weights)
    shape = shape.matched(linear.mean, linear.variance)
    steepest = _match(shape, linear.default_rate, linear.covariance)
    return _restrained(steepest, shape, linear.default_rate, _z_range(table.features, linear.weights), limit)


def to_points(features: Sequence[FeatureBins], linear: LinearFit, calibration: Calibration) -> Scorecard:
    """Integer points: PD 5 % at 600; odds double every 40 points, or fewer where a score would leave 300 to 850.

    An absent merchant's weight is 0, hence its points, save that they are never more than the best record gives, nor
    less than the worst: to have no record must not beat every record.
    """
    slope = max(calibration.slope, 0.0)
    factor = POINTS_TO_DOUBLE / math.log(2)
    anchor = float(logit(ANCHOR_PD))
    while True:
        entries = tuple(
            FeaturePoints(feature, tuple(int(point) for point in np.rint(-factor * slope * weights)))
            for feature, weights in zip(features, linear.weights, strict=True)
        )
        absent = _absent_points(entries)
        low, high = points_range(entries, absent)
        base = round(ANCHOR_SCORE + factor * (anchor - calibration.intercept))
        if base + low >= SCORE_MIN and base + high <= SCORE_MAX:
            break
        room = (ANCHOR_SCORE - SCORE_MIN) / max(ANCHOR_SCORE - base - low, 1)
        room = min(room, (SCORE_MAX - ANCHOR_SCORE) / max(base + high - ANCHOR_SCORE, 1))
        factor *= min(room, 0.999)
    # score − base = −factor·b·z, so logit(PD) = a + b·z = a − (score − base)/factor.
    on_score = Calibration(intercept=calibration.intercept + base / factor, slope=-1.0 / factor)
    card = Scorecard(entries, absent, base, on_score, points_to_double=factor * math.log(2))
    check_bounds(card)
    check_monotone(card)
    return card


def _absent_points(entries: Sequence[FeaturePoints]) -> dict[str, int]:
    absent: dict[str, int] = {}
    for kind in kinds_of([entry.feature for entry in entries]):
        here = [entry.points for entry in entries if entry.feature.kind == kind]
        absent[kind] = min(max(0, sum(map(min, here))), sum(map(max, here)))
    return absent


def _match(shape: ScoreDistribution, rate: float, covariance: float) -> Calibration:
    """Solve E[PD] = rate, E[z·PD] = rate·E[z] + covariance over `shape`, by damped Newton steps (convex)."""
    mean = float(shape.mass @ shape.z)
    spread = math.sqrt(float(shape.mass @ (shape.z - mean) ** 2))
    x = (shape.z - mean) / spread
    target = np.array([rate, covariance / spread])

    def loss(at: FloatArray) -> float:
        return float(shape.mass @ np.logaddexp(0.0, at[0] + at[1] * x) - target @ at)

    at = np.array([math.log(rate / (1 - rate)), 0.0])
    for _ in range(200):
        pd = expit(at[0] + at[1] * x)
        gradient = np.array([shape.mass @ pd, shape.mass @ (x * pd)]) - target
        if np.abs(gradient).max() < 1e-13:
            break
        curve = shape.mass * pd * (1 - pd)
        cross = float(curve @ x)
        hessian = np.array([[float(curve.sum()), cross], [cross, float(curve @ x**2)]]) + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > 1e-9 and loss(at - length * step) > loss(at):
            length /= 2
        at = at - length * step
    if not at[1] > 0:
        raise _no_association()
    # No table of a real cohort is steeper; a noisy one could ask for a slope without bound.
    slope = round(min(float(at[1]), 5.0) / spread, 6)
    return Calibration(_intercept(shape, rate, slope), slope)


def _intercept(shape: ScoreDistribution, rate: float, slope: float) -> float:
    """The intercept at which the mean of PD over `shape` is `rate`; it is unique."""
    log_odds = slope * shape.z
    centre = float(logit(rate))

    def excess(intercept: float) -> float:
        return float(shape.mass @ expit(intercept + log_odds)) - rate

    found = brentq(excess, centre - float(log_odds.max()) - 1, centre - float(log_odds.min()) + 1, xtol=1e-12)
    # Rounded like the weights, so that a second fit elsewhere gives the same calibration.
    return round(float(found), 6)


def _restrained(
    steepest: Calibration, shape: ScoreDistribution, rate: float, reach: tuple[float, float], limit: float
) -> Calibration:
    """The steepest calibration up to `steepest` with the cohort's mean PD and |logit(PD)| ≤ limit at both ends."""

    def fits(at: Calibration) -> bool:
        ends = (at.intercept + at.slope * reach[0], at.intercept + at.slope * reach[1])
        return -limit <= min(ends) and max(ends) <= limit

    if fits(steepest):
        return steepest
    # At slope 0 every PD is the rate, which fits; the ends move apart as the slope grows.
    found, too_steep = Calibration(_intercept(shape, rate, 0.0), 0.0), steepest.slope
    while too_steep - found.slope > 2e-6:
        slope = round((found.slope + too_steep) / 2, 6)
        tried = Calibration(_intercept(shape, rate, slope), slope)
        if fits(tried):
            found = tried
        else:
            too_steep = slope
    return found


def _z_range(features: Sequence[FeatureBins], weights: Sequence[FloatArray]) -> tuple[float, float]:
    """Least and greatest z that any merchant can have, absences included."""
    low = high = 0.0
    for kind in kinds_of(features):
        here = [part for feature, part in zip(features, weights, strict=True) if feature.kind == kind]
        low += min(sum(float(part.min()) for part in here), 0.0)
        high += max(sum(float(part.max()) for part in here), 0.0)
    return low, high


def _no_association() -> FitError:
    return FitError(
        "the table shows no association between features and defaults beyond its noise",
        field="table",
        remedy="train with a larger epsilon or cohort",
    )
