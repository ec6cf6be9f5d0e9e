"""From weights to a scorecard: integer points per bin, a score of 300 to 850, PD and bands.

PD comes from the private table alone: logit(PD) = a + b·z, with (a, b) such that the mean of PD and its
covariance with z equal those that the class counts show, over the distribution of z that the pair counts show
(`models.population`). These are the score equations of a logistic regression on z. Approximations: the distribution
of z (a dependence tree, stretched to the variance of z), and a first-order correction for optimism (F7).

A small or noisy table can ask for odds that no cohort could bear out. The slope is then lowered until every score
that can occur has a PD from 0.01 % to 99.99 %, and the intercept solved again, so that the mean of PD stays the
cohort's. A table that shows no association is refused. PD 5 % is at 600 in every scorecard.

Points are integers with a total span of at most 550 (docs/protocol.md, 7: points cannot carry data out).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from models.errors import ArtefactError, FitError
from models.fit import FitOptions, LinearFit, consistent_margins, fit
from models.population import ScoreDistribution, score_distribution
from models.tables import FeatureBins, FloatArray, KindCodes, OpenedTable, joined_codes, kinds_of

SCORE_MIN, SCORE_MAX = 300, 850
MAX_SPAN = SCORE_MAX - SCORE_MIN
POINTS_TO_DOUBLE = 40.0
ANCHOR_SCORE, ANCHOR_PD = 600, 0.05
LEAST_PD = 1e-4
"""Every score that can occur has a PD of at least this, and of at most 1 − this."""
_LEAST_FACTOR = 22.0
"""Points per unit of log-odds are more than this where log-odds stay within ±9.2: 300 points have room for 12.2."""
BANDS = ("A", "B", "C", "D", "E")
BAND_EDGES = (0.02, 0.05, 0.10, 0.20)
"""A: PD below 2 %; B: below 5 %; C: below 10 %; D: below 20 %; E: the rest. Public, the same for every model."""


@dataclass(frozen=True)
class Calibration:
    """logit(PD) = intercept + slope · x; x is z of a fit, or the score of a scorecard."""

    intercept: float
    slope: float

    def pd(self, x: FloatArray) -> FloatArray:
        """Probability of default, elementwise."""
        return np.asarray(expit(self.intercept + self.slope * np.asarray(x, dtype=np.float64)))


@dataclass(frozen=True)
class FeaturePoints:
    """A feature's points, one integer per bin; higher is safer."""

    feature: FeatureBins
    points: tuple[int, ...]


@dataclass(frozen=True)
class Scorecard:
    """Points, and what a sum of them means.

    Attributes:
        features: in the order of the table; features of a kind are adjacent.
        absent: kind → points of a merchant without a record there; public.
        base: added to the sum of points.
        calibration: from score to logit(PD).
        points_to_double: points by which the odds double.
    """

    features: tuple[FeaturePoints, ...]
    absent: dict[str, int]
    base: int
    calibration: Calibration
    points_to_double: float

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds in order."""
        return kinds_of([entry.feature for entry in self.features])

    def of_kind(self, kind: str) -> tuple[FeaturePoints, ...]:
        """The kind's features, in order of its code columns.

        Raises:
            ArtefactError: if the scorecard has no such kind.
        """
        found = tuple(entry for entry in self.features if entry.feature.kind == kind)
        if not found:
            raise ArtefactError(
                f"the model has no features of kind {kind}",
                field="kind",
                remedy=f"use one of: {', '.join(self.kinds)}",
            )
        return found

    def kind_points(self, kind: str, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """A source's own part of the score.

        Args:
            kind: the source's kind.
            codes: (n, F_kind) bin codes; a row of ABSENT gets the kind's absent points.

        Returns:
            (n,) integer points.
        """
        entries = self.of_kind(kind)
        rows = joined_codes([entry.feature for entry in entries], {kind: codes}, len(codes))
        total = np.zeros(len(rows), dtype=np.int64)
        for column, entry in enumerate(entries):
            total += np.array([*entry.points, 0], dtype=np.int64)[rows[:, column]]
        return np.where(rows[:, 0] < 0, np.int64(self.absent[kind]), total)

    def score(self, codes: KindCodes) -> NDArray[np.int64]:
        """(n,) scores of rows that the caller holds of every kind."""
        return self.score_of(sum(self.kind_points(kind, codes[kind]) for kind in self.kinds))

    def score_of(self, points: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Scores of sums of points over all kinds."""
        return np.asarray(np.clip(np.asarray(points, dtype=np.int64) + self.base, SCORE_MIN, SCORE_MAX))

    def pd_of(self, score: NDArray[np.integer] | int) -> FloatArray:
        """Probability of default at a score, elementwise."""
        return self.calibration.pd(np.asarray(score, dtype=np.float64))


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


