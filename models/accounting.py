"""One privacy accountant over all stages of a campaign (docs/protocol.md, 4 and 5).

Adjacency is *replaced-by-empty*: one merchant's data is replaced by empty rows at every kind. Then

* each one-hot feature block of the class table and each pair block loses exactly one count, so the table is a
  product of one-dimensional discrete Gaussian mechanisms, which a privacy loss distribution (PLD) composes exactly:
  `DiscreteGaussianCells`, on the very grid on which the noise is drawn, where one count is `scale` units;
* an encoder round is a Gaussian mechanism; full-participation rounds compose exactly: `GaussianRounds`. Where each row
  takes part with probability q only, unknown to those who see the sums, a round is the sampled Gaussian mechanism;
  its PLDs compose adaptively too (Zhu, Dong, Wang 2022); replaced-by-empty is its add-or-remove.

Stages over disjoint merchants (training, and the evaluation on held-out ones) compose in parallel: a merchant stands in
one of them, so it meets one of their outputs: `Parallel`. Its loss is bounded by the upper envelope of the parts'
hockey-stick curves δ(ε): whichever part a merchant is in, the envelope dominates it, and dominating pairs compose (Zhu,
Dong, Wang 2022). An envelope of convex curves is convex, so connecting its dots is pessimistic as well.

Under *replace-one* a record leaves one cell of each block and enters another: twice the cells, that is √2 times
the sensitivity; a clipped gradient may turn to its opposite: twice the sensitivity. All PLDs here are pessimistic
(upper) estimates after Doroshenko et al. 2022, "Connect the dots".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import product

from models.errors import BudgetError
from models.loss_distributions import loss_distribution
from models.mechanisms import Adjacency, DiscreteGaussianCells, GaussianRounds, Mechanism, Parallel
from models.stages import BINS_SHARE, Stage

_EPSILON_CEILING = 200.0

ScaleOf = Callable[[float], int]


def whole_counts(sigma: float) -> int:
    """The scale of noise that is drawn on the grid of counts itself."""
    return 1


@dataclass(frozen=True)
class TablesNoise:
    """Noise of the scorecard stage: total standard deviations in counts, and what they cost."""

    sigma_class: float
    sigma_pair: float
    mu: float
    epsilon_pld: float
    epsilon_replace_one: float
    mechanisms: tuple[DiscreteGaussianCells, ...]


def gdp_delta(mu: float, epsilon: float) -> float:
    """δ(ε) of a μ-GDP mechanism in closed form (Balle & Wang 2018, Theorem 8)."""
    from scipy.special import log_ndtr, ndtr  # noqa: PLC0415 (slow to import, and every command imports this module)

    upper = ndtr(mu / 2 - epsilon / mu)
    lower = math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))
    return float(upper - lower)


def gdp_epsilon(mu: float, delta: float) -> float:
    """Smallest ε ≥ 0 with δ(ε) ≤ delta for a μ-GDP mechanism.

    Raises:
        BudgetError: if `mu` or `delta` is out of range, or ε would pass 200.
    """
    _check_delta(delta)
    if not (math.isfinite(mu) and mu > 0):
        raise BudgetError(f"mu must be a positive number, not {mu}", field="mu", remedy="use mu > 0")
    if gdp_delta(mu, 0.0) <= delta:
        return 0.0
    if gdp_delta(mu, _EPSILON_CEILING) > delta:
        raise BudgetError(f"mu {mu:g} means epsilon above 200", field="mu", remedy="add noise")
    return _root(lambda epsilon: gdp_delta(mu, epsilon) - delta, 0.0, _EPSILON_CEILING, tolerance=1e-12)


def gdp_budget(epsilon: float, delta: float) -> float:
    """Largest μ whose μ-GDP guarantee implies (ε, δ)-DP; the inverse of `gdp_epsilon`."""
    _check_epsilon(epsilon)
    _check_delta(delta)
    return _root(lambda mu: gdp_delta(mu, epsilon) - delta, 1e-9, 100.0, tolerance=1e-13)


def in_parallel(training: Sequence[Mechanism], evaluation: Sequence[Mechanism]) -> tuple[Mechanism, ...]:
    """A campaign's mechanisms when those of its evaluation touch held-out merchants alone, the others none of them."""
    if not evaluation or not training:
        return (*training, *evaluation)
    order = [tuple(sorted(part, key=repr)) for part in (training, evaluation)]
    return (Parallel((_simple(order[0]), _simple(order[1]))),)


