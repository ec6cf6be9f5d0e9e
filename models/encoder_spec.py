"""What an encoder is and how it is trained, and the noise that its rounds need (docs/protocol.md, 5).

The shipped defaults were chosen on the Give Me Some Credit data with split seeds 100 to 107, not on the seeds of the
published benchmark. 60 rounds suit some 20,000 training rows; at 105,000 rows 100 rounds gained .002 AUC at ε = 1
and 3, while at 20,000 they lost .004 at ε = 1. A linear encoder without biases won at both sizes: multilayer
perceptrons lost .016 AUC or more in a short random search, and a trained bias made the first rounds overshoot.
Nothing about the data of a campaign enters these constants.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.accounting import epsilon_of, gdp_budget, gdp_mu, usable_delta
from models.errors import BudgetError, SchemaError
from models.mechanisms import GaussianRounds, Mechanism
from models.schema import Schema

Width = Annotated[int, Field(ge=2, le=255, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MAX_PARAMETERS = 1 << 20
_NEGLIGIBLE = 1e-7
_SPARE = 1e-4
"""Of ε beside sampled rounds, for what discreteness and tables on coarser grids (nodes that leave) can add."""
_STEP = 5e-4
_SMALLEST_LOGARITHM = -1.0


class EncoderSpec(BaseModel):
    """Architecture and training of one kind's encoder; public, part of the signed terms.

    Rows enter as one-hot bins over F features, scaled by 1/√F to unit norm. Layers have no biases: each feature's bins
    sum to a constant already.

    Attributes:
        widths: bins per feature.
        ordered: per feature, how many of its first bins lie in order; the others stand alone.
        hidden: widths of the hidden layers; empty is a linear encoder.
        clip: bound C of a row's gradient in L2.
        learning_rate: for the mean gradient over the public number of rows.
        rounds: steps T.
        retries: further charged attempts r.
        sampling_rate: probability q with which a row takes part in a round; 1 is full participation.
        grid: gradients are rounded to its multiples; a power of two.
        start: id of the earlier, released model from which training starts (`models.encoder_start`).
        init_seed: seed of the hidden layers' first weights (a linear encoder starts at zero).
        tail_share: the model is the mean of the parameters over this last part of the rounds.
        smooth_share, smooth_length: the hub smooths each opened gradient over neighbouring ordered bins by
            (1 − s)·I + s·exp(−|distance|/l), a public matrix: free as to privacy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: Annotated[tuple[Width, ...], Field(min_length=1)]
    ordered: tuple[Annotated[int, Field(ge=0, le=255, strict=True)], ...]
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=1024, strict=True)], ...], Field(max_length=4)] = ()
    activation: Literal["tanh", "relu"] = "tanh"
    clip: Annotated[Positive, Field(le=100)] = 0.5
    learning_rate: Annotated[Positive, Field(le=10_000)] = 10.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    rounds: Annotated[int, Field(ge=1, le=1000, strict=True)] = 60
    retries: Annotated[int, Field(ge=3, le=100, strict=True)] = 3
    sampling_rate: Annotated[float, Field(ge=0.001, le=1, allow_inf_nan=False)] = 1.0
    grid: Annotated[Positive, Field(le=1)] = 2.0**-26
    start: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    init_seed: Annotated[int, Field(ge=0, lt=1 << 63, strict=True)] = 0
    tail_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    smooth_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    smooth_length: Annotated[Positive, Field(le=100)] = 2.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.ordered) != len(self.widths):
            raise ValueError("ordered needs one number per feature")
        if any(ordered > width for ordered, width in zip(self.ordered, self.widths, strict=True)):
            raise ValueError("ordered cannot exceed a feature's width")
        if math.frexp(self.grid)[0] != 0.5:
            raise ValueError("grid must be a power of two")
        if self.clip < self.grid:
            raise ValueError("clip must not be below grid")
        if self.n_parameters > MAX_PARAMETERS:
            raise ValueError(f"{self.n_parameters} parameters are more than {MAX_PARAMETERS}")
        return self

    @property
    def n_features(self) -> int:
        """Number of features F."""
        return len(self.widths)

    @property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) per layer; the last layer has one output, the logit."""
        sizes = (sum(self.widths), *self.hidden, 1)
        return tuple((after, before) for before, after in itertools.pairwise(sizes))

    @property
    def n_parameters(self) -> int:
        """Length P of the flat parameter vector: layers in order, each (outputs, inputs) row-major."""
        return sum(outputs * inputs for outputs, inputs in self.layer_shapes)

    @property
    def charged_attempts(self) -> int:
        """T + r: training ends when these are used."""
        return self.rounds + self.retries

    @property
    def sensitivity(self) -> float:
        """L2 sensitivity of one round's sum in grid units, one merchant replaced by empty rows."""
        return sensitivity_on_grid(self.clip, self.grid, self.n_parameters)

    @property
    def tail_rounds(self) -> int:
        """Number of last rounds whose parameters are averaged, at least one."""
        return max(1, round(self.rounds * self.tail_share))


