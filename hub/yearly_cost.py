"""What several like campaigns cost together, by the accountant that nodes' ledgers use (docs/privacy.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from models.accounting import epsilon_of, gdp_epsilon, gdp_mu, usable_delta
from models.errors import BudgetError
from models.mechanisms import Mechanism

_ROUNDING = 1e-9
"""Relative, for campaigns that ask exactly the limit; ledgers allow the same."""
MOST = 1000


@dataclass(frozen=True)
class Composition:
    """So many campaigns together.

    Attributes:
        epsilon: at the δ of one campaign, composed; infinite beyond what the accountant follows.
        plain_sum: of their ε, which holds at the sum of their δ.
    """

    campaigns: int
    epsilon: float
    plain_sum: float


def composed(
    campaign: Sequence[Mechanism],
    times: int,
    *,
    delta: float,
    delta_sum: float = 0.0,
    before: Sequence[Mechanism] = (),
) -> float:
    """ε at `delta` of a campaign run so many times after what was spent before.

    Args:
        campaign: its mechanisms.
        times: how often.
        delta: of all together, not of each.
        delta_sum: distance of a campaign's summed noise shares from the discrete Gaussian.
        before: mechanisms of what was spent.

    Returns:
        Infinity where the shares' distances use δ up, or ε passes what the accountant follows.
    """
    mechanisms = (*before, *(tuple(campaign) * times))
    distance = times * delta_sum
    if not distance:
        return _epsilon_of(mechanisms, delta)
    # ε has to be guessed before the part of δ that the distances cost is known; a guess that was passed proves nothing.
    guess = 1.02 * _limit_epsilon(gdp_mu(mechanisms) ** 2, delta) + 0.02
    for factor in (1.0, 1.1, 1.5):
        try:
            reached = _epsilon_of(mechanisms, usable_delta(min(factor * guess, 100.0), delta, distance))
        except BudgetError:
            return math.inf
        if reached <= factor * guess:
            return reached
    return math.inf


def most_within(
    limit: float,
    campaign: Sequence[Mechanism],
    *,
    delta: float,
    delta_sum: float = 0.0,
    before: Sequence[Mechanism] = (),
) -> int:
    """How many such campaigns a limit allows after what was spent, at most `MOST`.

    Args:
        limit: ε.
        campaign, delta, delta_sum, before: as in `composed`.
    """

    def allowed(times: int) -> bool:
        if times == 0:
            return True
        return composed(campaign, times, delta=delta, delta_sum=delta_sum, before=before) <= limit * (1 + _ROUNDING)

    own, spent = gdp_mu(campaign) ** 2, gdp_mu(before) ** 2
    if own == 0:
        return MOST
    # The Gaussian limit is off by far less than one campaign; the exact composition then decides.
    times = 0
    while times < MOST and _limit_epsilon(spent + (times + 1) * own, delta) <= limit:
        times += 1
    while times > 0 and not allowed(times):
        times -= 1
    while times < MOST and allowed(times + 1):
        times += 1
    return times


@lru_cache(maxsize=256)
def _epsilon_of(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    return epsilon_of(mechanisms, delta)


def _limit_epsilon(mu_squared: float, delta: float) -> float:
    try:
        return gdp_epsilon(math.sqrt(mu_squared), delta)
    except BudgetError:
        return math.inf
