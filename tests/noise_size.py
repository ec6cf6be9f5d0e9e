"""Whether drawn noise has the size that was promised: an exact test, as noise cannot be seeded."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from scipy import stats

FALSE_ALARM = 1e-8
"""Probability with which right noise is called too small, and with which it is called too large."""


def has_size(noise: NDArray[Any], sigma: float) -> bool:
    """Whether the sum of squares is one that Gaussians of `sigma` have.

    Its law is chi-square, whose upper tail is far heavier than a Gaussian's where cells are few: "six standard
    deviations" of 46 cells refuse right noise once in 400,000 runs. Discrete Gaussians of σ ≥ 2 on their grid have the
    same moments to ten digits and more.

    Args:
        noise: independent cells, any shape.
        sigma: σ of every cell, in the unit of `noise`.
    """
    law = stats.chi2(noise.size)
    squares = float((noise.astype(float) ** 2).sum()) / sigma**2
    return bool(law.ppf(FALSE_ALARM) < squares < law.isf(FALSE_ALARM))