def check_bounds(card: Scorecard) -> None:
    """Refuse points that could carry more than a score.

    Raises:
        ArtefactError: if points are not integers, are missing or superfluous, or span more than 550 in all, if
            absent points are outside those of the kind's bins, or if scores could leave 300 to 850.
    """
    remedy = "refuse the model and tell the hub's operator"
    for entry in card.features:
        if len(entry.points) != entry.feature.width or any(type(point) is not int for point in entry.points):
            raise ArtefactError(
                f"feature {entry.feature.name} needs {entry.feature.width} integer points",
                field=entry.feature.name,
                remedy=remedy,
            )
    if set(card.absent) != set(card.kinds) or any(type(point) is not int for point in card.absent.values()):
        raise ArtefactError("every kind needs integer absent points", field="absent", remedy=remedy)
    for kind, alone in card.absent.items():
        here = [entry.points for entry in card.of_kind(kind)]
        if not sum(map(min, here)) <= alone <= sum(map(max, here)):
            raise ArtefactError(
                f"absent points of {kind}, {alone}, are none that a record could get", field="absent", remedy=remedy
            )
    low, high = points_range(card.features, card.absent)
    if high - low > MAX_SPAN:
        raise ArtefactError(f"points span {high - low}, more than {MAX_SPAN}", field="points", remedy=remedy)
    if type(card.base) is not int or card.base + low < SCORE_MIN or card.base + high > SCORE_MAX:
        raise ArtefactError(
            f"scores could leave {SCORE_MIN} to {SCORE_MAX}: {card.base + low} to {card.base + high}",
            field="base",
            remedy=remedy,
        )


def check_monotone(card: Scorecard) -> None:
    """Refuse points that go another way than the schema promises: where risk increases, points must not.

    Raises:
        ArtefactError: points of a feature that is declared monotone are not.
    """
    for entry in card.features:
        sign = {"increasing": 1, "decreasing": -1, None: 0}[entry.feature.monotone]
        points = [entry.points[bin] for bin in entry.feature.ordered]
        if any(sign * (after - before) > 0 for before, after in itertools.pairwise(points)):
            raise ArtefactError(
                f"points of {entry.feature.name} are not monotone, as its risk is declared to be",
                field=entry.feature.name,
                remedy="refuse the model and tell the hub's operator",
            )


def points_range(features: Sequence[FeaturePoints], absent: Mapping[str, int]) -> tuple[int, int]:
    """Least and greatest sum of points that any merchant can get, absences included."""
    low = high = 0
    for kind, alone in absent.items():
        here = [entry.points for entry in features if entry.feature.kind == kind]
        low += min(sum(min(points) for points in here), alone)
        high += max(sum(max(points) for points in here), alone)
    return low, high


def band_of(pd: FloatArray | float) -> NDArray[np.str_]:
    """Bands A (safest) to E by the public PD edges, elementwise."""
    return np.asarray(BANDS)[np.searchsorted(BAND_EDGES, np.asarray(pd, dtype=np.float64), side="right")]


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
