"""Central reference runs: what one party holding all rows would train. For tests and benchmarks, not for campaigns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch.nn.functional import binary_cross_entropy_with_logits

from models.codes import DEFAULTED, UNLABELLED
from models.dpsgd import check_outcome, clipped_gradient_sum
from models.encoder import build, one_hot_rows, set_parameters
from models.encoder_spec import EncoderSpec
from models.encoder_step import apply_step, final_parameters, initial_parameters, initial_state, smoothing_matrix

Codes = NDArray[np.uint8]


def train_over(
    spec: EncoderSpec,
    parts: Sequence[tuple[Codes, Codes]],
    *,
    sigma_grid: float,
    noise: np.random.Generator,
    n_public: int,
    t_collude: int = 0,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Train over several nodes' (codes, outcome) in one process, each sum with its share of Gaussian noise.

    One part is central DP-SGD. The generator stands in for the cryptographic noise and the secret coins of a campaign:
    never use this on data that need protection.

    Args:
        spec: of the encoder.
        parts: per node, codes (n, F) and outcome (n,).
        sigma_grid: standard deviation of the total noise per round, in grid units; 0 for none.
        noise: source of the noise and of who takes part.
        n_public: number of rows for the mean.
        t_collude: each share is σ/√(nodes − t_collude), as in a campaign.
        start: (P,) first parameters; the specification's own where None.

    Returns:
        (P,) published parameters.
    """
    module = build(spec)
    parameters, state = initial_parameters(spec) if start is None else start, initial_state(spec)
    share = sigma_grid / np.sqrt(len(parts) - t_collude)
    for _ in range(spec.rounds):
        set_parameters(module, parameters)
        opened = np.zeros(spec.n_parameters, dtype=np.int64)
        for codes, outcome in parts:
            taking_part = noise.random(len(codes)) < spec.sampling_rate if spec.sampling_rate < 1 else None
            opened += clipped_gradient_sum(
                module, codes, outcome, clip=spec.clip, grid=spec.grid, taking_part=taking_part
            )
            if share > 0:
                opened += np.rint(noise.normal(0.0, share, spec.n_parameters)).astype(np.int64)
        parameters, state = apply_step(parameters, opened, n_public=n_public, spec=spec, state=state)
    return final_parameters(spec, parameters, state)


def train_with_opacus(
    spec: EncoderSpec,
    codes: Codes,
    outcome: Codes,
    *,
    n_public: int,
    taking_part: Sequence[NDArray[np.bool_]] | None = None,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Zero-noise central run by Opacus' own `GradSampleModule` and `DPOptimizer` over torch's SGD.

    In float64: float32 sums over thousands of like rows drift by 1e-5 of their value.

    The hub's smoothing of the gradient is put in by the optimizer's step hook. Sampled rounds are batches of the rows
    that `taking_part` names for each, (n,) bool. `start` is as in `train_over`. Returns (P,) published parameters.
    """
    check_outcome(outcome, len(codes))
    labelled = outcome != UNLABELLED
    batches = [labelled] * spec.rounds if taking_part is None else [labelled & each for each in taking_part]
    encoder = build(spec)
    if start is not None:
        set_parameters(encoder, start)
    module = GradSampleModule(encoder.double(), batch_first=True, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=spec.learning_rate, momentum=spec.momentum),
        noise_multiplier=0.0,
        max_grad_norm=spec.clip,
        expected_batch_size=n_public * spec.sampling_rate,
        loss_reduction="mean",
    )
    smoothing = torch.from_numpy(smoothing_matrix(spec))

    def smooth(stepped: DPOptimizer) -> None:
        first = stepped.params[0]
        first.grad = first.grad @ smoothing

    optimizer.attach_step_hook(smooth)
    tail: list[NDArray[np.float64]] = []
    for step in range(spec.rounds):
        optimizer.zero_grad(set_to_none=True)
        rows = one_hot_rows(spec, codes[batches[step]]).double().requires_grad_()
        target = torch.from_numpy((outcome[batches[step]] == DEFAULTED).astype(np.float64))
        binary_cross_entropy_with_logits(module(rows), target, reduction="sum").backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step >= spec.rounds - spec.tail_rounds:
            tail.append(np.concatenate([weight.detach().numpy().ravel() for weight in module.parameters()]))
    averaged: NDArray[np.float64] = np.mean(tail, axis=0)
    return averaged
