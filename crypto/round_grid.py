"""The integer grid of encoder rounds: noise shares and the range of their sums (docs/protocol.md, 3 and 5).

Terms give the total σ of a round in grid units. Hub, witness and nodes derive the rest from them alike, as
`crypto.table_grid` does for tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ManifestError, NoiseError
from crypto.noise import SMALLEST_SIGMA, discrete_gaussian, share_sigma, sum_delta
from crypto.secure_sum import sum_bound
from crypto.wire.campaign import EncoderTerms, RoundOrder, Terms


@dataclass(frozen=True)
class RoundGrid:
    """Share and range of every try of a run.

    Attributes:
        parameters: length P of the vector.
        share_sigma: σ of one node's share in grid units; 0 where noise is off.
        bound: largest magnitude of an honest total.
        delta_sum: distance of all charged attempts' summed shares from discrete Gaussians.
    """

    parameters: int
    share_sigma: float
    bound: int
    delta_sum: float

    def share(self) -> NDArray[np.int64] | None:
        """(P,) one node's noise share, or `None` where noise is off."""
        return discrete_gaussian(self.parameters, self.share_sigma) if self.share_sigma else None


def round_grid(encoder: EncoderTerms, *, n_nodes: int, t_collude: int, cohort_size: int, noise: bool) -> RoundGrid:
    """What the terms imply for every round.

    Args:
        encoder: the encoder's part of the terms.
        n_nodes: nodes that add noise, all of the attempt's.
        t_collude: colluding nodes that the promise withstands.
        cohort_size: merchants whose gradients are summed.
        noise: off only for synthetic data.

    Raises:
        NoiseError: n and t, or σ, outside the range of the argument.
        RangeError: the sum might wrap.
    """
    # A row's clipped gradient is at most C/g in each coordinate, and half a unit more when it is rounded.
    largest = cohort_size * (math.ceil(encoder.clip / encoder.grid) + 1)
    if not noise:
        return RoundGrid(encoder.parameters, 0.0, sum_bound(largest, 0.0, width=64), 0.0)
    share = share_sigma(encoder.sigma_grid, n_nodes, t_collude)
    if share < SMALLEST_SIGMA:
        raise NoiseError(
            f"a noise share of sigma {share:g} is below {SMALLEST_SIGMA:g}",
            field="grid",
            remedy="use a finer grid for the gradients",
        )
    bound = sum_bound(largest, share * math.sqrt(n_nodes), width=64)
    distance = sum_delta(share, n_nodes, encoder.parameters * encoder.charged_attempts)
    return RoundGrid(encoder.parameters, share, bound, distance)


def terms_rounds(terms: Terms) -> RoundGrid:
    """The grid of the rounds that terms describe.

    Raises:
        ManifestError: these are not terms of an encoder.
        NoiseError, RangeError: as `round_grid`.
    """
    return round_grid(
        encoder_terms(terms),
        n_nodes=len(terms.roster),
        t_collude=terms.privacy.t_collude,
        cohort_size=terms.cohort_size,
        noise=terms.privacy.noise == "on",
    )


def encoder_terms(terms: Terms) -> EncoderTerms:
    """The encoder's part of the terms.

    Raises:
        ManifestError: there is none.
    """
    if terms.encoder is None:
        raise ManifestError(
            f"the terms of attempt {terms.attempt} describe no encoder",
            field="encoder",
            remedy="refuse the attempt; the hub must issue terms of the encoder stage",
        )
    return terms.encoder


def try_id(order: RoundOrder) -> str:
    """The id of one try of a round: the attempt that its bytes and its charge belong to."""
    return f"{order.attempt}/{order.round}.{order.number}"


def mask_id(order: RoundOrder) -> str:
    """What a try's masks are bound to: the try, and the parameters at which its gradients are taken.

    Terms of parties that were ordered different parameters have masks that do not cancel, so that they open to nothing.
    """
    return f"{try_id(order)}/{order.parameters_sha256.hex()}"