@dataclass(frozen=True)
class RoundsNoise:
    """Noise of the encoder stage and what it costs.

    Attributes:
        sigma_over_sensitivity: noise multiplier z.
        sigma_grid: standard deviation of a round's total noise, grid units.
        sensitivity: in grid units.
        mu: of all charged attempts, as `models.accounting.gdp_mu`.
        epsilon_pld: replaced-by-empty, the discreteness allowance included.
        epsilon_replace_one: one merchant's rows replaced by any other's: twice the sensitivity.
        mechanisms: for the accountant.
    """

    sigma_over_sensitivity: float
    sigma_grid: float
    sensitivity: float
    mu: float
    epsilon_pld: float
    epsilon_replace_one: float
    mechanisms: tuple[GaussianRounds, ...]


def spec_for(schema: Schema, kind: str, **options: object) -> EncoderSpec:
    """The encoder of one kind of a schema; options given as None take their defaults.

    Raises:
        SchemaError: the schema has no such kind, or an option is out of range.
    """
    features = schema.features(kind)
    chosen = {name: value for name, value in options.items() if value is not None}
    plain = {
        "widths": [feature.width for feature in features],
        "ordered": [feature.width - len(feature.spec.standalone_bins) for feature in features],
        **chosen,
    }
    try:
        return EncoderSpec.model_validate(plain)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "encoder"
        raise SchemaError(
            f"encoder: {field}: {first['msg']}", field=field, remedy="correct the encoder options of the campaign"
        ) from problem


def sensitivity_on_grid(clip: float, grid: float, n_parameters: int) -> float:
    """C/g + √P: L2 sensitivity of the rounded sum, one merchant's rows replaced by empty ones.

    Rounding moves each of the P coordinates by at most 1/2, before and after the change, so by at most 1 in their
    difference: ‖Δ‖ ≤ C/g + ‖(1, …, 1)‖ = C/g + √P, wherever the rounding is done: once per node, or per row as
    `models.dpsgd.clipped_gradient_sum` does (then even C/g + √P/2). Replace-one is removal and addition:
    2C/g + 2√P.
    """
    return clip / grid + math.sqrt(n_parameters)


def sampled_multiplier(
    epsilon: float, delta: float, charged: int, sampling_rate: float, *, beside: Sequence[Mechanism] = ()
) -> float:
    """Smallest z, to a thousandth, with which `charged` sampled rounds and those `beside` them stay within (ε, δ).

    Args:
        epsilon: what they may cost together.
        delta: failure probability left to them.
        charged: T + r.
        sampling_rate: q below 1.
        beside: the campaign's other mechanisms.

    Raises:
        BudgetError: the budget is malformed, or there is no such z.
    """

    from scipy.optimize import brentq  # noqa: PLC0415 (half a second to import, and every command imports this module)

    @cache
    def beyond(logarithm: float) -> float:
        rounds = GaussianRounds(math.exp(logarithm), charged, sampling_rate)
        return epsilon_of([rounds, *beside], delta) - epsilon

    # From what full participation asks: sampled rounds alone need less, with other mechanisms beside them maybe more.
    high = math.log(math.sqrt(charged) / gdp_budget(epsilon, delta))
    for _ in range(12):
        if beyond(high) <= 0:
            break
        high += 1.0
    else:
        raise BudgetError(
            f"sampled rounds cannot stay within epsilon {epsilon:g}",
            field="encoder.sampling",
            remedy="raise epsilon, or leave more of it to the encoder",
        )
    low = high - 1.0
    while beyond(low) <= 0:
        low, high = low - 0.5, low
        if low < _SMALLEST_LOGARITHM:
            return math.exp(high)
    root = float(brentq(beyond, low, high, xtol=_STEP))
    while beyond(root) > 0:
        root += _STEP
    return math.exp(root)


def noise_multiplier(epsilon: float, delta: float, charged: int, *, mu_budget: float | None = None) -> float:
    """Smallest z = σ/sensitivity with which `charged` full-participation rounds stay within (ε, δ) by PLD.

    Args:
        epsilon: what all rounds may cost together.
        delta: failure probability left to the rounds.
        charged: T + r.
        mu_budget: μ of this stage when several stages share (ε, δ); None spends all of it here.

    Raises:
        BudgetError: the budget is malformed, or `mu_budget` exceeds it.
    """
    if charged < 1:
        raise BudgetError(f"{charged} charged attempts", field="charged", remedy="charge at least one")
    mu = gdp_budget(epsilon, delta) if mu_budget is None else mu_budget
    if not (math.isfinite(mu) and mu > 0):
        raise BudgetError(f"mu must be a positive number, not {mu}", field="mu_budget", remedy="use split_budget")
    step = 1.0001 if mu_budget is None else 1.0
    multiplier = math.sqrt(charged) / mu
    # PLD is an upper estimate and lies some 1e-4 above the closed form: widen until it fits too.
    for _ in range(200):
        reached = epsilon_of([GaussianRounds(multiplier, charged)], delta)
        if reached <= epsilon:
            return multiplier
        if step == 1.0:
            break
        multiplier *= step
    raise BudgetError(
        f"mu {mu:.6g} costs epsilon {reached:.6g}, more than {epsilon:g}",
        field="mu_budget",
        remedy="take mu from split_budget",
    )


