"""What (ε, δ) allows any attack, from the product's own accountant (`models.accounting`).

For every point (ε′, δ′) of the accountant's curve, and any event S that an attacker may name,
P[S | in] ≤ e^ε′ · P[S | out] + δ′, and the same with the worlds exchanged. Hence
TPR − FPR ≤ (e^ε′ − 1 + 2δ′)/(e^ε′ + 1); and for Gaussian noise TPR − FPR ≤ 2Φ(μ/2) − 1
(Dong, Roth, Su 2022, "Gaussian differential privacy").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from models.accounting import epsilon_of, gdp_mu
from models.mechanisms import Adjacency, Mechanism

_DELTAS = (1e-3, 1e-2, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8)
_BELOW = 0.998
_ABOVE = (1.0001, 1.001, 1.01, 1.05)


@dataclass(frozen=True)
class Claims:
    """What is claimed of one released thing.

    Attributes:
        epsilon, delta: the claim that its budget is in.
        mu: of its mechanisms, all taken as Gaussian.
        curve: points (ε′, δ′) that all hold at once, that of the budget first, that of ε′ = 0 last.
        mechanisms, adjacency: what was accounted.
    """

    epsilon: float
    delta: float
    mu: float
    curve: tuple[tuple[float, float], ...]
    mechanisms: tuple[Mechanism, ...] = ()
    adjacency: Adjacency = "replaced-by-empty"

    @property
    def advantage_of_epsilon(self) -> float:
        """The largest TPR − FPR that (ε, δ) allows."""
        return advantage_bound(self.epsilon, self.delta)

    @property
    def advantage(self) -> float:
        """The largest TPR − FPR that the whole curve allows."""
        return min(advantage_bound(epsilon, delta) for epsilon, delta in self.curve)

    @property
    def advantage_of_mu(self) -> float:
        """2Φ(μ/2) − 1; of sampled rounds it is an approximation."""
        return float(2 * ndtr(self.mu / 2) - 1)

    def found_at(self, false_alarms: float) -> float:
        """The largest TPR that the accountant allows at this FPR: the least e^ε′ · FPR + δ′ of all δ′, searched for."""

        def allowed(logarithm: float) -> float:
            delta = math.exp(logarithm)
            epsilon = epsilon_of(self.mechanisms, delta, adjacency=self.adjacency)
            return math.exp(epsilon) * false_alarms + delta

        ends = math.log(self.delta), -0.01
        found = minimize_scalar(allowed, bounds=ends, method="bounded", options={"xatol": 0.05})
        return min(1.0, float(found.fun))


def advantage_bound(epsilon: float, delta: float) -> float:
    """(e^ε − 1 + 2δ) / (e^ε + 1), at most 1."""
    return min(1.0, math.tanh(epsilon / 2) + 2 * delta / (math.exp(epsilon) + 1))


@lru_cache(maxsize=64)
def claims_of(mechanisms: tuple[Mechanism, ...], delta: float, adjacency: Adjacency = "replaced-by-empty") -> Claims:
    """The accountant's curve of these mechanisms at δ and at larger ones.

    Raises:
        BudgetError: δ or a mechanism is malformed.
    """
    curve = [(epsilon_of(mechanisms, each, adjacency=adjacency), each) for each in (delta, *_DELTAS)]
    mu = gdp_mu(mechanisms, adjacency=adjacency)
    last = (0.0, _total_variation(mechanisms, mu, adjacency))
    return Claims(
        epsilon=curve[0][0],
        delta=delta,
        mu=mu,
        curve=(*((epsilon, each) for epsilon, each in curve if epsilon > 0), last),
        mechanisms=mechanisms,
        adjacency=adjacency,
    )


def _total_variation(mechanisms: Sequence[Mechanism], mu: float, adjacency: Adjacency) -> float:
    """A δ at which ε is 0, just above the least: first beside the Gaussian's."""

    def costs_nothing(delta: float) -> bool:
        return epsilon_of(mechanisms, delta, adjacency=adjacency) == 0

    gaussian = float(2 * ndtr(mu / 2) - 1)
    if not costs_nothing(_BELOW * gaussian):
        for factor in _ABOVE:
            if factor * gaussian < 1 and costs_nothing(factor * gaussian):
                return factor * gaussian
    # Sampled rounds are far from the Gaussian of their μ: halve in on the least δ.
    low, high = 0.0, 1.0 - 1e-12
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if costs_nothing(middle) else (middle, high)
    return high
