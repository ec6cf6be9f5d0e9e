"""What the noise of a campaign's tables is expected to cost in AUC, told before any row is touched.

Populations are drawn (`models.reference`), their exact table is made, and the scorecard is fitted on it without noise
and with it, by the very functions that fit a campaign's table. The loss is the difference of the AUCs on other
merchants of the same population, whose true risk is known, so that no chance of outcomes enters. How near that comes
to losses on real data is measured in `tests/slow/test_expected_loss.py` and said in docs/privacy.md.

A cohort larger than `MOST_ROWS` is tried on as many rows as that with so much less noise: apart from constants of the
prior only noise over counts matters. For the same reason one curve over multiples of the noise tells which ε, and which
N, a wanted loss needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.codes import DEFAULTED, PERFORMING
from models.errors import FitError
from models.fit import fit
from models.reference import Drawn, Population, by_kind, score
from models.tables import FloatArray, OpenedTable, from_codes

MOST_ROWS = 50_000
_TEST_ROWS = 30_000
_DRAWS, _NOISES = 4, 2
_CHANCE = 0.5
MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Loss:
    """Mean loss of AUC, and its standard error over the populations drawn."""

    mean: float
    error: float


@dataclass(frozen=True)
class LossCurve:
    """Losses at multiples of a noise; they are made to grow with it."""

    losses: tuple[float, ...]
    multiples: tuple[float, ...] = MULTIPLES

    def multiple_for(self, target: float) -> float | None:
        """The largest multiple that loses no more than `target`; None where even the smallest loses more.

        What would be beyond the curve is its end.
        """
        rising = np.maximum.accumulate(np.maximum(self.losses, 0.0))
        if rising[0] > target:
            return None
        if rising[-1] <= target:
            return self.multiples[-1]
        after = int(np.argmax(rising > target))
        share = (target - rising[after - 1]) / (rising[after] - rising[after - 1])
        low, high = np.log2(self.multiples[after - 1]), np.log2(self.multiples[after])
        return float(2.0 ** (low + share * (high - low)))


@dataclass(frozen=True)
class _Trial:
    """A cohort's exact table, other merchants, and the AUC there of the fit without noise."""

    table: OpenedTable
    test: Drawn
    auc: float


class LossModel:
    """Losses of a cohort of `merchants` of a population; the same seed draws the same.

    Raises:
        FitError: even without noise the cohort has too few defaults for a scorecard.
    """

    def __init__(self, population: Population, merchants: int, *, seed: int = 0, draws: int = _DRAWS) -> None:
        self._scale = max(1.0, merchants / MOST_ROWS)
        self._seed = seed
        self._trials = tuple(
            _trial(population, min(merchants, MOST_ROWS), np.random.default_rng([seed, draw])) for draw in range(draws)
        )

    @property
    def auc(self) -> float:
        """Of the fit without noise, on the population."""
        return float(np.mean([trial.auc for trial in self._trials]))

    def at(self, sigma_class: float, sigma_pair: float) -> Loss:
        """Expected loss with noise of these standard deviations in counts."""
        sigmas = sigma_class / self._scale, sigma_pair / self._scale
        losses = [
            np.mean([trial.auc - self._noisy(trial, number, noise, sigmas) for noise in range(_NOISES)])
            for number, trial in enumerate(self._trials)
        ]
        return Loss(float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(len(losses))))

    def curve(self, sigma_class: float, sigma_pair: float) -> LossCurve:
        """Losses at multiples of this noise."""
        return LossCurve(tuple(self.at(each * sigma_class, each * sigma_pair).mean for each in MULTIPLES))

    def _noisy(self, trial: _Trial, number: int, noise: int, sigmas: tuple[float, float]) -> float:
        # The same draws at every σ: what differs between two is σ alone.
        rng = np.random.default_rng([self._seed, number, noise])
        try:
            fitted = fit(trial.table.with_gaussian_noise(rng, *sigmas))
        except FitError:
            return _CHANCE  # no model comes of such a table
        return expected_auc(score(trial.test.codes, fitted.weights), trial.test.risk)


def expected_auc(z: FloatArray, risk: FloatArray) -> float:
    """AUC of a score, higher meaning riskier, over merchants who default with probability `risk`; ties count half."""
    _, place = np.unique(z, return_inverse=True)
    bad, good = np.bincount(place, risk), np.bincount(place, 1 - risk)
    below = np.cumsum(good) - good / 2
    return float(bad @ below / (bad.sum() * good.sum()))


def best_share(model: LossModel, sigmas: Sequence[tuple[float, float]]) -> tuple[int, tuple[Loss, ...]]:
    """Which of several pairs (σ_class, σ_pair) loses least, and what each loses."""
    losses = tuple(model.at(*each) for each in sigmas)
    return min(range(len(losses)), key=lambda index: losses[index].mean), losses


def _trial(population: Population, rows: int, rng: np.random.Generator) -> _Trial:
    drawn, test = population.draw(rows, rng), population.draw(_TEST_ROWS, rng)
    outcomes: NDArray[np.int64] = np.where(rng.random(rows) < drawn.risk, DEFAULTED, PERFORMING)
    table = from_codes(population.features, by_kind(population.features, drawn.codes), outcomes)
    return _Trial(table, test, expected_auc(score(test.codes, fit(table).weights), test.risk))
