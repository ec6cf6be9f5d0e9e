"""Weight of evidence and information value from the opened table: what each bin says of default by itself.

Both are functions of published counts with noise, so they cost nothing further (post-processing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.tables import FloatArray, OpenedTable

_LEAST = 5.0
"""Fewer merchants of a class in a bin than this say nothing."""


@dataclass(frozen=True)
class BinEvidence:
    """One bin.

    Attributes:
        share: of the merchants that have a record at the source.
        default_rate: None where noise or chance leave nothing to be said; so are the next two.
        woe: ln(share of others / share of defaulters); above 0 is safer than average.
        woe_error: its standard error, of the sample and of the noise together.
    """

    share: float
    default_rate: float | None
    woe: float | None
    woe_error: float | None


@dataclass(frozen=True)
class FeatureEvidence:
    """A feature's bins; `information_value` sums over those whose weight is stated, and noise raises it a little."""

    bins: tuple[BinEvidence, ...]
    information_value: float


def evidence_of(table: OpenedTable) -> tuple[FeatureEvidence, ...]:
    """Evidence of every feature of a table, in its order; a bin needs two standard deviations of the noise, and 5."""
    return tuple(_feature(counts, table.sigma_class) for counts in table.classes)


def _feature(counts: FloatArray, sigma: float) -> FeatureEvidence:
    least = max(2.0 * sigma, _LEAST)
    bad, good = np.maximum(counts[:, 0], 0.0), np.maximum(counts[:, 1], 0.0)
    all_bad, all_good = float(bad.sum()), float(good.sum())
    found, value = [], 0.0
    for p, n in zip(bad, good, strict=True):
        share = float(p + n) / max(all_bad + all_good, 1.0)
        if p < least or n < least:
            found.append(BinEvidence(share, None, None, None))
            continue
        woe = math.log((n / all_good) / (p / all_bad))
        error = math.sqrt(1 / p + 1 / n + (sigma / p) ** 2 + (sigma / n) ** 2)
        value += (n / all_good - p / all_bad) * woe
        found.append(BinEvidence(share, float(p / (p + n)), woe, error))
    return FeatureEvidence(tuple(found), value)
