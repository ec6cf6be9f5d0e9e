"""Populations to try a campaign on before any row is touched: made up, or in the likeness of a table already published.

Neither holds anybody's data. `PublishedPopulation` is drawn from a table that was opened with noise, so it costs no
privacy (post-processing); `AssumedPopulation` from a schema and stated assumptions alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri

from models.errors import BudgetError
from models.fit import LinearFit, fit
from models.margins import consistent_margins
from models.population import bin_shares, dependence_tree, joint_distribution
from models.scorecard import Calibration
from models.scorecard_fit import calibrate
from models.tables import FeatureBins, FloatArray, KindCodes, OpenedTable, kinds_of

Codes = NDArray[np.int64]
_TRIAL_ROWS = 30_000
_FAR = 80.0


class Drawn(NamedTuple):
    """Rows of a population.

    Attributes:
        codes: (n, F) bins, -1 where a merchant has no record at the feature's kind.
        risk: (n,) true probability of default.
    """

    codes: Codes
    risk: FloatArray


class Population(Protocol):
    """Merchants that can be drawn."""

    @property
    def features(self) -> tuple[FeatureBins, ...]:
        """Blocks, in the order of the columns."""

    def draw(self, rows: int, rng: np.random.Generator) -> Drawn:
        """So many merchants."""


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted of a population of which nothing was published yet.

    The latent strengths of the features fall geometrically, in an order that a fixed seed shuffles; each moves the
    defaulters' mean by so many standard deviations. They are normal with one common factor, and cut into bins that hold
    equally many performing merchants.

    Attributes:
        default_rate: of the merchants.
        auc: that all features together reach without privacy and on endless data.
        correlation: of each two features, given the outcome.
        decay: each feature has this part of the strength of the next stronger one.
    """

    default_rate: float = 0.05
    auc: float = 0.75
    correlation: float = 0.2
    decay: float = 0.8

    def __post_init__(self) -> None:
        """BudgetError where a figure is out of range."""
        ranges = {"default_rate": (0.0, 0.5), "auc": (0.5, 0.99), "correlation": (-1e-9, 0.95), "decay": (0.0, 1.0)}
        for name, (low, high) in ranges.items():
            if not low < getattr(self, name) <= high:
                raise BudgetError(
                    f"{name} {getattr(self, name)} is not above {max(low, 0):g} and at most {high:g}",
                    field=name,
                    remedy="assume a figure in this range",
                )


class AssumedPopulation:
    """Merchants of a schema by `Assumptions`.

    Args:
        features: blocks.
        assumed: see there.
        present: kind → share of merchants with a record there; 1 where not given.
    """

    def __init__(
        self, features: Sequence[FeatureBins], assumed: Assumptions, present: Mapping[str, float] | None = None
    ) -> None:
        self.features = tuple(features)
        self._assumed = assumed
        self._present = present or {}
        count, common = len(self.features), assumed.correlation
        shape = np.random.default_rng(1).permutation(assumed.decay ** np.arange(count))
        # The distance of the classes' means, dᵀS⁻¹d with S = (1 − ρ)I + ρ11ᵀ, gives the AUC Φ(√(distance/2)).
        spread = (1 - common) * np.eye(count) + common
        distance = 2 * float(ndtri(assumed.auc)) ** 2
        self._shift = shape * np.sqrt(distance / float(shape @ np.linalg.solve(spread, shape)))
        self._slope = np.linalg.solve(spread, self._shift)
        self._distance = distance

    def draw(self, rows: int, rng: np.random.Generator) -> Drawn:
        """So many merchants; their risk is that which all latent values together tell."""
        common, rate = self._assumed.correlation, self._assumed.default_rate
        bad = rng.random(rows) < rate
        latent = np.sqrt(1 - common) * rng.standard_normal((rows, len(self.features)))
        latent += np.sqrt(common) * rng.standard_normal((rows, 1)) + bad[:, None] * self._shift
        odds = np.log(rate / (1 - rate)) + latent @ self._slope - self._distance / 2
        codes = np.empty(latent.shape, dtype=np.int64)
        for index, feature in enumerate(self.features):
            codes[:, index] = np.minimum((ndtr(latent[:, index]) * feature.width).astype(np.int64), feature.width - 1)
            if feature.monotone == "decreasing":
                codes[:, index] = feature.width - 1 - codes[:, index]
        return Drawn(_blanked(codes, self.features, self._present, rng), expit(odds))


