"""What a campaign releases, as the privacy accountant sees it: mechanisms with their noise (docs/protocol.md, 4 and 5).

`models.accounting` says what they cost, alone and together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Adjacency = Literal["replaced-by-empty", "replace-one"]


@dataclass(frozen=True)
class DiscreteGaussianCells:
    """`count` cells that one merchant touches, by one count each.

    Attributes:
        sigma: of the discrete Gaussian noise, in counts.
        scale: units of the noise's integer grid in one count. On it the noise has σ·scale, the sensitivity is `scale`.
    """

    sigma: float
    count: int
    scale: int = 1


@dataclass(frozen=True)
class GaussianRounds:
    """`rounds` charged rounds, each with Gaussian noise of `sigma_over_sensitivity`.

    Attributes:
        sampling_rate: probability with which a row takes part in a round, independently of all else and in secret.
    """

    sigma_over_sensitivity: float
    rounds: int
    sampling_rate: float = 1.0


@dataclass(frozen=True)
class Parallel:
    """Mechanisms of two or more populations without a common merchant, e.g. training and evaluation of one campaign."""

    parts: tuple[tuple[DiscreteGaussianCells | GaussianRounds, ...], ...]


Mechanism = DiscreteGaussianCells | GaussianRounds | Parallel
