"""What the trials of one run prove of ε (Steinke, Nasr, Jagielski 2023, "Privacy auditing with one (1) training run").

Every canary is in or out by a fair coin of its own; the auditor guesses some of the coins and abstains from others.
Where the release is (ε, δ)-DP for each canary, right guesses are hardly more than Binomial(r, e^ε/(1 + e^ε)).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from benchmarks.attacks.verdicts import Scored

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
_MOST = 20.0
_ERROR = 0.05


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Probability of `right` or more right guesses if (ε, δ) holds; Theorem 5.2 of the paper, as in its appendix D."""
    rate = 1 / (1 + np.exp(-epsilon))
    at_least = float(stats.binom.sf(right - 1, guesses, rate))
    if right == 0:
        return 1.0
    below = np.cumsum(stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, rate))
    slope = float((below / np.arange(1, right + 1)).max())
    return min(1.0, at_least + slope * delta * 2 * canaries)


def epsilon_low(canaries: int, guesses: int, right: int, delta: float, error: float = _ERROR) -> float:
    """The largest ε that these guesses refute at this error; 0 if none."""
    low, high = 0.0, _MOST
    if guesses == 0 or p_value(canaries, guesses, right, low, delta) > error:
        return 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(canaries, guesses, right, middle, delta) <= error else (low, middle)
    return low


def audit(shadow: Scored, fresh: Scored, delta: float) -> float:
    """95 % lower limit of ε from guesses at the fresh trials; how many to guess at is chosen on the shadow half."""

    def limits(share: float) -> tuple[float, float]:
        pooled = np.concatenate([shadow.out, shadow.into])
        return float(np.quantile(pooled, share)), float(np.quantile(pooled, 1 - share))

    def proved(scored: Scored, share: float) -> float:
        below, above = limits(share)
        right = int((scored.into > above).sum() + (scored.out < below).sum())
        wrong = int((scored.out > above).sum() + (scored.into < below).sum())
        return epsilon_low(len(scored.into) + len(scored.out), right + wrong, right, delta)

    best = max(_SHARES, key=lambda share: proved(shadow, share))
    return proved(fresh, best)
