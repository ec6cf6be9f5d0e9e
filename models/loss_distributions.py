"""Privacy loss distributions of mechanisms, pessimistic: never below the true loss (see `models.accounting`)."""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import TYPE_CHECKING

import numpy as np

from models.mechanisms import Adjacency, DiscreteGaussianCells, GaussianRounds, Mechanism, Parallel

if TYPE_CHECKING:
    from dp_accounting.pld import privacy_loss_distribution as pld

_INTERVAL = 1e-4
_EPSILON_FAR = 500.0
"""Beyond every finite loss: what is left of δ there is the mass of the infinite one."""
_NEGLIGIBLE = 1e-15


@lru_cache(maxsize=32)
def loss_distribution(mechanism: Mechanism, adjacency: Adjacency) -> pld.PrivacyLossDistribution:
    """The loss distribution of one mechanism, whose noise is not zero."""
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415 (a second to import, rarely needed)

    if isinstance(mechanism, Parallel):
        return _envelope(mechanism, adjacency)
    replaced = adjacency == "replace-one"
    if isinstance(mechanism, DiscreteGaussianCells):
        cell = pld.from_discrete_gaussian_mechanism(
            mechanism.sigma * mechanism.scale,
            sensitivity=mechanism.scale,
            value_discretization_interval=_INTERVAL,
            use_connect_dots=True,
        )
        return cell.self_compose(mechanism.count * (2 if replaced else 1))
    if mechanism.sampling_rate < 1:
        return _sampled_rounds(mechanism, replaced=replaced)
    # Adaptive composition of R Gaussian mechanisms is one Gaussian mechanism of √R times the sensitivity.
    sensitivity = math.sqrt(mechanism.rounds * (4 if replaced else 1))
    return pld.from_gaussian_mechanism(
        mechanism.sigma_over_sensitivity / sensitivity,
        value_discretization_interval=_INTERVAL,
        use_connect_dots=True,
    )


def _sampled_rounds(mechanism: GaussianRounds, *, replaced: bool) -> pld.PrivacyLossDistribution:
    from dp_accounting import NeighboringRelation  # noqa: PLC0415 (as above)
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415

    one = pld.from_gaussian_mechanism(
        mechanism.sigma_over_sensitivity,
        sampling_prob=mechanism.sampling_rate,
        neighboring_relation=NeighboringRelation.REPLACE_ONE if replaced else NeighboringRelation.ADD_OR_REMOVE_ONE,
        value_discretization_interval=_INTERVAL,
        use_connect_dots=True,
    )
    return one.self_compose(mechanism.rounds)


def _envelope(parallel: Parallel, adjacency: Adjacency) -> pld.PrivacyLossDistribution:
    """A loss distribution that dominates every part's: the largest δ of all at each ε of the grid, dots connected."""
    from dp_accounting.pld import pld_pmf  # noqa: PLC0415 (as above)
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415

    curves = [
        reduce(lambda left, right: left.compose(right), [loss_distribution(each, adjacency) for each in part])
        for part in parallel.parts
        if part
    ]
    far = [curve.get_delta_for_epsilon(_EPSILON_FAR) for curve in curves]
    half = 1
    while any(
        curve.get_delta_for_epsilon(half * _INTERVAL) > rest + _NEGLIGIBLE
        for curve, rest in zip(curves, far, strict=True)
    ):
        half *= 2
    grid = np.arange(-half, half + 1)
    largest = np.max([curve.get_delta_for_epsilon(grid * _INTERVAL) for curve in curves], axis=0)
    # Rounding may let a computed curve rise by 1e-16; the least decreasing bound above it does not.
    falling = np.minimum(np.maximum.accumulate(largest[::-1])[::-1], 1.0)
    return pld.PrivacyLossDistribution(pld_pmf.create_pmf_pessimistic_connect_dots(_INTERVAL, grid, falling))
