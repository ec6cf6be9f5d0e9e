"""What the merchants turn over, month by month: shops flat with a peak at Spring Festival, inns with their season."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.lishui.merchants import INN, Merchants
from models.lishui.places import PROVINCES

Floats = NDArray[np.float64]

MONTHS = 12
_BASE = np.array([620_000.0, 480_000.0])  # yuan a year of a middling shop and inn
_SHOP_SEASON = np.array([1.2, 1.16, 0.94, 0.93, 0.97, 0.95, 0.98, 0.98, 0.96, 0.99, 0.95, 0.99])
_HOLIDAYS = np.array([1, 1, 1, 1, 1.12, 1, 1, 1, 1, 1.15, 1, 1])  # the weeks of May and October
_WEALTH = np.array([province.wealth for province in PROVINCES.values()])
_PEAK = np.array([province.peak for province in PROVINCES.values()])


@dataclass(frozen=True)
class Turnover:
    """True turnover of the last calendar year, whatever was declared.

    Attributes:
        months: (n, 12) yuan, January first.
        growth: (n,) of the year against the one before, as a share.
        amplitude: (n,) how seasonal; 0 for shops.
    """

    months: Floats
    growth: Floats
    amplitude: Floats

    @property
    def year(self) -> Floats:
        """(n,) yuan."""
        return np.asarray(self.months.sum(axis=1))

    @property
    def low_season(self) -> Floats:
        """(n,) the three weakest months' share of the year; a quarter where all are alike."""
        return np.asarray(np.partition(self.months, 3, axis=1)[:, :3].sum(axis=1) / self.year)


def draw_turnover(rng: np.random.Generator, who: Merchants) -> Turnover:
    """Turnover at random, given who they are."""
    count = len(who)
    year = _BASE[who.trade] * np.exp(
        _WEALTH[who.province] + 0.55 * who.size + 0.18 * who.health + 0.2 * rng.standard_normal(count)
    )
    growth = 0.04 + 0.13 * who.health + 0.15 * rng.standard_normal(count)
    expanding = rng.random(count) < 0.06  # a second shop, or a larger house
    growth = np.maximum(growth + expanding * rng.uniform(0.4, 1.2, count), -0.9)
    amplitude = np.where(who.trade == INN, rng.uniform(0.35, 1.0, count), 0.0)

    month = np.arange(MONTHS)
    wave = np.cos(2 * np.pi * (month[None, :] - np.arange(MONTHS)[:, None]) / MONTHS)  # peak month × month
    inn = np.exp(amplitude[:, None] * wave[_PEAK[who.province]]) * _HOLIDAYS
    season = np.where((who.trade == INN)[:, None], inn, _SHOP_SEASON)
    season *= np.exp(0.1 * rng.standard_normal((count, MONTHS)))
    season *= 1 + growth[:, None] * (month - 5.5) / MONTHS
    season /= season.sum(axis=1, keepdims=True)
    return Turnover(months=year[:, None] * season, growth=growth, amplitude=amplitude)
