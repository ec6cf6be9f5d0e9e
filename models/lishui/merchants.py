"""Who the merchants are: trade, origin, place, time in business, and what nobody sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.lishui.places import COUNTIES, PROVINCES

SUPERMARKET, INN = 0, 1
TRADES = ("supermarket", "inn")

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_INNS = 0.4
_COUNTIES = np.array([share for _, share in COUNTIES.values()])
_PROVINCES = np.array([province.share for province in PROVINCES.values()])
_AREA = np.array([province.area for province in PROVINCES.values()])
# Those who run inns go to the large cities and where tourists are: Beijing, Shanghai, Hainan, Yunnan, Tibet.
_INN_LEANING = np.ones(len(PROVINCES))
for _code, _factor in {"110000": 1.6, "310000": 1.6, "460000": 2.5, "530000": 2.0, "540000": 2.0}.items():
    _INN_LEANING[list(PROVINCES).index(_code)] = _factor


@dataclass(frozen=True)
class Merchants:
    """A block of merchants, before any source has written anything down.

    Attributes:
        trade: (n,) `SUPERMARKET` or `INN`.
        county, province, area: (n,) indices into the tables of `places`.
        months_registered: (n,) whole months in business.
        size, health, discipline: (n,) standard normal, hidden: scale of the business, how well it goes, and how
            its owner keeps dates. All three stand behind what banks, tax bureaus and utilities see.
    """

    trade: Indices
    county: Indices
    province: Indices
    area: Indices
    months_registered: Indices
    size: Floats
    health: Floats
    discipline: Floats

    def __len__(self) -> int:
        return len(self.trade)


def draw_merchants(rng: np.random.Generator, count: int) -> Merchants:
    """Merchants at random, (count,) of each attribute."""
    trade = (rng.random(count) < _INNS).astype(np.int64)
    county = rng.choice(len(COUNTIES), size=count, p=_COUNTIES / _COUNTIES.sum())
    province = np.where(trade == INN, _places(rng, count, _PROVINCES * _INN_LEANING), _places(rng, count, _PROVINCES))
    size, health, discipline = rng.standard_normal((3, count))
    # Who keeps dates also keeps the business in order, somewhat.
    discipline = 0.3 * health + np.sqrt(1 - 0.3**2) * discipline
    months = 6 + rng.gamma(1.6, 36.0, count) * np.exp(0.1 * health)  # the unhealthy close sooner
    return Merchants(
        trade=trade,
        county=county,
        province=province,
        area=_AREA[province],
        months_registered=np.minimum(np.floor(months), 360).astype(np.int64),
        size=size,
        health=health,
        discipline=discipline,
    )


def _places(rng: np.random.Generator, count: int, weights: Floats) -> Indices:
    return rng.choice(len(weights), size=count, p=weights / weights.sum())
