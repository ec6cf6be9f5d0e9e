"""What gradients are taken on: the choice, and that a model does not depend on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.dpsgd import clipped_gradient_sum
from models.encoder import DeviceName, build, choose_device, set_parameters
from models.encoder_spec import EncoderSpec
from models.encoder_step import apply_step, final_parameters, initial_parameters, initial_state
from models.errors import DeviceError


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_device_is_the_wanted_one(
    monkeypatch: pytest.MonkeyPatch, wanted: DeviceName, there: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert choose_device(wanted).type == chosen


def test_cuda_that_is_not_there_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError) as caught:
        choose_device("cuda")
    assert caught.value.code == "device-unavailable"
    assert "device: auto" in str(caught.value.remedy)


def rows_of(spec: EncoderSpec, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    codes = np.stack([rng.integers(0, width, n) for width in spec.widths], axis=1).astype(np.uint8)
    return codes, rng.integers(0, 3, n).astype(np.uint8)


def trained_on(device: torch.device, spec: EncoderSpec, codes: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    module = build(spec)
    parameters, state = initial_parameters(spec), initial_state(spec)
    for _ in range(spec.rounds):
        set_parameters(module, parameters)
        opened = clipped_gradient_sum(module, codes, outcome, clip=spec.clip, grid=spec.grid, device=device)
        parameters, state = apply_step(parameters, opened, n_public=len(codes), spec=spec, state=state)
    return final_parameters(spec, parameters, state)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_cuda_gives_the_processors_model(hidden: tuple[int, ...]) -> None:
    if not torch.cuda.is_available():
        pytest.skip(f"no CUDA device here (torch {torch.__version__}): the CUDA path is not tested in this run")
    spec = EncoderSpec(widths=(6, 4, 3), ordered=(5, 3, 0), hidden=hidden, rounds=20, learning_rate=2.0)
    codes, outcome = rows_of(spec, 20_000)
    cuda = choose_device("cuda")
    own, other = trained_on(torch.device("cpu"), spec, codes, outcome), trained_on(cuda, spec, codes, outcome)
    assert np.abs(own - other).max() < 1e-4
    # The same bits every time, and one row changes the sum by no more than its own clipped gradient.
    module = build(spec)
    sums = [
        clipped_gradient_sum(module, codes, labels, clip=spec.clip, grid=spec.grid, device=cuda)
        for labels in (outcome, outcome, np.where(np.arange(len(outcome)) == 7, np.uint8(2), outcome))
    ]
    assert np.array_equal(sums[0], sums[1])
    assert np.linalg.norm(sums[0] - sums[2]) <= spec.sensitivity