class PublishedPopulation:
    """Merchants in the likeness of an opened table: its dependence tree, and the risk that its own fit states.

    The tree keeps F − 1 pair blocks and so loses some of the score's spread; the slope of the log-odds makes up for it.

    Raises:
        FitError: the table cannot be fitted.
    """

    def __init__(self, table: OpenedTable) -> None:
        self.features = table.features
        self.table = table
        self._linear: LinearFit = fit(table)
        margins = consistent_margins(table)
        self.margins = margins
        shares = [bin_shares(table, margins, i) for i in range(len(table.features))]
        joints = {(f, g): joint_distribution(table, margins, f, g, shares[f], shares[g]) for f, g in table.pairs}
        self._order, self._parents = dependence_tree(len(shares), joints)
        self._root = _cumulated(shares[self._order[0]][None, :-1])
        self._given = {
            child: _cumulated((joints[(parent, child)] if parent < child else joints[(child, parent)].T)[:-1, :-1])
            for child, parent in enumerate(self._parents)
            if child != self._order[0]
        }
        self._present = {kind: table.kind_totals[kind] / table.cohort_size for kind in table.kinds}

    @property
    def default_rate(self) -> float:
        """Of the table."""
        return self._linear.default_rate

    def draw(self, rows: int, rng: np.random.Generator) -> Drawn:
        """So many merchants."""
        codes = self._codes(rows, rng)
        return Drawn(codes, self._calibration.pd(score(codes, self._linear.weights)))

    @cached_property
    def _calibration(self) -> Calibration:
        z = score(self._codes(_TRIAL_ROWS, np.random.default_rng(0)), self._linear.weights)
        slope = calibrate(self.table, self._linear).slope * np.sqrt(self._linear.variance / max(float(z.var()), 1e-12))

        def excess(intercept: float) -> float:
            return float(expit(intercept + slope * z).mean()) - self._linear.default_rate

        reach = float(np.abs(slope * z).max()) + _FAR
        return Calibration(float(brentq(excess, -reach, reach)), float(slope))

    def _codes(self, rows: int, rng: np.random.Generator) -> Codes:
        codes = np.zeros((rows, len(self.features)), dtype=np.int64)
        for index in self._order:
            first = index == self._order[0]
            steps = self._root if first else self._given[index]
            above = np.zeros(rows, dtype=np.int64) if first else codes[:, self._parents[index]]
            place = (rng.random(rows)[:, None] > steps[above]).sum(axis=1)
            codes[:, index] = np.minimum(place, self.features[index].width - 1)
        return _blanked(codes, self.features, self._present, rng)


def score(codes: Codes, weights: Sequence[FloatArray]) -> FloatArray:
    """(n,) z = Σ of the weights of the rows' bins; an absent merchant adds 0."""
    z = np.zeros(len(codes))
    for index, block in enumerate(weights):
        z += np.append(block, 0.0)[codes[:, index]]
    return z


def by_kind(features: Sequence[FeatureBins], codes: Codes) -> KindCodes:
    """The columns of each kind."""
    return {
        kind: codes[:, [index for index, feature in enumerate(features) if feature.kind == kind]]
        for kind in kinds_of(features)
    }


def _blanked(
    codes: Codes, features: Sequence[FeatureBins], present: Mapping[str, float], rng: np.random.Generator
) -> Codes:
    """-1 for merchants without a record at a kind; who has one is drawn independently of all else."""
    for kind, share in present.items():
        if share < 1:
            absent = rng.random(len(codes)) >= share
            for index, feature in enumerate(features):
                if feature.kind == kind:
                    codes[absent, index] = -1
    return codes


def _cumulated(shares: FloatArray) -> FloatArray:
    """Row by row the distribution function of the bins; of an empty row all bins are alike."""
    totals = shares.sum(axis=1, keepdims=True)
    even = np.full_like(shares, 1.0 / shares.shape[1])
    return np.asarray(np.cumsum(np.where(totals > 0, shares / np.maximum(totals, 1e-300), even), axis=1))
