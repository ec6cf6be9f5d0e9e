"""From scores in two worlds to verdicts: exact limits (Clopper, Pearson 1934), nothing approximate.

Half of the trials, the *shadow* half, is the attacker's: it trains on them and chooses its thresholds. Rates are those
of the *fresh* other half. A claim (ε′, δ′) is *broken* when the lower limit of P[S | in] is above e^ε′ times the upper
limit of P[S | out] plus δ′; each limit is wrong with probability 1e-13, and a run of the whole suite makes fewer than
10,000 of them: what keeps its claims is called broken in fewer than one of 1e9 runs. Intervals that are printed are
those of 95 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.attacks.claims import Claims

Scores = NDArray[np.float64]
Found = NDArray[np.int64]

ERROR = 1e-13
"""Probability with which one exact limit of a verdict is wrong."""
SHOWN = 0.0125
"""Of the four limits behind a printed interval, which is then of 95 %."""
_CANDIDATES = 400
FALSE_ALARMS = (0.001, 0.01, 0.05)


@dataclass(frozen=True)
class Scored:
    """Scores of an attack in worlds without (`out`) and with (`into`) the merchant's data; higher says "in"."""

    out: Scores
    into: Scores


@dataclass(frozen=True)
class Rate:
    """`hits` of `trials`."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        return self.hits / self.trials

    def low(self, error: float) -> float:
        """The rate is below this with probability `error` at most."""
        return float(lower(np.array(self.hits), self.trials, error))

    def high(self, error: float) -> float:
        """The rate is above this with probability `error` at most."""
        return float(upper(np.array(self.hits), self.trials, error))


@dataclass(frozen=True)
class Point:
    """An attack at one threshold: found of those in, and false alarms of those out."""

    found: Rate
    alarms: Rate

    @property
    def advantage(self) -> float:
        return self.found.value - self.alarms.value

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the advantage."""
        return (
            self.found.low(SHOWN) - self.alarms.high(SHOWN),
            self.found.high(SHOWN) - self.alarms.low(SHOWN),
        )


@dataclass(frozen=True)
class Verdict:
    """One attack on one released thing.

    Attributes:
        best: at the threshold that promised the largest advantage.
        epsilon_low: 95 % lower limit of the ε that the attack proves at the claims' δ (Jagielski, Ullman, Oprea 2020).
        roc: nominal FPR → the attack there.
        broken: claims (ε′, δ′) that do not hold.
    """

    best: Point
    epsilon_low: float
    roc: dict[float, Point]
    broken: tuple[tuple[float, float], ...]


def lower(hits: Found, trials: int, error: float) -> Scores:
    """Exact lower limits of rates, elementwise."""
    return np.asarray(np.where(hits > 0, stats.beta.ppf(error, np.maximum(hits, 1), trials - hits + 1), 0.0))


def upper(hits: Found, trials: int, error: float) -> Scores:
    """Exact upper limits of rates, elementwise."""
    short = np.maximum(trials - hits, 1)
    return np.asarray(np.where(hits < trials, stats.beta.isf(error, hits + 1, short), 1.0))


def judge(shadow: Scored, fresh: Scored, claims: Claims) -> Verdict:
    """What an attack reaches, and whether that is more than is claimed."""
    thresholds = _thresholds(shadow)
    advantage = _rates(shadow.into, thresholds) - _rates(shadow.out, thresholds)
    best = at(fresh, float(thresholds[int(np.argmax(advantage))]))
    broken = tuple(claim for claim in claims.curve if _broken(shadow, fresh, claim, thresholds))
    roc = {each: at(fresh, float(np.quantile(shadow.out, 1 - each, method="higher"))) for each in FALSE_ALARMS}
    return Verdict(best, _epsilon_low(shadow, fresh, claims.delta, thresholds), roc, broken)


def at(scored: Scored, threshold: float) -> Point:
    """Says "in" above the threshold."""
    return Point(
        Rate(int((scored.into > threshold).sum()), len(scored.into)),
        Rate(int((scored.out > threshold).sum()), len(scored.out)),
    )


def _thresholds(shadow: Scored) -> Scores:
    pooled = np.concatenate([shadow.out, shadow.into])
    inner = np.unique(np.quantile(pooled, np.linspace(0, 1, _CANDIDATES), method="nearest"))
    # Half-way between scores: where both worlds lie apart, all fresh scores fall on their own side.
    return np.concatenate([[-np.inf], (inner[1:] + inner[:-1]) / 2, inner[-1:]])


def _hits(scores: Scores, thresholds: Scores) -> Found:
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right"))


def _rates(scores: Scores, thresholds: Scores) -> Scores:
    return np.asarray(_hits(scores, thresholds) / len(scores))


def _broken(shadow: Scored, fresh: Scored, claim: tuple[float, float], thresholds: Scores) -> bool:
    """Whether a claim fails on the fresh half, for "in" above a threshold or "out" below one."""
    epsilon, delta = claim
    return any(
        excess(Rate(hits, ones), Rate(alarms, zeros), epsilon) > delta
        for hits, ones, alarms, zeros in (
            _chosen(shadow, fresh, epsilon, thresholds),
            _mirrored(shadow, fresh, epsilon, thresholds),
        )
    )


def excess(found: Rate, alarms: Rate, epsilon: float) -> float:
    """The lower limit of P[S | in] − e^ε · P[S | out]."""
    return found.low(ERROR) - math.exp(epsilon) * alarms.high(ERROR)


def _chosen(shadow: Scored, fresh: Scored, epsilon: float, thresholds: Scores) -> tuple[int, int, int, int]:
    hits, alarms = _hits(shadow.into, thresholds), _hits(shadow.out, thresholds)
    promised = lower(hits, len(shadow.into), ERROR) - math.exp(epsilon) * upper(alarms, len(shadow.out), ERROR)
    point = at(fresh, float(thresholds[int(np.argmax(promised))]))
    return point.found.hits, point.found.trials, point.alarms.hits, point.alarms.trials


def _mirrored(shadow: Scored, fresh: Scored, epsilon: float, thresholds: Scores) -> tuple[int, int, int, int]:
    """The same for the event "out": scores at or below a threshold, with the worlds exchanged."""
    zeros, ones = len(shadow.out), len(shadow.into)
    hits, alarms = zeros - _hits(shadow.out, thresholds), ones - _hits(shadow.into, thresholds)
    promised = lower(hits, zeros, ERROR) - math.exp(epsilon) * upper(alarms, ones, ERROR)
    point = at(fresh, float(thresholds[int(np.argmax(promised))]))
    found, alarms_ = point.alarms, point.found
    return found.trials - found.hits, found.trials, alarms_.trials - alarms_.hits, alarms_.trials


def _epsilon_low(shadow: Scored, fresh: Scored, delta: float, thresholds: Scores) -> float:
    """ln((TPR − δ)/FPR), by limits of 97.5 % each, at the threshold that promised most."""
    error = 0.025

    def proved(found: Scores, alarms: Scores) -> Scores:
        return np.asarray(np.log(np.maximum(found - delta, 1e-300) / np.maximum(alarms, 1e-300)))

    promised = proved(
        lower(_hits(shadow.into, thresholds), len(shadow.into), error),
        upper(_hits(shadow.out, thresholds), len(shadow.out), error),
    )
    point = at(fresh, float(thresholds[int(np.argmax(promised))]))
    return max(0.0, float(proved(np.array(point.found.low(error)), np.array(point.alarms.high(error)))))