def gdp_mu(mechanisms: Iterable[Mechanism], *, adjacency: Adjacency = "replaced-by-empty") -> float:
    """μ of the composition when every mechanism is taken as a continuous Gaussian.

    Of sampled rounds it is the central limit q·√(R·(exp(1/z²) − 1)) (Bu, Dong, Long, Su 2020): to compare, no bound.
    """
    replaced = adjacency == "replace-one"
    total = 0.0
    for mechanism in mechanisms:
        if isinstance(mechanism, Parallel):
            total += max((gdp_mu(part, adjacency=adjacency) for part in mechanism.parts), default=0.0) ** 2
        elif isinstance(mechanism, DiscreteGaussianCells):
            total += mechanism.count * (2 if replaced else 1) / mechanism.sigma**2
        else:
            inverse = (4 if replaced else 1) / mechanism.sigma_over_sensitivity**2
            sampled = mechanism.sampling_rate < 1
            total += mechanism.rounds * (mechanism.sampling_rate**2 * math.expm1(inverse) if sampled else inverse)
    return math.sqrt(total)


def epsilon_of(mechanisms: Sequence[Mechanism], delta: float, *, adjacency: Adjacency = "replaced-by-empty") -> float:
    """ε(δ) of the composition of all mechanisms, by pessimistic PLD; infinite if one has no noise.

    Raises:
        BudgetError: if δ is not inside (0, 1) or a mechanism is malformed.
    """
    _check_delta(delta)
    _check_mechanisms(mechanisms)
    if not mechanisms:
        return 0.0
    if any(_sigma(mechanism) == 0 for mechanism in mechanisms):
        return math.inf
    if len(mechanisms) == 1 and isinstance(alone := mechanisms[0], Parallel):
        return max((epsilon_of(part, delta, adjacency=adjacency) for part in alone.parts), default=0.0)
    return _composed_epsilon(tuple(mechanisms), delta, adjacency)


@lru_cache(maxsize=1024)
def _composed_epsilon(mechanisms: tuple[Mechanism, ...], delta: float, adjacency: Adjacency) -> float:
    """A node asks this of its whole ledger at every step of a campaign: kept, as it depends on nothing else."""
    # Equal mechanisms, as of several like campaigns, are composed with themselves in one step.
    losses = [
        loss if times == 1 else loss.self_compose(times)
        for loss, times in ((loss_distribution(each, adjacency), n) for each, n in Counter(mechanisms).items())
    ]
    composed = reduce(lambda left, right: left.compose(right), losses)
    return float(composed.get_epsilon_for_delta(delta))


