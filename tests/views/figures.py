"""The statistics that recorded views are judged by: exact tests and exact limits, nothing approximate in a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

P_VALUE = 0.001
"""Below it a view is said to differ from what it should be."""


def byte_p_value(words: NDArray[Any]) -> float:
    """p-value of Pearson's chi-square that every byte of the words is uniform, each place of the word by itself.

    Args:
        words: unsigned integers, any shape.
    """
    places = np.ascontiguousarray(words).view(np.uint8).reshape(-1, words.dtype.itemsize)
    expected = len(places) / 256
    statistic = sum(
        float(((np.bincount(column, minlength=256) - expected) ** 2).sum()) / expected for column in places.T
    )
    return float(stats.chi2.sf(statistic, 255 * places.shape[1]))


def successive_p_value(words: NDArray[Any]) -> float:
    """The same of the differences of successive words: a stream used twice, or a period, would show here."""
    return byte_p_value(np.diff(words.ravel()))


def clopper_pearson(successes: int, trials: int, confidence: float = 0.99) -> tuple[float, float]:
    """The exact interval of a rate."""
    found = stats.binomtest(successes, trials).proportion_ci(confidence_level=confidence, method="exact")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Guesses:
    """How often a classifier named the right world, in worlds that it had not seen."""

    right: int
    trials: int

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 99 % interval of its accuracy."""
        return clopper_pearson(self.right, self.trials)


def guess_worlds(classifier: Any, views: NDArray[np.float64], worlds: NDArray[np.int64]) -> Guesses:
    """Trains a classifier on half of the runs and lets it name the world of the other half.

    Halves, not folds: the guesses are then independent, and the interval of their rate is exact.

    Args:
        classifier: of scikit-learn's kind.
        views: (runs, features), in random order of worlds.
        worlds: (runs,) 0 or 1.
    """
    half = len(worlds) // 2
    classifier.fit(views[:half], worlds[:half])
    return Guesses(int((classifier.predict(views[half:]) == worlds[half:]).sum()), len(worlds) - half)


def excess(found_one: NDArray[np.bool_], found_zero: NDArray[np.bool_], epsilon: float) -> tuple[float, float]:
    """P(said 1 | world 1) − e^ε · P(said 1 | world 0), which (ε, δ)-DP keeps at or below δ.

    Returns:
        Its lower limit at 99 % confidence (by two exact one-sided limits at 99.5 %), and the estimate.
    """
    (hits, ones), (alarms, zeros) = [(int(each.sum()), len(each)) for each in (found_one, found_zero)]
    low, high = clopper_pearson(hits, ones)[0], clopper_pearson(alarms, zeros)[1]
    return low - np.exp(epsilon) * high, hits / ones - np.exp(epsilon) * alarms / zeros
