"""Bands of the score for an evaluation's histogram: chosen before any held-out merchant is looked at.

Edges and predicted PDs come from what is published already: the model, and for a scorecard the noisy table that it was
fitted on. Bands that hold about equally many merchants lose least of the ranking when scores in a band are tied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from models.scorecard import (
    ANCHOR_PD,
    ANCHOR_SCORE,
    POINTS_TO_DOUBLE,
    SCORE_MAX,
    SCORE_MIN,
    Scorecard,
)
from models.tables import FloatArray, OpenedTable

_SCORES = np.arange(SCORE_MIN, SCORE_MAX + 1)
# Odds that double every 40 points from 5 % at 600: PDs of some 46 % down to a third of a per cent.
_ENCODER_LOW, _ENCODER_HIGH = 440, 760
PdOf = Callable[[FloatArray], FloatArray]


def score_shares(card: Scorecard, table: OpenedTable) -> FloatArray:
    """(551,) expected share of merchants at each score from 300 to 850, features taken as independent.

    Args:
        card: the scorecard.
        table: the noisy table that it was fitted on.
    """
    shares = np.ones(1)
    low = card.base
    for kind in card.kinds:
        of_kind, start = np.ones(1), 0
        for place, entry in enumerate(card.features):
            if entry.feature.kind != kind:
                continue
            counts = np.maximum(table.classes[place].sum(axis=1), 0.0)
            total = float(counts.sum())
            weights = counts / total if total > 0 else np.full(len(counts), 1 / len(counts))
            points = np.array(entry.points)
            one = np.bincount(points - points.min(), weights=weights)
            of_kind, start = np.convolve(of_kind, one), start + int(points.min())
        present = table.kind_totals[kind] / max(table.cohort_size, 1)
        least = min(start, card.absent[kind])
        mixed = np.zeros(max(start + len(of_kind), card.absent[kind] + 1) - least)
        mixed[start - least : start - least + len(of_kind)] += present * of_kind
        mixed[card.absent[kind] - least] += 1 - present
        shares, low = np.convolve(shares, mixed), low + least
    scores = np.clip(np.arange(low, low + len(shares)), SCORE_MIN, SCORE_MAX)
    return np.bincount(scores - SCORE_MIN, weights=shares, minlength=len(_SCORES)).astype(np.float64)


def even_edges(shares: FloatArray, bands: int) -> tuple[int, ...]:
    """Upper ends of up to `bands` bands that hold about equally many merchants; fewer where scores are fewer.

    Args:
        shares: from `score_shares`.
        bands: at least two.
    """
    below = np.cumsum(shares) / shares.sum()
    wanted = np.searchsorted(below, np.arange(1, bands) / bands - 1e-12)
    edges = sorted({int(_SCORES[place]) for place in wanted} - {SCORE_MAX})
    return tuple(edges) or (ANCHOR_SCORE,)


def encoder_edges(bands: int) -> tuple[int, ...]:
    """Upper ends of `bands` bands of an encoder's scores, for whose distribution nothing is published: even steps."""
    return tuple(int(edge) for edge in np.unique(np.rint(np.linspace(_ENCODER_LOW, _ENCODER_HIGH, bands - 1))))


def encoder_pd(scores: FloatArray) -> FloatArray:
    """Probability of default at an encoder's scores: 5 % at 600, odds double every 40 points."""
    logits = math.log(ANCHOR_PD / (1 - ANCHOR_PD)) - (scores - ANCHOR_SCORE) * math.log(2) / POINTS_TO_DOUBLE
    return np.asarray(1 / (1 + np.exp(-logits)))


def band_limits(edges: Sequence[int]) -> list[tuple[int, int]]:
    """(lowest, highest) score of every band."""
    lows = [SCORE_MIN, *(edge + 1 for edge in edges)]
    return list(zip(lows, [*edges, SCORE_MAX], strict=True))


def band_pds(edges: Sequence[int], pd_of: PdOf, shares: FloatArray | None = None) -> tuple[float, ...]:
    """Mean predicted PD of every band.

    Args:
        edges: upper ends.
        pd_of: PD at scores.
        shares: from `score_shares`; where not given, or where nobody is expected, a band's middle stands for it, and
            the open ends are taken as wide as their neighbours.
    """
    found: list[float] = []
    steps = np.diff(edges)
    first, last = (int(steps[0]), int(steps[-1])) if len(steps) else (SCORE_MAX, SCORE_MAX)
    for low, high in band_limits(edges):
        weights = None if shares is None else shares[low - SCORE_MIN : high - SCORE_MIN + 1]
        if weights is not None and weights.sum() > 0:
            scores = np.arange(low, high + 1, dtype=np.float64)
            found.append(float((pd_of(scores) * weights).sum() / weights.sum()))
            continue
        inner = max(low, edges[0] - first) if high == edges[0] else low
        outer = min(high, edges[-1] + last) if low == edges[-1] + 1 else high
        found.append(float(pd_of(np.array([(inner + outer) / 2]))[0]))
    return tuple(found)
