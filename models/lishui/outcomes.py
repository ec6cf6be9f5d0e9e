"""What became of the loans: default within 12 and 24 months, by a hazard that no straight line in the features gives.

Beside the hidden health and discipline it has what banks know from experience: a nearly used-up line is worse than
proportionally so, most of all where the business shrinks; fast growth is a risk as well as decline; an inn with a
deep low season needs reserves; the first year is the hardest. Effects and sizes are invented.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.lishui.merchants import INN, Merchants
from models.lishui.turnover import Turnover

Floats = NDArray[np.float64]

_INTERCEPT = -3.75
_SHAPE = 1.3  # defaults come later rather than sooner: cumulative hazard ∝ t^1.3
_MONTHS = 24
_TOO_RECENT = 0.12  # loans that have not been watched for 24 months yet
_AREA_RISK = np.array([0.0, 0.2, -0.1, 0.05, 0.1, 0.05, 0.15])


@dataclass(frozen=True)
class Outcomes:
    """What became of the loans.

    Attributes:
        probability: (n,) true probability of default within 24 months.
        month: (n,) month of the default, 1 to 24, or 0.
        known: (n,) whether the 24 months are over; independent of the outcome.
    """

    probability: Floats
    month: NDArray[np.int64]
    known: NDArray[np.bool_]

    def columns(self) -> dict[str, pl.Series]:
        """`default_24m` and `default_12m`: 1, 0, or null where there is no outcome yet."""
        unknown = pl.Series([None], dtype=pl.Int64)
        known = pl.Series(self.known)
        within = {12: (self.month > 0) & (self.month <= 12), 24: self.month > 0}
        return {
            f"default_{months}m": pl.Series(within[months].astype(np.int64)).zip_with(known, unknown)
            for months in (24, 12)
        }


def draw_outcomes(rng: np.random.Generator, who: Merchants, trading: Turnover, utilisation: pl.Series) -> Outcomes:
    """Defaults at random.

    Args:
        utilisation: (n,) of the credit line, null where there is none.
    """
    drawn = utilisation.fill_null(0.3).to_numpy()
    tight = np.maximum(drawn - 0.75, 0.0) / 0.25
    shrinking = trading.growth < -0.1
    hollow = (who.trade == INN) * np.maximum(0.19 - trading.low_season, 0.0) / 0.05
    logit = (
        _INTERCEPT
        - 0.75 * who.health
        - 0.65 * who.discipline
        - 0.2 * who.size
        + 0.9 * tight
        + 1.3 * tight * shrinking
        + 1.1 * (trading.growth > 0.45)
        + 0.5 * hollow
        + 0.8 * (who.months_registered < 12)
        + _AREA_RISK[who.area]
    )
    probability = 1 / (1 + np.exp(-logit))
    # Invert P(T ≤ t) = 1 − (1 − p)^((t / 24)^1.3) at one uniform number a merchant, so that 12 months lie within 24.
    uniform = rng.random(len(who))
    with np.errstate(divide="ignore"):
        when = _MONTHS * (np.log1p(-uniform) / np.log1p(-probability)) ** (1 / _SHAPE)
    month = np.where(when <= _MONTHS, np.ceil(when), 0).astype(np.int64)
    return Outcomes(probability, month, rng.random(len(who)) >= _TOO_RECENT)
