"""From an evaluation's noisy histogram to figures with intervals (docs/protocol.md, 6).

Counts carry noise of known variance and may be negative; they are used as they are. AUC is a ratio of a bilinear form
and a product of totals of two columns with independent noise, so both are unbiased, where counts cut off at zero
would pull it to a half.

Intervals (95 %) are of a parametric bootstrap: around cells that cannot be negative and have the same totals, Poisson
draws stand for the sample of merchants, Gaussian ones for the noise; the spread of the figure over these draws, turned
around (*basic* bootstrap), is the interval. KS, a maximum, is lifted by noise: the bootstrap's shift is taken off. Tied
scores within a band count half, as they do in the exact AUC; with bands of like size that costs some thousandths.

Not covered by the intervals: that merchants with consent to scores may differ from others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.errors import DataError
from models.evaluation_result import Estimate, EvaluationResult, GroupResult, ScoreBand
from models.score_bands import band_limits
from models.tables import FloatArray

_DRAWS = 1000
_CLEAR = 5.0
"""A total has to stand out of its noise by so many standard deviations before a figure of its own is given."""
_LEAST = 20.0
_NOTHING = Estimate(value=0.5, low=0.0, high=1.0)


@dataclass(frozen=True)
class Evaluated:
    """What was evaluated, and how its histogram came about.

    Attributes:
        edges, pds: upper ends of the bands, and every band's predicted PD.
        groups: parity feature → names of its groups, in order of the histogram's parts.
        sigma: standard deviation of the noise in each opened count.
        epsilon, delta: of this stage alone; None without noise.
        nodes: parties that counted.
    """

    model_id: str
    campaign: str
    attempt: str
    noise: Literal["on", "off"]
    edges: Sequence[int]
    pds: Sequence[float]
    groups: Mapping[str, Sequence[str]]
    sigma: float
    epsilon: float | None
    delta: float | None
    nodes: int
    approval_pd: float = 0.10


def evaluation_result(about: Evaluated, whole: FloatArray, parts: Sequence[FloatArray]) -> EvaluationResult:
    """Every figure that the histogram gives.

    Args:
        about: see `Evaluated`.
        whole: (bands, 2) counts of defaulted, performing.
        parts: per parity feature (bands, 2, groups).

    Raises:
        DataError: the counts do not fit the bands or groups.
    """
    cells = np.asarray(whole, dtype=np.float64)
    bands = len(about.edges) + 1
    shapes = [(bands, 2, len(names)) for names in about.groups.values()]
    if cells.shape != (bands, 2) or len(about.pds) != bands or [part.shape for part in parts] != shapes:
        raise DataError("the counts are not of these bands and groups", field="counts", remedy="open the histogram")
    sampler = _Sampler(about.sigma, _seed(whole, parts))
    draws = sampler.draw(cells)
    rows = [
        ScoreBand(
            score_low=low,
            score_high=high,
            count_good=float(cells[band, 1]),
            count_bad=float(cells[band, 0]),
            predicted_pd=min(max(float(about.pds[band]), 0.0), 1.0),
            observed=_rate(cells[band], draws.base[band], draws.cells[:, band], about.sigma),
        )
        for band, (low, high) in enumerate(band_limits(about.edges))
    ]
    return EvaluationResult(
        model_id=about.model_id,
        campaign=about.campaign,
        attempt=about.attempt,
        noise=about.noise,
        sigma=about.sigma,
        epsilon=about.epsilon,
        delta=about.delta,
        auc=_auc_estimate(cells, draws, about.sigma) or _NOTHING,
        ks=_ks_estimate(cells, draws, about.sigma) or _NOTHING,
        bands=tuple(rows),
        groups={
            name: tuple(
                _group(about, names[number], np.asarray(part[:, :, number], dtype=np.float64), sampler)
                for number in range(len(names))
            )
            for (name, names), part in zip(about.groups.items(), parts, strict=True)
        },
        approval_pd=about.approval_pd,
        nodes=about.nodes,
    )


@dataclass(frozen=True)
class _Draws:
    """Bootstrap draws around `base`."""

    base: FloatArray
    cells: FloatArray


class _Sampler:
    def __init__(self, sigma: float, seed: int) -> None:
        self._sigma = sigma
        self._rng = np.random.default_rng(seed)

    def draw(self, cells: FloatArray) -> _Draws:
        base = np.stack([_nearest_counts(cells[:, outcome]) for outcome in (0, 1)], axis=1)
        shape = (_DRAWS, *base.shape)
        return _Draws(base, self._rng.poisson(base, shape) + self._rng.normal(0.0, self._sigma, shape))


def _group(about: Evaluated, name: str, cells: FloatArray, sampler: _Sampler) -> GroupResult:
    draws = sampler.draw(cells)
    size, noise = float(cells.sum()), about.sigma * float(np.sqrt(cells.size))
    pds = np.asarray(about.pds)
    merchants, drawn = cells.sum(axis=1), draws.cells.sum(axis=2)
    clear = size >= max(_LEAST, _CLEAR * noise)
    approved = pds < about.approval_pd
    return GroupResult(
        group=name,
        count_good=float(cells[:, 1].sum()),
        count_bad=float(cells[:, 0].sum()),
        mean_pd=_basic(
            float(merchants @ pds) / size,
            float(draws.base.sum(axis=1) @ pds) / max(float(draws.base.sum()), 1e-9),
            drawn @ pds / _away_from_zero(drawn.sum(axis=1)),
        )
        if clear
        else None,
        default_rate=_rate(cells.sum(axis=0), draws.base.sum(axis=0), draws.cells.sum(axis=1), noise / np.sqrt(2)),
        approved=_basic(
            float(merchants[approved].sum()) / size,
            float(draws.base[approved].sum()) / max(float(draws.base.sum()), 1e-9),
            drawn[:, approved].sum(axis=1) / _away_from_zero(drawn.sum(axis=1)),
        )
        if clear
        else None,
        auc=_auc_estimate(cells, draws, about.sigma),
    )


def _auc_estimate(cells: FloatArray, draws: _Draws, sigma: float) -> Estimate | None:
    if not _both_classes(cells, sigma):
        return None
    return _basic(float(_auc(cells)), float(_auc(draws.base)), _auc(draws.cells))


def _ks_estimate(cells: FloatArray, draws: _Draws, sigma: float) -> Estimate | None:
    if not _both_classes(cells, sigma):
        return None
    drawn, base = _ks(draws.cells), float(_ks(draws.base))
    # The estimate starts from cells that noise has lifted already, and is shifted by what it would lift them again.
    return _basic(base - (float(drawn.mean()) - base), float(drawn.mean()), drawn)


def _rate(cells: FloatArray, base: FloatArray, drawn: FloatArray, sigma: float) -> Estimate | None:
    """Share that defaulted of (bad, good) counts with noise of `sigma` each."""
    size = float(cells.sum())
    if size < max(_LEAST, _CLEAR * sigma * float(np.sqrt(2))):
        return None
    bases = float(base[0]) / max(float(base.sum()), 1e-9)
    return _basic(float(cells[0]) / size, bases, drawn[:, 0] / _away_from_zero(drawn.sum(axis=1)))


def _both_classes(cells: FloatArray, sigma: float) -> bool:
    least = max(1.0, _CLEAR * sigma * float(np.sqrt(len(cells))))
    return bool(np.all(cells.sum(axis=0) >= least))


def _auc(cells: FloatArray) -> FloatArray:
    bad, good = cells[..., 0], cells[..., 1]
    above = good.sum(axis=-1, keepdims=True) - np.cumsum(good, axis=-1)
    pairs = (bad * (above + good / 2)).sum(axis=-1)
    return np.asarray(pairs / _away_from_zero(bad.sum(axis=-1) * good.sum(axis=-1)))


def _ks(cells: FloatArray) -> FloatArray:
    below = np.cumsum(cells, axis=-2) / _away_from_zero(cells.sum(axis=-2, keepdims=True))
    return np.asarray(np.abs(below[..., 0] - below[..., 1]).max(axis=-1))


def _basic(value: float, base: float, drawn: FloatArray) -> Estimate:
    """The basic bootstrap's interval: the figure moves from the truth as draws move from their base.

    Noise can carry a figure out of 0 to 1; its interval is then that of the nearest one within, not an empty one.
    """
    low, high = np.quantile(drawn - base, [0.025, 0.975])
    shown = _share(value)
    return Estimate(value=shown, low=_share(shown - float(high)), high=_share(shown - float(low)))


def _nearest_counts(cells: FloatArray) -> FloatArray:
    """The nearest counts that are not negative and have the same total (projection onto a simplex)."""
    total = max(float(cells.sum()), 0.0)
    descending = np.sort(cells)[::-1]
    levels = (np.cumsum(descending) - total) / np.arange(1, len(cells) + 1)
    level = levels[np.flatnonzero(descending > levels)[-1]] if total > 0 else float(descending[0])
    return np.asarray(np.maximum(cells - level, 0.0))


def _away_from_zero(values: FloatArray) -> FloatArray:
    return np.where(np.abs(values) < 1e-9, 1e-9, values)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _seed(whole: FloatArray, parts: Sequence[FloatArray]) -> int:
    """Of the draws: the same counts give the same figures everywhere."""
    hashed = hashlib.sha256()
    for each in (whole, *parts):
        hashed.update(np.ascontiguousarray(each, dtype="<f8").tobytes())
    return int.from_bytes(hashed.digest()[:8], "big")
