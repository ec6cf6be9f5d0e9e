"""A node's side of an encoder round: the sum of its rows' clipped gradients on the grid (docs/protocol.md, 5).

**Why rows are rounded one by one.** A float sum depends on the order of its terms, so that the sums with and without
one row can differ by more than that row (Casacuberta et al. 2022, "Widespread underestimation of sensitivity"). Here
each row's gradient is clipped in float64 and rounded to integers of the grid; the integers, all below 2^53, add up
exactly in any order. Rows without outcome stay in their place with weight zero, so that an empty row leaves the
shape of every matrix product, and with it the other rows' float32 results, as they were; so do rows that a sampled
round leaves out. One merchant, who is at one
node of the kind, then changes the total by its own integer vector alone, of norm at most C/g + √P/2, within the
C/g + √P of `models.encoder_spec.sensitivity_on_grid`.

Assumes an honest node: clipping is enforced at the source.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from torch.nn.functional import binary_cross_entropy_with_logits

from models.codes import DEFAULTED, UNLABELLED
from models.encoder import Encoder, one_hot_rows
from models.encoder_scores import check_codes
from models.errors import DataError

CPU = torch.device("cpu")
_BLOCK_NUMBERS = 1 << 21
_CLIP_GUARD = 1e-6  # as in Opacus' DPOptimizer, so that both clip alike


def clipped_gradient_sum(
    module: Encoder,
    codes: NDArray[np.uint8],
    outcome: NDArray[np.uint8],
    *,
    clip: float,
    grid: float,
    taking_part: NDArray[np.bool_] | None = None,
    device: torch.device = CPU,
) -> NDArray[np.int64]:
    """Sum over rows of the clipped, rounded gradients of the logistic loss.

    Per-sample gradients come from Opacus' hooks; rows without outcome add nothing. Memory does not grow with n.

    Args:
        module: the encoder with the round's parameters; left unchanged.
        codes: (n, F) uint8 bins.
        outcome: (n,) uint8: 0 defaulted, 1 performing, 2 no label yet.
        clip: bound C of a row's gradient in L2.
        grid: g.
        taking_part: (n,) rows of this round, from `models.sampling`; all where None. The others add nothing.
        device: from `models.encoder.choose_device`. Gradients are float32 and clipped in float64 on either; they differ
            by rounding alone, and the integers add up exactly.

    Returns:
        (P,) int64 in grid units, in the order of the flat parameters.

    Raises:
        DataError: codes or outcomes do not fit, or the sum could pass 2^53.
    """
    check_codes(module.spec, codes)
    check_outcome(outcome, len(codes))
    if len(codes) * (clip / grid + 1) >= 2**53:
        raise DataError(
            f"{len(codes)} rows on a grid of {grid:g} could pass 2^53", field="grid", remedy="use a coarser grid"
        )
    counted = outcome != UNLABELLED
    if taking_part is not None:
        if taking_part.shape != outcome.shape:
            raise DataError("one coin per row is needed", field="taking_part", remedy="sample the rows of this node")
        counted &= taking_part
    weight = torch.from_numpy(counted.astype(np.float32)).to(device)
    target = torch.from_numpy((outcome == DEFAULTED).astype(np.float32)).to(device)
    sampler = GradSampleModule(copy.deepcopy(module).to(device), batch_first=True, loss_reduction="sum")
    total = torch.zeros(module.spec.n_parameters, dtype=torch.float64, device=device)
    block = max(1, _BLOCK_NUMBERS // module.spec.n_parameters)
    with _same_every_time(device):
        for start in range(0, len(codes), block):
            rows = slice(start, start + block)
            sampler.zero_grad(set_to_none=True)
            # Opacus hooks every layer; torch warns where a hooked layer has no input that needs a gradient.
            logits = sampler(one_hot_rows(module.spec, codes[rows]).to(device).requires_grad_())
            losses = binary_cross_entropy_with_logits(logits, target[rows], weight=weight[rows], reduction="sum")
            losses.backward()  # type: ignore[no-untyped-call]
            samples = [parameter.grad_sample for parameter in sampler.parameters()]
            total += _clip_and_round(samples, clip, grid).sum(dim=0)
    sums: NDArray[np.int64] = total.cpu().numpy().astype(np.int64)
    return sums


def check_outcome(outcome: NDArray[np.uint8], n_rows: int) -> None:
    """Check outcomes (n,) uint8 in {0, 1, 2}.

    Raises:
        DataError: wrong shape, type or value.
    """
    if outcome.shape != (n_rows,) or outcome.dtype != np.uint8 or (outcome > UNLABELLED).any():
        raise DataError(
            f"outcomes must be {n_rows} codes 0 (defaulted), 1 (performing) or 2 (no label)",
            field="outcome",
            remedy="encode the label column with the campaign's schema",
        )


@contextmanager
def _same_every_time(device: torch.device) -> Iterator[None]:
    """Full float32, and the same kernels for the same shapes: else one row could change how the others are rounded."""
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.matmul.allow_tf32
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cuda.matmul.allow_tf32 = before[1]


def _clip_and_round(samples: list[torch.Tensor], clip: float, grid: float) -> torch.Tensor:
    """(n, P) float64 whole numbers: per-sample gradients, clipped over all layers together and put on the grid."""
    gradients = torch.cat([sample.reshape(len(sample), -1) for sample in samples], dim=1).double()
    # Parameters that overflow float32 inside the module must not break the bound: such coordinates count as zero.
    gradients = torch.nan_to_num(gradients, nan=0.0, posinf=0.0, neginf=0.0)
    norms = gradients.norm(dim=1)
    factors = (clip / (norms + _CLIP_GUARD)).clamp(max=1.0)
    return torch.round(gradients * (factors / grid)[:, None])