def discreteness_allowance(n_parameters: int, charged: int, sigma_grid: float) -> float:
    """What discrete noise on the grid can add to the ε of continuous Gaussian noise.

    Let D be the discrete Gaussian at an integer centre and G the rounded continuous one, which is post-processing of
    the Gaussian mechanism. D(k)/G(k) is 1/E[exp(−(2ku + u²)/2σ²)] over u uniform in [−1/2, 1/2], up to the ratio of the
    normalisers, 1 + O(exp(−2π²σ²)), which cancels between two centres. Jensen's inequality and
    E[exp(su)] ≤ exp(s²/24) bound its logarithm between −k²/24σ⁴ and 1/24σ². Where |k| ≤ tσ around both centres, privacy
    losses differ by at most (t² + 1)/24σ² per coordinate; with t = 13 what lies outside has probability below 1e-36 per
    coordinate.
    """
    if sigma_grid < 2:
        raise BudgetError(
            f"noise of {sigma_grid:g} grid units is below 2", field="grid", remedy="use a finer grid for the gradients"
        )
    return n_parameters * charged * (13**2 + 1) / (24 * sigma_grid**2)


def checked_allowance(spec: EncoderSpec, sigma_grid: float, epsilon: float) -> float:
    """`discreteness_allowance` of an encoder's rounds, which must stay below a hundredth of ε.

    The bound is a first-order one, for noise that is close to continuous; a grid on which it matters is not meant.

    Raises:
        BudgetError: the grid is too coarse.
    """
    allowance = discreteness_allowance(spec.n_parameters, spec.charged_attempts, sigma_grid)
    if allowance >= epsilon / 100:
        raise BudgetError(
            f"the grid {spec.grid:g} is too coarse: that noise is discrete on it could add {allowance:.3g} to "
            f"epsilon {epsilon:g}, a hundredth or more",
            field="encoder.grid",
            remedy="use a finer grid for the gradients",
        )
    return allowance


def on_fine_grid(spec: EncoderSpec, epsilon: float, delta: float) -> EncoderSpec:
    """The encoder on the coarsest grid, not above its own, where noise being discrete costs next to nothing of ε.

    Small clips and many parameters need finer ones. Counted at the least noise that any split of (ε, δ) leaves.

    Raises:
        BudgetError: the budget is malformed.
    """
    multiplier = noise_multiplier(epsilon, delta, spec.charged_attempts) * spec.sampling_rate
    grid = spec.grid
    while (
        discreteness_allowance(
            spec.n_parameters,
            spec.charged_attempts,
            max(2.0, multiplier * sensitivity_on_grid(spec.clip, grid, spec.n_parameters)),
        )
        > epsilon * _NEGLIGIBLE
    ):
        grid /= 2
    return spec.model_copy(update={"grid": grid})


def calibrate_rounds(
    spec: EncoderSpec,
    epsilon: float,
    delta: float,
    *,
    mu_budget: float | None = None,
    beside: Sequence[Mechanism] = (),
    delta_sum: float = 0.0,
) -> RoundsNoise:
    """Least noise for T + r charged rounds within (ε, δ).

    Args:
        spec: of the encoder.
        epsilon: for all stages together if `mu_budget` is given, else for this one.
        delta: failure probability.
        mu_budget: as in `noise_multiplier`; sampled rounds get what `beside` leaves of (ε, δ) instead.
        beside: the other stages' mechanisms.
        delta_sum: distance of the summed shares from one discrete Gaussian, over all rounds.

    Raises:
        BudgetError: the budget cannot be met.
    """
    usable = usable_delta(epsilon, delta, delta_sum)
    charged, rate = spec.charged_attempts, spec.sampling_rate
    if rate < 1:
        multiplier = sampled_multiplier(epsilon * (1 - _SPARE), usable, charged, rate, beside=beside)
        allowance = checked_allowance(spec, multiplier * spec.sensitivity, epsilon)
        if allowance > epsilon * _SPARE / 2:
            multiplier = sampled_multiplier(epsilon * (1 - _SPARE) - allowance, usable, charged, rate, beside=beside)
    else:
        multiplier = noise_multiplier(epsilon, usable, charged, mu_budget=mu_budget)
        allowance = checked_allowance(spec, multiplier * spec.sensitivity, epsilon)
        if mu_budget is None:
            multiplier = noise_multiplier(epsilon - allowance, usable, charged)
    rounds = GaussianRounds(multiplier, charged, rate)
    return RoundsNoise(
        sigma_over_sensitivity=multiplier,
        sigma_grid=multiplier * spec.sensitivity,
        sensitivity=spec.sensitivity,
        mu=gdp_mu([rounds]),
        epsilon_pld=epsilon_of([rounds], usable) + allowance,
        epsilon_replace_one=epsilon_of([rounds], usable, adjacency="replace-one") + 4 * allowance,
        mechanisms=(rounds,),
    )
