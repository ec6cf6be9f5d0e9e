"""The encoder as a PyTorch module; torch is imported here and in `models.dpsgd` and `models.central` alone.

On the wire parameters are one flat float64 vector: layers in order, each weight (outputs, inputs) row-major. A module
holds them as float32.
"""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.encoder_scores import check_codes, columns_of
from models.encoder_spec import EncoderSpec
from models.encoder_step import initial_parameters
from models.errors import DataError, DeviceError

DeviceName = Literal["auto", "cpu", "cuda"]

_BLOCK_ROWS = 1 << 14


class Encoder(nn.Module):
    """Layers without biases over unit-norm one-hot rows; `forward` maps (n, D) to (n,) logits."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        layers: list[nn.Module] = []
        for outputs, inputs in spec.layer_shapes:
            if layers:
                layers.append(nn.Tanh() if spec.activation == "tanh" else nn.ReLU())
            layers.append(nn.Linear(inputs, outputs, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(n,) logits of rows (n, D)."""
        logits: torch.Tensor = self.layers(rows).squeeze(1)
        return logits


def choose_device(wanted: DeviceName) -> torch.device:
    """The device that gradients are taken on; `auto` is CUDA where there is one, else the processor.

    Raises:
        DeviceError: CUDA is asked for and not there.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            "no CUDA device can be used",
            field="device",
            remedy="check the driver and the torch build (nvidia-smi), or set device: auto or cpu",
        )
    # cuBLAS is deterministic only with a workspace of its own; read when the device is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device("cuda")


def build(spec: EncoderSpec) -> Encoder:
    """The encoder with its first parameters; equal specifications give equal modules."""
    module = Encoder(spec)
    set_parameters(module, initial_parameters(spec))
    return module


def get_parameters(module: Encoder) -> NDArray[np.float64]:
    """(P,) float64 copy of all weights, in the order above."""
    return np.concatenate(
        [weight.detach().numpy().astype(np.float64).ravel() for weight in module.parameters() if weight.requires_grad]
    )


def set_parameters(module: Encoder, parameters: NDArray[np.float64]) -> None:
    """Overwrite all weights.

    Raises:
        DataError: wrong length, or numbers that float32 cannot hold.
    """
    with np.errstate(over="ignore"):
        values = np.asarray(parameters, dtype=np.float32)
    if values.shape != (module.spec.n_parameters,) or not np.isfinite(values).all():
        raise DataError(
            f"parameters must be {module.spec.n_parameters} finite float32 numbers",
            field="parameters",
            remedy="the training has diverged or the specification differs: start again with a lower learning rate",
        )
    start = 0
    with torch.no_grad():
        for weight in module.parameters():
            part = values[start : start + weight.numel()].reshape(weight.shape)
            weight.copy_(torch.from_numpy(part))
            start += weight.numel()


def one_hot_rows(spec: EncoderSpec, codes: NDArray[np.uint8]) -> torch.Tensor:
    """(n, D) float32 one-hot rows of unit norm for codes (n, F).

    Raises:
        DataError: codes do not fit the encoder.
    """
    check_codes(spec, codes)
    columns = torch.from_numpy(columns_of(spec, codes))
    rows = torch.zeros(len(codes), sum(spec.widths), dtype=torch.float32)
    return rows.scatter_(1, columns, spec.n_features**-0.5)


def predict(module: Encoder, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) logits for bin codes (n, F) uint8."""
    logits = np.empty(len(codes))
    check_codes(module.spec, codes)
    with torch.no_grad():
        for start in range(0, len(codes), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            logits[rows] = module(one_hot_rows(module.spec, codes[rows])).numpy()
    return logits