def tables_mechanisms(
    n_features: int, sigma_class: float, sigma_pair: float, *, class_scale: int = 1, pair_scale: int = 1
) -> tuple[DiscreteGaussianCells, ...]:
    """What opening one noisy table costs: F class cells and F(F−1)/2 pair cells are touched by a merchant."""
    cells = [DiscreteGaussianCells(sigma_class, n_features, class_scale)]
    if n_features > 1:
        cells.append(DiscreteGaussianCells(sigma_pair, n_features * (n_features - 1) // 2, pair_scale))
    return tuple(cells)


def calibrate_tables(
    n_features: int,
    epsilon: float,
    delta: float,
    *,
    pair_share: float = 0.4,
    mu_budget: float | None = None,
    delta_sum: float = 0.0,
    scale_of: ScaleOf = whole_counts,
) -> TablesNoise:
    """Least noise for the tables of F features within (ε, δ).

    σ_class = √F / (μ √(1 − pair_share)), σ_pair = √(F(F−1)/2) / (μ √pair_share). Without `mu_budget`, μ is the
    largest whose PLD fits; with it (a campaign of several stages, see `split_budget`) μ is taken as given.

    Args:
        n_features: F, encoder features counted.
        pair_share: share of μ² spent on pair tables.
        mu_budget: μ of this stage, or None to spend all of (ε, δ) here.
        delta_sum: statistical distance of the summed noise shares from one discrete Gaussian (Kairouz et al. 2021).
            It costs (1 + e^ε)·delta_sum of δ, which is set aside first.
        scale_of: σ in counts → the scale of the grid on which noise of that σ is drawn.

    Raises:
        BudgetError: if the budget is malformed, spent on `delta_sum` alone, or exceeded by `mu_budget`.
    """
    if n_features < 1:
        raise BudgetError("a table needs at least one feature", field="n_features", remedy="add features")
    if not 0 < pair_share < 1:
        raise BudgetError(f"pair_share {pair_share} is not between 0 and 1", field="pair_share", remedy="use 0.5")
    usable = usable_delta(epsilon, delta, delta_sum)

    def mechanisms(mu: float) -> tuple[DiscreteGaussianCells, ...]:
        return _tables_of(n_features, mu, pair_share, scale_of)

    if mu_budget is None:
        mu = _largest_mu(gdp_budget(epsilon, usable), epsilon, usable, lambda mu: [mechanisms(mu)])
    else:
        mu = mu_budget
    cells = mechanisms(mu)
    reached = epsilon_of(cells, usable)
    if reached > epsilon:
        raise BudgetError(
            f"mu {mu:.6g} costs epsilon {reached:.6g}, more than {epsilon:g}",
            field="mu_budget",
            remedy="take mu from split_budget",
        )
    return TablesNoise(
        sigma_class=cells[0].sigma,
        sigma_pair=cells[-1].sigma,
        mu=mu,
        epsilon_pld=reached,
        epsilon_replace_one=epsilon_of(cells, usable, adjacency="replace-one"),
        mechanisms=cells,
    )


def calibrate_cells(
    count: int, epsilon: float, delta: float, *, delta_sum: float = 0.0, scale_of: ScaleOf = whole_counts
) -> DiscreteGaussianCells:
    """Least noise for `count` touched cells within (ε, δ), e.g. those of an evaluation's histogram.

    Args:
        count: cells that one merchant touches, by one each.
        delta_sum, scale_of: as in `calibrate_tables`.

    Raises:
        BudgetError: if the budget is malformed, or spent on `delta_sum` alone.
    """
    if count < 1:
        raise BudgetError("a histogram touches at least one cell", field="count", remedy="count something")
    usable = usable_delta(epsilon, delta, delta_sum)

    def cells(mu: float) -> DiscreteGaussianCells:
        sigma = math.sqrt(count) / mu
        return DiscreteGaussianCells(sigma, count, scale_of(sigma))

    return cells(
        _largest_mu(gdp_budget(epsilon, usable), epsilon, usable, lambda mu: [[each] for each in _coarser(cells(mu))])
    )


def split_budget(
    epsilon: float,
    delta: float,
    stages: Sequence[Stage],
    encoder_share: float = 0.5,
    *,
    n_features: int = 10,
    charged_attempts: int = 60,
    pair_share: float = 0.4,
    bins_share: float = BINS_SHARE,
    bins_touched: int = 0,
    delta_sum: float = 0.0,
    scale_of: ScaleOf = whole_counts,
) -> dict[Stage, float]:
    """μ per stage such that the PLD composition of all stages stays within (ε, δ).

    `bins_share` is the part of μ² that a bins stage gets beside others, where a merchant touches `bins_touched` counts;
    of the rest `encoder_share` is the encoder stage's when encoder and scorecard run. Feature and attempt counts only
    shape the mechanisms that are composed to check the sum; the Gaussian limit hardly depends on them. The sum is
    checked for the scales of `scale_of` and for all smaller ones: nodes that leave make shares wider.
    """
    usable = usable_delta(epsilon, delta, delta_sum)
    chosen = tuple(dict.fromkeys(stages))
    if not chosen:
        raise BudgetError("a campaign needs a stage", field="stages", remedy="name encoder or scorecard")
    if not 0 < encoder_share < 1:
        raise BudgetError(
            f"encoder_share {encoder_share} is not between 0 and 1", field="encoder_share", remedy="use 0.5"
        )
    if "bins" in chosen and (len(chosen) == 1 or not 0 < bins_share < 1 or bins_touched < 1):
        what = f"a bins stage needs another stage beside it, a share between 0 and 1, not {bins_share}, and counts"
        raise BudgetError(what, field="bins_share", remedy=f"use {BINS_SHARE}")
    trained = [stage for stage in chosen if stage != "bins"]
    shares: dict[Stage, float] = {"encoder": encoder_share, "scorecard": 1 - encoder_share}
    if len(trained) == 1:
        shares = {trained[0]: 1.0}
    if "bins" in chosen:
        left: dict[Stage, float] = {stage: (1 - bins_share) * share for stage, share in shares.items()}
        shares = {"bins": bins_share, **left}

    def alternatives(mu: float) -> list[tuple[Mechanism, ...]]:
        parts: list[Sequence[Mechanism]] = []
        if "bins" in shares:
            parts.append(_coarser(bins_mechanism(bins_touched, mu * math.sqrt(shares["bins"]), scale_of=scale_of)))
        if "encoder" in shares:
            sigma = math.sqrt(charged_attempts) / (mu * math.sqrt(shares["encoder"]))
            parts.append((GaussianRounds(sigma, charged_attempts),))
        if "scorecard" in shares:
            tables = _tables_of(n_features, mu * math.sqrt(shares["scorecard"]), pair_share, scale_of)
            parts += map(_coarser, tables)
        return list(product(*parts))

    mu = _largest_mu(gdp_budget(epsilon, usable), epsilon, usable, alternatives)
    return {stage: mu * math.sqrt(share) for stage, share in shares.items()}


def bins_mechanism(touched: int, mu: float, *, scale_of: ScaleOf = whole_counts) -> DiscreteGaussianCells:
    """What opening the trees of a bins stage costs at μ: a merchant touches `touched` counts, by one each."""
    sigma = math.sqrt(touched) / mu
    return DiscreteGaussianCells(sigma, touched, scale_of(sigma))


def _tables_of(n_features: int, mu: float, pair_share: float, scale_of: ScaleOf) -> tuple[DiscreteGaussianCells, ...]:
    """The table's mechanisms at μ."""
    pairs = n_features * (n_features - 1) / 2
    spent = pair_share if pairs else 0.0
    sigma_class = math.sqrt(n_features) / (mu * math.sqrt(1 - spent))
    sigma_pair = math.sqrt(pairs) / (mu * math.sqrt(pair_share)) if pairs else sigma_class
    return tables_mechanisms(
        n_features, sigma_class, sigma_pair, class_scale=scale_of(sigma_class), pair_scale=scale_of(sigma_pair)
    )


def _coarser(cells: DiscreteGaussianCells) -> list[DiscreteGaussianCells]:
    """These cells on their own grid and on every coarser one."""
    return [replace(cells, scale=cells.scale >> step) for step in range(cells.scale.bit_length())]


def usable_delta(epsilon: float, delta: float, delta_sum: float) -> float:
    """δ left after the noise shares' distance from a discrete Gaussian: δ − (1 + e^ε)·delta_sum.

    If both neighbouring outputs are within statistical distance τ of an (ε, δ′)-DP pair, they are
    (ε, δ′ + (1 + e^ε)τ)-DP.
    """
    _check_epsilon(epsilon)
    _check_delta(delta)
    left = delta - (1 + math.exp(epsilon)) * delta_sum
    if delta_sum < 0 or left <= delta / 2:
        raise BudgetError(
            f"the noise shares' distance from Gaussians, {delta_sum:g}·(1 + exp({epsilon:g})), uses up delta {delta:g}",
            field="delta_sum",
            remedy="take a smaller epsilon or a larger delta, let fewer nodes add noise, or refine the table's scale",
        )
    return left


def _largest_mu(
    start: float, epsilon: float, delta: float, alternatives: Callable[[float], Sequence[Sequence[Mechanism]]]
) -> float:
    """A μ just below `start` whose mechanisms, in every alternative, cost at most ε; mostly the first step does.

    The PLD of these mechanisms is within 1e-5 of the Gaussian limit unless σ is near 1, so steps beat bisection.
    """
    for margin in (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.4, 0.6):
        mu = start * (1 - margin)
        if all(epsilon_of(each, delta) <= epsilon for each in alternatives(mu)):
            return mu
    raise BudgetError(
        f"epsilon {epsilon:g} cannot be met at delta {delta:g}", field="epsilon", remedy="raise epsilon or delta"
    )


def _root(function: Callable[[float], float], low: float, high: float, *, tolerance: float) -> float:
    from scipy.optimize import brentq  # noqa: PLC0415 (half a second to import, and every command imports this module)

    return float(brentq(function, low, high, xtol=tolerance))


def _simple(mechanisms: Iterable[Mechanism]) -> tuple[DiscreteGaussianCells | GaussianRounds, ...]:
    return tuple(each for each in mechanisms if not isinstance(each, Parallel))


def _sigma(mechanism: Mechanism) -> float:
    if isinstance(mechanism, Parallel):
        return min((_sigma(each) for part in mechanism.parts for each in part), default=math.inf)
    if isinstance(mechanism, DiscreteGaussianCells):
        return mechanism.sigma
    return mechanism.sigma_over_sensitivity


def _check_mechanisms(mechanisms: Sequence[Mechanism]) -> None:
    for mechanism in mechanisms:
        if isinstance(mechanism, Parallel):
            for part in mechanism.parts:
                _check_mechanisms(part)
            continue
        count = mechanism.count if isinstance(mechanism, DiscreteGaussianCells) else mechanism.rounds
        sigma = _sigma(mechanism)
        scale = mechanism.scale if isinstance(mechanism, DiscreteGaussianCells) else 1
        rate = 1.0 if isinstance(mechanism, DiscreteGaussianCells) else mechanism.sampling_rate
        if count < 1 or scale < 1 or not math.isfinite(sigma) or sigma < 0 or not 0 < rate <= 1:
            raise BudgetError(
                f"not a mechanism: {mechanism}",
                field="mechanisms",
                remedy="use finite sigma ≥ 0, count and scale ≥ 1, a sampling rate above 0",
            )


def _check_epsilon(epsilon: float) -> None:
    if not (math.isfinite(epsilon) and 0 < epsilon <= 100):
        raise BudgetError(
            f"epsilon {epsilon} is not between 0 and 100", field="epsilon", remedy="use a value such as 1 or 3"
        )


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise BudgetError(f"delta {delta} is not between 0 and 1", field="delta", remedy="use 1e-5")
