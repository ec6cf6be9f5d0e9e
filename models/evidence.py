"""Weight of evidence and information value from the opened table: what each bin says of default by itself.

All are functions of published counts with noise, so they cost nothing further (post-processing). Intervals of 95 %
allow for the sample of merchants and for the noise: of the information value by `models.divergence`, of a bin's WoE to
first order, of its default rate as below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.divergence import Divergence, divergence
from models.evaluation import Interval
from models.tables import FeatureBins, FloatArray, OpenedTable

_LEAST = 5.0
"""Fewer merchants of a class in a bin than this say nothing."""
_Z = 1.959964


@dataclass(frozen=True)
class BinEvidence:
    """One bin.

    Attributes:
        share: of the merchants that have a record at the source.
        default_rate: None where noise or chance leave nothing to be said; so are the next two.
        woe: ln(share of others / share of defaulters); above 0 is safer than average.
        woe_error: its standard error, of the sample and of the noise together.
        rate: the default rate with its 95 % interval; None where the noise exceeds the bin.
    """

    share: float
    default_rate: float | None
    woe: float | None
    woe_error: float | None
    rate: Interval | None = None

    @property
    def woe_interval(self) -> Interval | None:
        """The WoE with its 95 % interval."""
        if self.woe is None or self.woe_error is None:
            return None
        return Interval(self.woe, self.woe - _Z * self.woe_error, self.woe + _Z * self.woe_error)


@dataclass(frozen=True)
class FeatureEvidence:
    """A feature's bins, and its information value less what noise and chance add to it.

    Attributes:
        information: None where the counts do not fill two coarse classes.
    """

    bins: tuple[BinEvidence, ...]
    information: Divergence | None

    @property
    def information_value(self) -> float | None:
        """The information value."""
        return None if self.information is None else self.information.value


def evidence_of(table: OpenedTable) -> tuple[FeatureEvidence, ...]:
    """Evidence of every feature of a table, in its order; a bin needs two standard deviations of the noise, and 5."""
    return tuple(
        _feature(feature, counts, table.sigma_class)
        for feature, counts in zip(table.features, table.classes, strict=True)
    )


def in_line(feature: FeatureBins) -> list[int]:
    """Bins so that neighbours stand beside each other; those that stand alone come last."""
    ordered = feature.ordered
    return [*ordered, *(bin for bin in range(feature.width) if bin not in ordered)]


def rate_of(bad: float, good: float, sigma: float) -> Interval | None:
    """Share that defaulted of noisy counts, with a 95 % interval; None where the noise exceeds the merchants.

    The interval is where the share r passes the test of (bad − r·m)² ≤ z²·[m·r(1 − r) + σ²((1 − r)² + r²)], m = bad +
    good: Wilson's where σ = 0, and Fieller's for a ratio of noisy counts where the sample is large.
    """
    size = bad + good
    if size < max(2 * math.sqrt(2) * _Z * sigma, _LEAST):
        return None
    chance, noise = _Z**2 / size, (_Z * sigma / size) ** 2
    rate = bad / size
    # a·r² − 2b·r + c ≤ 0
    a, b, c = 1 + chance - 2 * noise, rate + chance / 2 - noise, rate**2 - noise
    root = math.sqrt(max(b * b - a * c, 0.0))
    low, high = max((b - root) / a, 0.0), min((b + root) / a, 1.0)
    return Interval(min(max(rate, 0.0), 1.0), min(low, 1.0), max(high, 0.0))


def _feature(feature: FeatureBins, counts: FloatArray, sigma: float) -> FeatureEvidence:
    least = max(2.0 * sigma, _LEAST)
    bad, good = np.maximum(counts[:, 0], 0.0), np.maximum(counts[:, 1], 0.0)
    all_bad, all_good = float(bad.sum()), float(good.sum())
    found = []
    for at, (p, n) in enumerate(zip(bad, good, strict=True)):
        share = float(p + n) / max(all_bad + all_good, 1.0)
        rate = rate_of(float(counts[at, 0]), float(counts[at, 1]), sigma)
        if p < least or n < least:
            found.append(BinEvidence(share, None, None, None, rate))
            continue
        woe = math.log((n / all_good) / (p / all_bad))
        error = math.sqrt(1 / p + 1 / n + (sigma / p) ** 2 + (sigma / n) ** 2)
        found.append(BinEvidence(share, float(p / (p + n)), woe, error, rate))
    information = divergence(counts[:, 1], counts[:, 0], (sigma, sigma), in_line(feature))
    return FeatureEvidence(tuple(found), information)
