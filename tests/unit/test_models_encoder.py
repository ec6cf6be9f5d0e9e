"""The encoder module, per-sample gradients, and federated against central training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from models.central import train_over, train_with_opacus
from models.dpsgd import clipped_gradient_sum
from models.encoder import build, get_parameters, predict, set_parameters
from models.encoder_scores import (
    bin_weights,
    default_probability,
    encode_feature,
    encoder_feature_edges,
    encoder_logits,
    log_odds,
)
from models.encoder_spec import EncoderSpec
from models.encoder_step import initial_parameters
from models.errors import DataError

WIDTHS = (6, 4, 3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec_of(**options: object) -> EncoderSpec:
    return EncoderSpec.model_validate({"widths": WIDTHS, "ordered": (5, 3, 0), **options})


def rows_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and outcomes with a signal in the first feature and a tenth without label."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, width, n) for width in WIDTHS], axis=1).astype(np.uint8)
    chance = 1 / (1 + np.exp(3.0 - codes[:, 0]))
    outcome = np.where(rng.random(n) < chance, 0, 1)
    return codes, np.where(rng.random(n) < 0.1, 2, outcome).astype(np.uint8)


def reference_gradient(spec: EncoderSpec, parameters: np.ndarray, code: np.ndarray, target: float) -> np.ndarray:
    """One row's clipped gradient by finite differences of the loss: no torch, no Opacus."""

    def loss(at: np.ndarray) -> float:
        logit = encoder_logits(spec, at, code[None])[0]
        return float(np.logaddexp(0.0, logit) - target * logit)

    step = 1e-6
    gradient = np.array(
        [
            (loss(parameters + step * unit) - loss(parameters - step * unit)) / (2 * step)
            for unit in np.eye(len(parameters))
        ]
    )
    return gradient * min(1.0, spec.clip / (np.linalg.norm(gradient) + 1e-6))


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_module_and_numpy_agree(hidden: tuple[int, ...], activation: str) -> None:
    spec = spec_of(hidden=hidden, activation=activation, init_seed=5)
    module = build(spec)
    assert np.array_equal(get_parameters(module), initial_parameters(spec))
    parameters = np.random.default_rng(1).standard_normal(spec.n_parameters)
    set_parameters(module, parameters)
    assert np.allclose(get_parameters(module), parameters, atol=1e-6)
    codes, _ = rows_of(50, 2)
    assert np.allclose(predict(module, codes), encoder_logits(spec, parameters, codes), atol=1e-5)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.full(13, np.nan), np.full(13, 1e300)])
def test_parameters_are_checked(wrong: np.ndarray) -> None:
    with pytest.raises(DataError):
        set_parameters(build(spec_of()), wrong)


@pytest.mark.parametrize("hidden", [(), (3,)])
def test_gradient_sum_equals_finite_differences(hidden: tuple[int, ...]) -> None:
    spec = spec_of(hidden=hidden, activation="tanh", clip=0.3)
    parameters = np.random.default_rng(3).standard_normal(spec.n_parameters)
    module = build(spec)
    set_parameters(module, parameters)
    codes, outcome = rows_of(12, 4)
    outcome[:3] = (0, 1, 2)
    expected = sum(
        reference_gradient(spec, get_parameters(module), code, float(y == 0))
        for code, y in zip(codes, outcome, strict=True)
        if y != 2
    )
    found = clipped_gradient_sum(module, codes, outcome, clip=spec.clip, grid=spec.grid) * spec.grid
    assert np.allclose(found, expected, atol=1e-5)


