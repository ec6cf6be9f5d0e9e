"""Encoder specification, the noise of its rounds, and the hub's step."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.accounting import epsilon_of, gdp_epsilon
from models.encoder_spec import (
    EncoderSpec,
    calibrate_rounds,
    discreteness_allowance,
    noise_multiplier,
    sensitivity_on_grid,
    spec_for,
)
from models.encoder_step import (
    apply_step,
    final_parameters,
    initial_parameters,
    initial_state,
    smooth_gradient,
    smoothing_matrix,
)
from models.errors import BudgetError, DataError, SchemaError
from models.mechanisms import GaussianRounds
from models.schema_file import load_schema

ROOT = Path(__file__).parents[2]


def small(**options: object) -> EncoderSpec:
    return EncoderSpec.model_validate({"widths": (4, 3), "ordered": (3, 0), **options})


@pytest.mark.parametrize(
    "wrong",
    [
        {"ordered": (3,)},
        {"ordered": (5, 0)},
        {"grid": 0.3},
        {"retries": 2},
        {"clip": 0.0},
        {"rounds": 0},
        {"widths": ()},
        {"widths": (4, 1)},
        {"hidden": (1024, 1024, 1024)},
        {"clip": 2.0**-30},
        {"bias": True},
    ],
)
def test_specification_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        small(**wrong)


def test_specification_survives_json() -> None:
    spec = small(hidden=(5, 2), activation="relu", rounds=7)
    assert EncoderSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.layer_shapes == ((5, 7), (2, 5), (1, 2))
    assert spec.n_parameters == 35 + 10 + 2
    assert spec.charged_attempts == 10


def test_specification_of_a_shipped_schema() -> None:
    schema = load_schema(ROOT / "configs" / "gmsc-bank-consortium.yaml")
    spec = spec_for(schema, "bank", rounds=30, clip=None)
    assert spec.widths == schema.widths("bank")
    assert spec.rounds == 30
    assert spec.clip == EncoderSpec.model_fields["clip"].default
    age, past_due = (schema.feature(name).spec for name in ("age", "NumberOfTimes90DaysLate"))
    names = [feature.name for feature in schema.features("bank")]
    assert spec.ordered[names.index("age")] == age.width - 1
    assert spec.ordered[names.index("NumberOfTimes90DaysLate")] == past_due.width - 1 - len(past_due.special_bins)
    assert past_due.special_bins
    with pytest.raises(SchemaError):
        spec_for(schema, "bank", momentum=1.0)
    with pytest.raises(SchemaError):
        spec_for(schema, "tax")


@pytest.mark.parametrize(("epsilon", "charged"), [(1.0, 63), (3.0, 33), (8.0, 4)])
def test_noise_is_the_least_that_meets_the_budget(epsilon: float, charged: int) -> None:
    multiplier = noise_multiplier(epsilon, 1e-5, charged)
    assert epsilon_of([GaussianRounds(multiplier, charged)], 1e-5) <= epsilon
    assert epsilon_of([GaussianRounds(multiplier * 0.995, charged)], 1e-5) > epsilon
    assert gdp_epsilon(math.sqrt(charged) / multiplier, 1e-5) == pytest.approx(epsilon, rel=0.01)


@pytest.mark.filterwarnings("ignore:Optimal order")
def test_noise_agrees_with_opacus() -> None:
    from opacus.accountants import PRVAccountant

    charged = 63
    accountant = PRVAccountant()
    multiplier = noise_multiplier(1.0, 1e-5, charged)
    accountant.history = [(multiplier, 1.0, charged)]
    assert accountant.get_epsilon(1e-5) == pytest.approx(1.0, rel=0.02)


def test_calibration_reports_both_adjacencies() -> None:
    spec = small(rounds=60)
    noise = calibrate_rounds(spec, 1.0, 1e-5)
    assert noise.epsilon_pld <= 1.0
    assert noise.sigma_grid == pytest.approx(noise.sigma_over_sensitivity * spec.sensitivity)
    assert noise.mechanisms == (GaussianRounds(noise.sigma_over_sensitivity, 63),)
    # twice the sensitivity is twice mu
    assert noise.epsilon_replace_one == pytest.approx(gdp_epsilon(2 * noise.mu, 1e-5), rel=0.01)
    half = calibrate_rounds(spec, 1.0, 1e-5, mu_budget=noise.mu / math.sqrt(2))
    assert half.sigma_over_sensitivity == pytest.approx(noise.sigma_over_sensitivity * math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("arguments", [{"epsilon": 0.0}, {"delta": 0.0}, {"mu_budget": 5.0}, {"mu_budget": 0.0}])
def test_calibration_refuses(arguments: dict[str, float]) -> None:
    with pytest.raises(BudgetError):
        calibrate_rounds(small(), **{"epsilon": 1.0, "delta": 1e-5, **arguments})


def test_calibration_refuses_a_coarse_grid() -> None:
    with pytest.raises(BudgetError, match="coarse"):
        calibrate_rounds(small(clip=1.0, grid=1.0, hidden=(64,), rounds=1000, retries=100), 0.1, 1e-5)
    with pytest.raises(BudgetError, match="below 2"):
        discreteness_allowance(10, 10, 1.0)


@pytest.mark.parametrize("sigma", [2.0, 7.5])
def test_discreteness_allowance_bounds_the_exact_difference(sigma: float) -> None:
    """Against exact masses: log-ratio of discrete and rounded continuous Gaussian, over both centres."""
    from scipy.stats import norm

    reach = int(13 * sigma)
    k = np.arange(-4 * reach, 4 * reach + 1)
    discrete = -(k**2) / (2 * sigma**2) - np.log(np.exp(-(k**2) / (2 * sigma**2)).sum())
    inside = np.abs(k) <= 4 * sigma  # masses further out underflow in the difference of two cdf values
    rounded = np.log(norm.cdf((k[inside] + 0.5) / sigma) - norm.cdf((k[inside] - 0.5) / sigma))
    ratio = discrete[inside] - rounded
    spread = ratio.max() - ratio.min()
    assert 0 < spread <= (4**2 + 1) / (24 * sigma**2) + 1e-9
    assert spread <= discreteness_allowance(1, 1, sigma)


def test_sensitivity_counts_rounding() -> None:
    assert sensitivity_on_grid(0.5, 0.25, 9) == 5.0


def test_first_parameters_depend_on_the_seed_alone() -> None:
    assert not initial_parameters(small()).any()
    first = initial_parameters(small(hidden=(8,), init_seed=3))
    assert np.array_equal(first, initial_parameters(small(hidden=(8,), init_seed=3)))
    assert not np.array_equal(first, initial_parameters(small(hidden=(8,), init_seed=4)))
    assert np.array_equal(first, first.astype(np.float32))


def test_smoothing_stays_among_ordered_bins() -> None:
    matrix = smoothing_matrix(small())
    assert np.array_equal(matrix, matrix.T)
    assert np.array_equal(matrix[3:], np.eye(7)[3:])
    assert matrix[0, 0] > matrix[0, 1] > matrix[0, 2] > 0
    assert matrix[0, 1] == pytest.approx(0.8 * math.exp(-0.5))
    assert np.linalg.eigvalsh(matrix).min() > 0
    assert np.array_equal(smoothing_matrix(small(smooth_share=0.0)), np.eye(7))
    deep = small(hidden=(2,))
    gradient = np.arange(16.0)
    smoothed = smooth_gradient(deep, gradient)
    assert np.allclose(smoothed[:7], matrix @ gradient[:7])
    assert np.allclose(smoothed[7:14], matrix @ gradient[7:14])
    assert np.array_equal(smoothed[14:], gradient[14:])


def test_steps_follow_momentum_and_average_the_tail() -> None:
    spec = small(rounds=4, tail_share=0.5, smooth_share=0.0, learning_rate=2.0, momentum=0.5, grid=0.25, clip=1.0)
    parameters, state = initial_parameters(spec), initial_state(spec)
    opened = np.full(7, 40, dtype=np.int64)  # mean gradient 40 · 0.25 / 10 = 1
    seen = []
    for _ in range(4):
        parameters, state = apply_step(parameters, opened, n_public=10, spec=spec, state=state)
        seen.append(parameters[0])
    assert seen == [-2.0, -5.0, -8.5, -12.25]
    assert final_parameters(spec, parameters, state)[0] == pytest.approx((-8.5 - 12.25) / 2)
    with pytest.raises(DataError, match="rounds are done"):
        apply_step(parameters, opened, n_public=10, spec=spec, state=state)


def test_training_that_ended_early_gives_the_last_parameters() -> None:
    spec = small(rounds=10, tail_share=0.2)
    state = initial_state(spec)
    parameters, state = apply_step(np.zeros(7), np.ones(7, dtype=np.int64), n_public=1, spec=spec, state=state)
    assert np.array_equal(final_parameters(spec, parameters, state), parameters)


@pytest.mark.parametrize(
    ("opened", "n_public"),
    [(np.zeros(6, dtype=np.int64), 1), (np.zeros(7), 1), (np.zeros(7, dtype=np.int64), 0)],
)
def test_step_refuses_what_does_not_fit(opened: np.ndarray, n_public: int) -> None:
    with pytest.raises(DataError):
        apply_step(np.zeros(7), opened, n_public=n_public, spec=small(), state=initial_state(small()))


def test_the_hub_side_does_not_load_torch() -> None:
    program = "import models.encoder_step, models.encoder_scores, sys; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
