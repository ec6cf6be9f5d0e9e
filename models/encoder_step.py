"""The hub's side of an encoder round: open, step, average (docs/protocol.md, 5). Everything here is post-processing.

State without I/O: the hub stores `StepState` in its checkpoint after each opened round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.encoder_spec import EncoderSpec
from models.errors import DataError

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class StepState:
    """Momentum and tail average after some steps.

    Attributes:
        step: number of steps taken.
        velocity: (P,) momentum buffer.
        tail_sum: (P,) sum of the parameters over the tail rounds so far.
    """

    step: int
    velocity: Vector
    tail_sum: Vector


def initial_parameters(spec: EncoderSpec) -> Vector:
    """(P,) first parameters: zero for a linear encoder, else drawn from `spec.init_seed` (PCG64).

    Weights have standard deviation √F in the first layer, which evens out the rows' 1/√F scale, and 1/√inputs after it.
    They are float32 values, so that a module holds them exactly.
    """
    if not spec.hidden:
        return np.zeros(spec.n_parameters)
    rng = np.random.Generator(np.random.PCG64(spec.init_seed))
    layers = []
    for index, (outputs, inputs) in enumerate(spec.layer_shapes):
        scale = np.sqrt(spec.n_features) if index == 0 else 1 / np.sqrt(inputs)
        layers.append(rng.standard_normal(outputs * inputs) * scale / np.sqrt(2))
    return np.concatenate(layers).astype(np.float32).astype(np.float64)


def parameter_bytes(parameters: Vector) -> bytes:
    """(P,) parameters as little-endian float64: the bytes whose hash a round's order and receipts name."""
    return np.ascontiguousarray(parameters, dtype="<f8").tobytes()


def initial_state(spec: EncoderSpec) -> StepState:
    """State before the first step."""
    return StepState(0, np.zeros(spec.n_parameters), np.zeros(spec.n_parameters))


def smoothing_matrix(spec: EncoderSpec) -> Vector:
    """(D, D) public matrix that spreads a gradient over neighbouring ordered bins of the same feature."""
    total = sum(spec.widths)
    matrix = np.eye(total)
    start = 0
    for width, ordered in zip(spec.widths, spec.ordered, strict=True):
        index = np.arange(ordered)
        decay = np.exp(-np.abs(index[:, None] - index[None, :]) / spec.smooth_length)
        block = slice(start, start + ordered)
        matrix[block, block] = (1 - spec.smooth_share) * np.eye(ordered) + spec.smooth_share * decay
        start += width
    return matrix


def smooth_gradient(spec: EncoderSpec, gradient: Vector) -> Vector:
    """(P,) gradient with its first layer smoothed; the other layers as they are."""
    outputs, inputs = spec.layer_shapes[0]
    first = gradient[: outputs * inputs].reshape(outputs, inputs) @ smoothing_matrix(spec)
    return np.concatenate([first.ravel(), gradient[outputs * inputs :]])


def apply_step(
    parameters: Vector, opened_sum: NDArray[np.int64], *, n_public: int, spec: EncoderSpec, state: StepState
) -> tuple[Vector, StepState]:
    """One step of momentum SGD on an opened noisy sum.

    Args:
        parameters: (P,) current parameters.
        opened_sum: (P,) int64 noisy sum of clipped gradients in grid units.
        n_public: public number of training rows, for the mean over those expected to take part; never a private count.
        spec: of the encoder.
        state: after the previous step.

    Raises:
        DataError: shapes or counts do not fit, or all rounds are done.
    """
    for name, vector in (("parameters", parameters), ("opened_sum", opened_sum), ("state", state.velocity)):
        if vector.shape != (spec.n_parameters,):
            raise DataError(
                f"{name} has shape {vector.shape}, not ({spec.n_parameters},)",
                field=name,
                remedy="use the specification that the campaign's terms name",
            )
    if opened_sum.dtype != np.int64:
        raise DataError("opened_sum is not int64", field="opened_sum", remedy="pass the opened integers")
    if n_public < 1:
        raise DataError("no training rows", field="n_public", remedy="use the public cohort size")
    if state.step >= spec.rounds:
        raise DataError(f"all {spec.rounds} rounds are done", field="state", remedy="publish the model")
    gradient = smooth_gradient(spec, opened_sum.astype(np.float64) * (spec.grid / (n_public * spec.sampling_rate)))
    velocity = spec.momentum * state.velocity + gradient
    after = parameters - spec.learning_rate * velocity
    step = state.step + 1
    in_tail = step > spec.rounds - spec.tail_rounds
    tail_sum = state.tail_sum + after if in_tail else state.tail_sum
    return after, StepState(step, velocity, tail_sum)


def final_parameters(spec: EncoderSpec, parameters: Vector, state: StepState) -> Vector:
    """(P,) published parameters: the tail's mean; the current ones if training ended before the tail."""
    counted = state.step - (spec.rounds - spec.tail_rounds)
    return state.tail_sum / counted if counted > 0 else parameters