def test_rows_without_label_and_empty_nodes_add_nothing() -> None:
    module = build(spec_of())
    codes, outcome = rows_of(40, 5)
    labelled = outcome != 2
    total = clipped_gradient_sum(module, codes, outcome, clip=0.5, grid=2.0**-20)
    without = clipped_gradient_sum(module, codes[labelled], outcome[labelled], clip=0.5, grid=2.0**-20)
    assert np.abs(total - without).max() <= 40
    assert not clipped_gradient_sum(module, codes[:0], outcome[:0], clip=0.5, grid=2.0**-20).any()
    assert not clipped_gradient_sum(module, codes, np.full(40, 2, np.uint8), clip=0.5, grid=2.0**-20).any()


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_sum_is_the_same_in_any_order_and_split(hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(hidden=hidden)
    module = build(spec)
    set_parameters(module, np.random.default_rng(6).standard_normal(spec.n_parameters))
    codes, outcome = rows_of(3000, 6)
    whole = clipped_gradient_sum(module, codes, outcome, clip=0.5, grid=2.0**-26)
    order = np.random.default_rng(7).permutation(3000)
    parts = [
        clipped_gradient_sum(module, codes[part], outcome[part], clip=0.5, grid=2.0**-26)
        for part in np.split(order, [1, 40, 1700])
    ]
    assert np.abs(sum(parts) - whole).max() <= 3000 * 2  # float32 kernels may differ with the block's shape
    monkeypatch.setattr("models.dpsgd._BLOCK_NUMBERS", 10_000)
    blocked = clipped_gradient_sum(module, codes, outcome, clip=0.5, grid=2.0**-26)
    assert np.abs(blocked - whole).max() <= 3000 * 2
    assert not hasattr(module, "autograd_grad_sample_hooks")


@pytest.mark.parametrize("hidden", [(), (8,), (5, 4)])
def test_an_empty_row_takes_away_its_own_vector_alone(hidden: tuple[int, ...]) -> None:
    """Removing rows one by one and together must agree to the last integer, or the sensitivity would not hold."""
    spec = spec_of(hidden=hidden)
    module = build(spec)
    set_parameters(module, np.random.default_rng(15).standard_normal(spec.n_parameters))
    codes, outcome = rows_of(3000, 16)

    def total(*empty: int) -> np.ndarray:
        left, rows = outcome.copy(), codes.copy()
        left[list(empty)] = 2
        rows[list(empty)] = 0
        return clipped_gradient_sum(module, rows, left, clip=spec.clip, grid=spec.grid)

    chosen = (0, 17, 1500, 2999)
    whole = total()
    single = [whole - total(row) for row in chosen]
    assert np.array_equal(whole - total(*chosen), sum(single))
    assert all(np.linalg.norm(change) <= spec.clip / spec.grid + math.sqrt(spec.n_parameters) / 2 for change in single)


@pytest.mark.parametrize("hidden", [(), (5,)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 1e15, 1e30])
def test_one_row_stays_within_the_sensitivity(hidden: tuple[int, ...], scale: float) -> None:
    """Also for parameters that a lying hub chose to overflow float32."""
    spec = spec_of(hidden=hidden, activation="relu", grid=2.0**-4)
    module = build(spec)
    set_parameters(module, np.random.default_rng(8).standard_normal(spec.n_parameters) * scale)
    codes, outcome = rows_of(60, 9)
    whole = clipped_gradient_sum(module, codes, outcome, clip=spec.clip, grid=spec.grid)
    for row in range(20):
        empty = outcome.copy()
        empty[row] = 2
        change = whole - clipped_gradient_sum(module, codes, empty, clip=spec.clip, grid=spec.grid)
        assert np.linalg.norm(change) <= spec.sensitivity
    assert np.linalg.norm(whole) > spec.sensitivity or scale > 1e10


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        (np.zeros((2, 2), np.uint8), np.zeros(2, np.uint8)),
        (np.zeros((2, 3), np.int64), np.zeros(2, np.uint8)),
        (np.array([[0, 0, 0], [255, 0, 0]], np.uint8), np.zeros(2, np.uint8)),
        (np.zeros((2, 3), np.uint8), np.array([0, 3], np.uint8)),
        (np.zeros((2, 3), np.uint8), np.zeros(3, np.uint8)),
    ],
)
def test_rows_are_checked(codes: np.ndarray, outcome: np.ndarray) -> None:
    with pytest.raises(DataError):
        clipped_gradient_sum(build(spec_of()), codes, outcome, clip=0.5, grid=2.0**-20)


