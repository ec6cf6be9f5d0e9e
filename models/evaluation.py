"""How well scores tell defaulters from others: from held-out rows, or from the (noisy) histogram of scores.

The evaluation stage opens counts of score bin × outcome only (docs/protocol.md, 6). `histogram_metrics` gives AUC
and KS with intervals that allow for the noise as well as for the size of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.codes import DEFAULTED, PERFORMING
from models.errors import DataError
from models.scorecard import SCORE_MAX, SCORE_MIN
from models.tables import FloatArray

SCORE_STEP = 25
SCORE_EDGES = tuple(range(SCORE_MIN + SCORE_STEP, SCORE_MAX, SCORE_STEP))
"""Public edges of the evaluation histogram: 22 bins of 25 points."""
_DRAWS = 400


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationRow:
    """One group of merchants, riskiest last: mean predicted PD against the observed rate."""

    count: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class ParityRow:
    """One group: size, default rate, mean PD, share approved, AUC (None if one class is missing)."""

    group: str
    count: int
    default_rate: float
    mean_pd: float
    approved: float
    auc: float | None


@dataclass(frozen=True)
class HistogramMetrics:
    """What a histogram of scores by outcome tells."""

    auc: Interval
    ks: Interval
    defaults: float
    others: float


def auc(scores: NDArray[np.integer] | FloatArray, outcomes: NDArray[np.integer]) -> float:
    """Probability that a defaulter scores below another merchant, ties halved; unlabelled rows are left out.

    Raises:
        DataError: if one of the classes is missing.
    """
    known, bad = _labelled(outcomes)
    return _roc_auc(bad, -np.asarray(scores, dtype=np.float64)[known])


def ks(scores: NDArray[np.integer] | FloatArray, outcomes: NDArray[np.integer]) -> float:
    """Greatest distance between the two classes' distributions of scores (Kolmogorov–Smirnov)."""
    from scipy.stats import ks_2samp  # noqa: PLC0415  (agents that hold models need not load it)

    known, bad = _labelled(outcomes)
    values = np.asarray(scores, dtype=np.float64)[known]
    return float(ks_2samp(values[bad], values[~bad], method="asymp").statistic)


def calibration_table(pd: FloatArray, outcomes: NDArray[np.integer], *, groups: int = 10) -> list[CalibrationRow]:
    """Merchants in `groups` groups of like size by PD; equal PDs stay together, so there may be fewer."""
    known, bad = _labelled(outcomes)
    values = np.asarray(pd, dtype=np.float64)[known]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, groups + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="left")
    return [
        CalibrationRow(int(here.sum()), float(values[here].mean()), float(bad[here].mean()))
        for here in (place == group for group in range(len(edges) + 1))
        if here.any()
    ]


def parity(
    pd: FloatArray, outcomes: NDArray[np.integer], groups: NDArray[np.str_], *, cutoff: float = 0.10
) -> list[ParityRow]:
    """Per group of merchants: are they approved (PD below the cutoff) and ranked alike?"""
    known, bad = _labelled(outcomes)
    values, names = np.asarray(pd, dtype=np.float64)[known], np.asarray(groups)[known]
    rows: list[ParityRow] = []
    for name in np.unique(names):
        here = names == name
        both = 0 < int(bad[here].sum()) < int(here.sum())
        rows.append(
            ParityRow(
                group=str(name),
                count=int(here.sum()),
                default_rate=float(bad[here].mean()),
                mean_pd=float(values[here].mean()),
                approved=float((values[here] < cutoff).mean()),
                auc=_roc_auc(bad[here], values[here]) if both else None,
            )
        )
    return rows


def _roc_auc(bad: NDArray[np.bool_], values: FloatArray) -> float:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  (agents that hold models need not load it)

    return float(roc_auc_score(bad, values))


def score_histogram(scores: NDArray[np.integer], outcomes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(bins, 2) counts of score bin × (defaulted, performing); what a bank counts of its held-out merchants."""
    place = np.searchsorted(SCORE_EDGES, np.asarray(scores), side="left")
    labels = np.asarray(outcomes)
    bins = len(SCORE_EDGES) + 1
    columns = [np.bincount(place[labels == outcome], minlength=bins) for outcome in (DEFAULTED, PERFORMING)]
    return np.stack(columns, axis=1).astype(np.int64)


def histogram_metrics(
    counts: NDArray[np.integer] | FloatArray, sigma: float, *, seed: int = 0, draws: int = _DRAWS
) -> HistogramMetrics:
    """AUC and KS of a histogram ordered from lowest score to highest, with intervals.

    Ties inside a bin count half, so the AUC is slightly below that of the exact scores. The interval comes
    from a parametric bootstrap: Poisson for the sample, Gaussian of `sigma` for the noise that was added.

    Args:
        counts: (bins, 2) of defaulted, performing; may be noisy, also negative.
        sigma: standard deviation of the noise on each cell, in counts.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Raises:
        DataError: if the histogram is malformed or one class is empty.
    """
    cells = np.asarray(counts, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[1] != 2 or len(cells) < 2:
        raise DataError(f"a histogram of shape {cells.shape}", field="counts", remedy="give (bins, 2) counts")
    clean = np.maximum(cells, 0.0)
    if clean[:, 0].sum() < 1 or clean[:, 1].sum() < 1:
        raise DataError("the histogram has no merchants of one class", field="counts", remedy="hold out more merchants")
    rng = np.random.default_rng(seed)
    drawn = np.maximum(rng.poisson(clean, (draws, *clean.shape)) + rng.normal(0, sigma, (draws, *clean.shape)), 0.0)
    drawn[:, :, :] += 1e-9
    # Clipping noise at 0 biases both statistics; the bootstrap repeats it, so its mean shift is taken out.
    auc_value, ks_value = _auc_ks(clean[None] + 1e-9)
    aucs, kss = _auc_ks(drawn)
    return HistogramMetrics(
        auc=_interval(float(auc_value[0]), aucs),
        ks=_interval(float(ks_value[0]), kss),
        defaults=float(cells[:, 0].sum()),
        others=float(cells[:, 1].sum()),
    )


def bin_labels() -> list[str]:
    """Texts of the evaluation histogram's bins, lowest first."""
    inner = [f"{low + 1}–{high}" for low, high in pairwise(SCORE_EDGES)]
    return [f"≤ {SCORE_EDGES[0]}", *inner, f"> {SCORE_EDGES[-1]}"]


def _auc_ks(cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    shares = cells / cells.sum(axis=1, keepdims=True)
    below = np.cumsum(shares, axis=1)
    above = 1.0 - below[:, :, 1]
    areas = (shares[:, :, 0] * (above + shares[:, :, 1] / 2)).sum(axis=1)
    return areas, np.abs(below[:, :, 0] - below[:, :, 1]).max(axis=1)


def _interval(value: float, draws: FloatArray) -> Interval:
    shift = value - float(draws.mean())
    low, high = np.quantile(draws + shift, [0.025, 0.975])
    return Interval(value, max(float(low), 0.0), min(float(high), 1.0))


def _labelled(outcomes: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    labels = np.asarray(outcomes)
    known = (labels == DEFAULTED) | (labels == PERFORMING)
    bad = labels[known] == DEFAULTED
    if not 0 < int(bad.sum()) < int(known.sum()):
        raise DataError("one of the classes has no merchants", field="outcomes", remedy="hold out more merchants")
    return known, bad
