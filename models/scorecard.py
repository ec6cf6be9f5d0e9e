"""A scorecard: integer points per bin, a score of 300 to 850, PD and bands. `models.scorecard_fit` makes one.

PD 5 % is at 600 in every scorecard. Points are integers with a total span of at most 550 (docs/protocol.md, 7: points
cannot carry data out).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtefactError
from models.tables import FeatureBins, FloatArray, KindCodes, joined_codes, kinds_of

SCORE_MIN, SCORE_MAX = 300, 850
MAX_SPAN = SCORE_MAX - SCORE_MIN
POINTS_TO_DOUBLE = 40.0
ANCHOR_SCORE, ANCHOR_PD = 600, 0.05
LEAST_PD = 1e-4
"""Every score that can occur has a PD of at least this, and of at most 1 − this."""
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
        from scipy.special import expit  # noqa: PLC0415  (slow to import, and every command reads this module)

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