def test_a_grid_too_fine_for_exact_sums_is_refused() -> None:
    codes, outcome = rows_of(40, 5)
    with pytest.raises(DataError, match="2\\^53"):
        clipped_gradient_sum(build(spec_of()), codes, outcome, clip=0.5, grid=2.0**-50)


@pytest.mark.parametrize("options", [{}, {"hidden": (6,), "learning_rate": 2.0}, {"smooth_share": 0.0, "clip": 0.2}])
@pytest.mark.parametrize("nodes", [1, 5])
def test_zero_noise_reproduces_a_central_opacus_run(options: dict[str, object], nodes: int) -> None:
    spec = spec_of(rounds=25, **options)
    codes, outcome = rows_of(2000, 10)
    cuts = sorted(np.random.default_rng(11).integers(0, 2000, nodes - 1))
    parts = list(zip(np.split(codes, cuts), np.split(outcome, cuts), strict=True))
    federated = train_over(spec, parts, sigma_grid=0.0, noise=np.random.default_rng(0), n_public=2000)
    central = train_with_opacus(spec, codes, outcome, n_public=2000)
    assert np.abs(federated - central).max() < 1e-4
    assert np.abs(central - initial_parameters(spec)).max() > 0.1


def test_shares_of_noise_reach_the_total() -> None:
    spec = spec_of(rounds=1, learning_rate=1.0, momentum=0.0, smooth_share=0.0, hidden=(512,))
    codes, outcome = rows_of(11, 12)
    outcome[:] = 2
    parts = [(codes[i : i + 1], outcome[i : i + 1]) for i in range(11)]
    sigma = 1e6
    moved = train_over(spec, parts, sigma_grid=sigma, noise=np.random.default_rng(1), n_public=1, t_collude=1)
    spread = float(np.std(moved - initial_parameters(spec))) / spec.grid
    assert spread == pytest.approx(sigma * math.sqrt(11 / 10), rel=0.04)


def test_bin_weights_add_up_to_the_logit() -> None:
    spec = spec_of()
    parameters = np.random.default_rng(13).standard_normal(spec.n_parameters)
    codes, _ = rows_of(20, 14)
    weights = bin_weights(spec, parameters)
    assert [len(part) for part in weights] == list(WIDTHS)
    added = sum(part[codes[:, feature]] for feature, part in enumerate(weights))
    assert np.allclose(added, encoder_logits(spec, parameters, codes))
    with pytest.raises(DataError):
        bin_weights(spec_of(hidden=(2,)), np.zeros(spec_of(hidden=(2,)).n_parameters))


@pytest.mark.parametrize("clip", [0.5, 0.25, 1.0])
def test_probability_of_default_undoes_clipping(clip: float) -> None:
    """Where like rows default at a known rate, training settles at a probability that is mapped back to it."""
    spec = spec_of(clip=clip, rounds=400, learning_rate=5.0)
    parts, rates = [], (0.02, 0.1, 0.3)
    for level, rate in enumerate(rates):
        codes = np.tile(np.array([level, 0, 0], np.uint8), (1000, 1))
        parts.append((codes, np.where(np.arange(1000) < rate * 1000, 0, 1).astype(np.uint8)))
    parameters = train_over(spec, parts, sigma_grid=0.0, noise=np.random.default_rng(0), n_public=3000)
    logits = encoder_logits(spec, parameters, np.array([[level, 0, 0] for level in range(3)], np.uint8))
    assert default_probability(spec, logits) == pytest.approx(rates, rel=0.03)
    grid = np.linspace(-30, 30, 400)
    assert (np.diff(log_odds(spec, grid)) >= 0).all()
    assert np.isfinite(log_odds(spec, np.array([-1e6, 1e6]))).all()


def test_feature_bins_are_fixed_and_ordered() -> None:
    edges = encoder_feature_edges()
    assert all(after > before for before, after in itertools.pairwise(edges))
    assert edges[-1] == 0.0
    values = np.array([-1e9, edges[0], math.nextafter(edges[0], 1), 0.0, 1e9, math.nan])
    assert encode_feature(values).tolist() == [0, 0, 1, len(edges) - 1, len(edges), len(edges) + 1]
    assert encode_feature(values).dtype == np.uint8
