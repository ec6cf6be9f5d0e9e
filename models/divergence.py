"""How far two noisy histograms over the same bins are apart, with an interval: information value and stability index.

Both are the symmetric divergence J = Σ (gᵢ − hᵢ)·ln(gᵢ/hᵢ) of two distributions over bins: between others and
defaulters it is the information value (IV), between two days the population stability index (PSI). The counts are a
sample of merchants (multinomial) with noise of a known σ on each, and both raise J: of two samples of one population it
is never 0. What is stated here is J of the populations that the counts are a sample of.

V1  Coarse classes: neighbouring bins are taken together until each class should hold at least `_CLEAR` standard
    deviations of its noise, and `_LEAST` merchants, on either side. What it should hold is told by both sides' pooled
    share, hardly by the noise of the smaller side, so the choice does not favour what noise made large. J of coarse
    classes is never above that of the bins.
V2  Covariances of the shares, from counts x with total T: C = (diag g − g gᵀ)/T + σ²·(I − g1ᵀ) diag(m) (I − 1gᵀ)/T²,
    where m is the number of bins in each class. The second term is that of a share whose total is noisy too.
V3  Second order: E[Ĵ] = J + B with B = ½ Σ (1/g + h/g²)·C_g,ii + (1/h + g/h²)·C_h,ii.
V4  First order: Var[Ĵ] = D = uᵀC_g u + wᵀC_h w with the gradients u = ln(g/h) + 1 − h/g and w = −ln(g/h) + 1 − g/h.
V5  Ĵ is a sum of squares of nearly normal quantities, so Ĵ/v is nearly noncentral χ² with k degrees of freedom and
    noncentrality J/v. Its mean J + kv gives kv = B; its variance, 4vJ where J is large, gives v = D/(4Ĵ). At J = 0 this
    is Satterthwaite's approximation, far from it the normal one. The interval is where J passes that test at either
    2.5 %; so it holds 0 where nothing is shown, which no interval of the form Ĵ ± 1.96·√D can.

`tests/unit/test_models_divergence.py` draws thousands of tables with known J and counts how often intervals hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.tables import FloatArray

_CLEAR, _LEAST = 4.0, 10.0
_NORMAL_FROM = 1e4
"""Noncentral χ² is as good as normal where Ĵ/v is above this."""
_TAIL = 0.025


@dataclass(frozen=True)
class Divergence:
    """J of two populations, and its 95 % interval.

    Attributes:
        value: Ĵ less its bias, at least 0.
        raw: Ĵ of the counts as they are, over the coarse classes.
        classes: bin → number of its coarse class, from 0.
    """

    value: float
    low: float
    high: float
    raw: float
    classes: tuple[int, ...]

    @property
    def beyond_noise(self) -> bool:
        """Whether the distributions differ by more than chance and noise."""
        return self.low > 0


def divergence(
    one: FloatArray, two: FloatArray, sigmas: tuple[float, float], order: Sequence[int] | None = None
) -> Divergence | None:
    """J of the populations behind two histograms; None where they do not fill two coarse classes.

    Args:
        one, two: (bins,) counts; noisy ones may be negative.
        sigmas: standard deviation of the noise on each count of either; 0 where exact.
        order: bins in the order in which neighbours are taken together; as they stand without it.

    Raises:
        DataError: not the same number of bins, or no bins.
    """
    if one.shape != two.shape or one.ndim != 1 or not one.size:
        raise DataError(
            f"histograms of shapes {one.shape} and {two.shape}",
            field="counts",
            remedy="compare counts in the same bins",
        )
    if one.sum() <= 0 or two.sum() <= 0:
        return None
    classes = _coarse_classes(one, two, sigmas, range(one.size) if order is None else order)
    count = int(classes.max()) + 1
    if count < 2:
        return None
    members = np.bincount(classes, minlength=count)
    g, g_covariance = _shares(np.bincount(classes, one, count).astype(np.float64), sigmas[0], members)
    h, h_covariance = _shares(np.bincount(classes, two, count).astype(np.float64), sigmas[1], members)
    log = np.log(g / h)
    raw = float(((g - h) * log).sum())
    # V3
    curvature = (1 / g + h / g**2) @ np.diag(g_covariance) + (1 / h + g / h**2) @ np.diag(h_covariance)
    bias = 0.5 * float(curvature)
    # V4
    u, w = log + 1 - h / g, -log + 1 - g / h
    variance = float(u @ g_covariance @ u + w @ h_covariance @ w)
    low, high = _interval(raw, bias, variance)
    return Divergence(max(raw - bias, 0.0), low, high, raw, tuple(int(each) for each in classes))


def _coarse_classes(
    one: FloatArray, two: FloatArray, sigmas: tuple[float, float], order: Sequence[int]
) -> NDArray[np.int64]:
    """V1: bin → class."""
    bins = one.size
    totals = float(one.sum()), float(two.sum())
    weights = [total / (1 + bins * sigma**2 / total) for total, sigma in zip(totals, sigmas, strict=True)]
    pooled = np.maximum((one / totals[0] * weights[0] + two / totals[1] * weights[1]) / sum(weights), 0.0)
    pooled /= pooled.sum()
    classes = np.zeros(bins, dtype=np.int64)
    number, share, members = 0, 0.0, 0
    for bin in order:
        classes[bin] = number
        share, members = share + float(pooled[bin]), members + 1
        if all(
            share * total >= max(_CLEAR * sigma * members**0.5, _LEAST)
            for total, sigma in zip(totals, sigmas, strict=True)
        ):
            number, share, members = number + 1, 0.0, 0
    if members and number:
        classes[classes == number] = number - 1
    return classes


def _shares(counts: FloatArray, sigma: float, members: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """V2; a class that noise or chance left empty holds half a merchant, or half its noise."""
    noise = sigma * np.sqrt(members)
    held = np.maximum(counts, np.maximum(0.5, noise / 2))
    total = float(held.sum())
    share = held / total
    spread = np.eye(len(share)) - np.outer(share, np.ones(len(share)))
    sample = (np.diag(share) - np.outer(share, share)) / total
    return share, sample + spread @ np.diag(noise**2) @ spread.T / total**2


def _interval(raw: float, bias: float, variance: float) -> tuple[float, float]:
    """V5."""
    if raw <= 0 or variance <= 0:
        return 0.0, 4 * bias
    scale = variance / (4 * raw)
    freedom, found = max(bias / scale, 0.5), raw / scale
    if found > _NORMAL_FROM:
        half = 1.96 * variance**0.5
        return max(raw - bias - half, 0.0), raw - bias + half
    # Below its mean at J = 0, Ĵ says no more than that mean would: else luck would shrink the interval to nothing.
    ends = [_noncentrality(found, freedom, 1 - _TAIL), _noncentrality(max(found, freedom), freedom, _TAIL)]
    return scale * ends[0], scale * ends[1]


def _noncentrality(found: float, freedom: float, chance: float) -> float:
    """The noncentrality at which no more than `found` comes up with that chance; 0 where it is rarer at any."""
    from scipy.special import chndtr, chndtrinc  # noqa: PLC0415  (slow to import; the hub shows models and fits none)

    return float(chndtrinc(found, freedom, chance)) if float(chndtr(found, freedom, 0.0)) > chance else 0.0
