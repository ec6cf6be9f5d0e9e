"""From weights to a scorecard: integer points per bin, a score of 300 to 850, PD and bands.

PD comes from the private table alone: logit(PD) = a + b·z, with (a, b) such that the mean of PD and its
covariance with z equal those that the class counts show, over the distribution of z that the pair counts show
(`models.population`). These are the score equations of a logistic regression on z. Approximations: the distribution
of z (a dependence tree, stretched to the variance of z), and a first-order correction for optimism (F7).

Points are integers with a total span of at most 550 (docs/protocol.md, 7: points cannot carry data out).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.errors import ArtefactError, FitError
from models.fit import FitOptions, LinearFit, consistent_margins, fit
from models.population import ScoreDistribution, score_distribution
from models.tables import FeatureBins, FloatArray, KindCodes, OpenedTable, joined_codes, kinds_of

SCORE_MIN, SCORE_MAX = 300, 850
MAX_SPAN = SCORE_MAX - SCORE_MIN
POINTS_TO_DOUBLE = 40.0
ANCHOR_SCORE, ANCHOR_PD = 600, 0.05
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
    """Opened table to scorecard, deterministically: what the hub does, and the witness does again to compare."""
    linear = fit(table, options)
    return to_points(table.features, linear, calibrate(table, linear))


def calibrate(table: OpenedTable, linear: LinearFit) -> Calibration:
    """(a, b) of logit(PD) = a + b·z from the table alone; see the module.

    Raises:
        FitError: if the table shows no association beyond its noise.
    """
    if linear.covariance <= 0:
        raise FitError(
            "the table shows no association between features and defaults beyond its noise",
            field="table",
            remedy="train with a larger epsilon or cohort",
        )
    shape = score_distribution(table, consistent_margins(table), linear.weights)
    return _match(shape.matched(linear.mean, linear.variance), linear.default_rate, linear.covariance)


def to_points(features: Sequence[FeatureBins], linear: LinearFit, calibration: Calibration) -> Scorecard:
    """Integer points: odds double every 40 points, or fewer where the span would pass 550.

    An absent merchant's weight is 0, hence its points. The base puts PD 5 % at 600 if all scores then stay within
    300 to 850, else as near to it as they do.
    """
    slope = max(calibration.slope, 0.0)
    factor = POINTS_TO_DOUBLE / math.log(2)
    kinds = kinds_of(features)
    while True:
        entries = tuple(
            FeaturePoints(feature, tuple(int(point) for point in np.rint(-factor * slope * weights)))
            for feature, weights in zip(features, linear.weights, strict=True)
        )
        absent = dict.fromkeys(kinds, 0)
        low, high = points_range(entries, absent)
        if high - low <= MAX_SPAN:
            break
        factor *= min(MAX_SPAN / (high - low), 0.999)
    anchor = math.log(ANCHOR_PD / (1 - ANCHOR_PD))
    wanted = round(ANCHOR_SCORE + factor * (anchor - calibration.intercept))
    base = min(max(wanted, SCORE_MIN - low), SCORE_MAX - high)
    # score − base = −factor·b·z, so logit(PD) = a + b·z = a − (score − base)/factor.
    on_score = Calibration(intercept=calibration.intercept + base / factor, slope=-1.0 / factor)
    card = Scorecard(entries, absent, base, on_score, points_to_double=factor * math.log(2))
    check_bounds(card)
    return card


def check_bounds(card: Scorecard) -> None:
    """Refuse points that could carry more than a score.

    Raises:
        ArtefactError: if points are not integers, are missing or superfluous, or span more than 550 in all, or
            if scores could leave 300 to 850.
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
    low, high = points_range(card.features, card.absent)
    if high - low > MAX_SPAN:
        raise ArtefactError(f"points span {high - low}, more than {MAX_SPAN}", field="points", remedy=remedy)
    if type(card.base) is not int or card.base + low < SCORE_MIN or card.base + high > SCORE_MAX:
        raise ArtefactError(
            f"scores could leave {SCORE_MIN} to {SCORE_MAX}: {card.base + low} to {card.base + high}",
            field="base",
            remedy=remedy,
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
        # No table of a real cohort is steeper; a noisy one could ask for a slope without bound.
        at[1] = min(at[1], 5.0)
    # Rounded like the weights, so that a second fit elsewhere gives the same calibration.
    slope = round(float(at[1]) / spread, 6)
    return Calibration(intercept=round(float(at[0]) - float(at[1]) * mean / spread, 6), slope=slope)
