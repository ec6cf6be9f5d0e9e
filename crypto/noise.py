"""Discrete Gaussian noise in shares, and the integer grid of encoder sums (docs/protocol.md, 3 and 5).

Samples are OpenDP's exact discrete Gaussians (Canonne, Kamath, Steinke 2020): P(x) ∝ exp(−x² / 2σ²) over the
integers, from the operating system's randomness; no floating-point artefacts.

Shares (Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
Aggregation"). Of n noising nodes, up to t may tell each other (and whoever opens the sum) their own noise; subtracting
it leaves n − t shares. Each share has σ/√(n−t), so what is left always has at least the σ that was promised. A sum of
discrete Gaussians is not exactly one; the paper bounds, for m independent shares of σ_i² ≥ 1/2 and every integer z,

    |log P[Σ X_i = z] − log P[N_Z(0, m σ_i²) = z]| ≤ τ = 10 · Σ_{k=1}^{m−1} exp(−2π² σ_i² k/(k+1)).

Over c independent cells the log-ratio is at most cτ, so the two products are within total variation
1 − exp(−cτ) ≤ cτ. A mechanism at that distance from an (ε, δ)-private one is
(ε, δ + (1 + e^ε) · distance)-private;
`sum_delta` gives the distance, the accountant of the campaign adds it.

Assumptions: at least n − t nodes draw their share as written; σ_i ≥ 2 (`grid_scale` multiplies counts by a
power of two where the share would be smaller), where τ is below 1e-16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import NoiseError, RangeError

SMALLEST_SIGMA = 2.0
_LARGEST_SIGMA = float(1 << 50)
_BULK = 1 << 16

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


def discrete_gaussian(n: int, sigma: float) -> Int64:
    """Draws n exact discrete Gaussian samples (11–14 µs each, conversions included).

    Args:
        n: how many.
        sigma: standard deviation on the integer grid, from 2 to 2^50.

    Returns:
        (n,), int64.

    Raises:
        NoiseError: sigma is outside its range or not finite, or n is negative.
    """
    if n < 0:
        raise NoiseError(f"{n} samples were asked for", field="n", remedy="ask for zero samples or more")
    if not SMALLEST_SIGMA <= sigma <= _LARGEST_SIGMA:
        raise NoiseError(
            f"a noise share of sigma {sigma} is outside {SMALLEST_SIGMA} to 2^50",
            field="sigma",
            remedy="multiply counts and sigma by grid_scale(sigma), or use a coarser grid",
        )
    measurement = _gaussian_measurement(sigma)
    parts = [np.array(measurement([0] * min(_BULK, n - start)), dtype=np.int64) for start in range(0, n, _BULK)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _gaussian_measurement(sigma: float) -> Any:
    # Loads a native library that the hub does not need; `opendp.prelude` would load scikit-learn too.
    from opendp.domains import atom_domain, vector_domain  # noqa: PLC0415
    from opendp.measurements import make_gaussian  # noqa: PLC0415
    from opendp.metrics import l2_distance  # noqa: PLC0415
    from opendp.mod import enable_features  # noqa: PLC0415

    enable_features("contrib")
    return make_gaussian(vector_domain(atom_domain(T="i64")), l2_distance(T="f64"), scale=sigma)


def share_sigma(sigma: float, n_noising: int, t_collude: int) -> float:
    """σ of one node's share so that any n − t shares together reach `sigma`.

    Args:
        sigma: standard deviation that the opened sum must have against t colluding nodes.
        n_noising: nodes that add noise, n.
        t_collude: colluding nodes tolerated, t ≥ 1, n − t ≥ 1.

    Raises:
        NoiseError: t or n outside these limits, or sigma not positive and finite.
    """
    if t_collude < 1 or n_noising - t_collude < 1:
        raise NoiseError(
            f"{n_noising} noising nodes cannot tolerate {t_collude} colluding ones",
            field="t_collude",
            remedy="tolerate at least one colluding node and have at least one more noising node than that",
        )
    if not (sigma > 0 and math.isfinite(sigma)):
        raise NoiseError(f"sigma {sigma} is not positive and finite", field="sigma", remedy="give a positive sigma")
    return sigma / math.sqrt(n_noising - t_collude)


def grid_scale(sigma_share: float) -> int:
    """The smallest power of two that brings a share to σ ≥ 2 when counts and σ are multiplied by it.

    Raises:
        NoiseError: the share is not positive, or so small that the scale would exceed 2^20.
    """
    if not sigma_share > 0 or sigma_share * (1 << 20) < SMALLEST_SIGMA:
        raise NoiseError(
            f"a noise share of sigma {sigma_share} is too small for an integer grid",
            field="sigma",
            remedy="raise sigma (a smaller epsilon)",
        )
    scale = 1
    while sigma_share * scale < SMALLEST_SIGMA:
        scale *= 2
    return scale


def sum_delta(sigma_share: float, n_shares: int, n_cells: int) -> float:
    """Total variation between summed shares and one discrete Gaussian, over all cells (module docstring).

    Args:
        sigma_share: σ of each share on the integer grid.
        n_shares: shares in the sum. The bound grows with it, so give all noising nodes.
        n_cells: released cells.

    Returns:
        At most 1. An (ε, δ) claim for the ideal noise becomes (ε, δ + (1 + e^ε) · this).

    Raises:
        NoiseError: σ² < 1/2, where the bound does not hold, or no shares.
    """
    if not sigma_share**2 >= 0.5 or n_shares < 1 or n_cells < 0:
        raise NoiseError(
            f"no bound is known for {n_shares} shares of sigma {sigma_share} on {n_cells} cells",
            field="sigma",
            remedy="use shares of sigma at least 2 on the integer grid",
        )
    tau = 10.0 * math.fsum(math.exp(-2.0 * math.pi**2 * sigma_share**2 * k / (k + 1)) for k in range(1, n_shares))
    return -math.expm1(-n_cells * tau)


def quantise(x: Float64, grid: float, *, limit: int = 1 << 52) -> Int64:
    """Rounds to the nearest multiples of `grid`, halves to even.

    Rounding moves each coordinate by at most grid/2, so a vector of P coordinates clipped to norm C changes a
    sum by at most C/grid + √P grid units when it is left out (`grid_sensitivity`).

    Args:
        x: any shape, float64.
        grid: spacing, positive.
        limit: largest magnitude allowed, in grid units, at most 2^52 (doubles are exact there).

    Returns:
        int64, the shape of x, in grid units.

    Raises:
        RangeError: a value is not finite or beyond the limit; never clipped silently.
    """
    if not (grid > 0 and math.isfinite(grid)):
        raise RangeError(f"grid {grid} is not positive", field="grid", remedy="give a positive grid")
    scaled = np.asarray(x, dtype=np.float64) / grid
    if not np.all(np.abs(scaled) <= min(limit, 1 << 52)):
        raise RangeError(
            "a value is not finite or beyond the range of the grid",
            field="x",
            remedy="clip values before the sum, or use a coarser grid",
        )
    return np.rint(scaled).astype(np.int64)


def dequantise(q: Int64, grid: float) -> Float64:
    """Grid units back to numbers."""
    return q.astype(np.float64) * grid


def grid_sensitivity(clip: float, grid: float, n_coordinates: int, *, replace_one: bool = False) -> float:
    """L2 sensitivity, in grid units, of a rounded sum of vectors of norm at most `clip`: C/g + √P.

    One contribution moves the exact sum by at most C/g, and each of the two sums compared is rounded by at
    most √P/2. Replacing one vector by another moves the sum by at most 2C/g; 2C/g + 2√P is charged.
    """
    sensitivity = clip / grid + math.sqrt(n_coordinates)
    return 2 * sensitivity if replace_one else sensitivity
