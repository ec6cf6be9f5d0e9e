"""Attacks on the encoder stage: all opened gradient sums, those of repeated tries too, and the final parameters.

The attacker is white-box: at each try's parameters it takes the target's clipped gradient by the product's function.
Canary c stands in bin c of every feature, so canaries' gradients share no coordinate; the bound C is so low that every
gradient is clipped at every try: each canary then has the same, largest, influence in every round, whatever the others
did, and trials are independent. Half of the canaries defaulted. The last round is opened several times, as tries
that were sent and did not count, until all T + r charged attempts are used.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import logsumexp

from benchmarks.attacks.opening import less_colluders, opened
from benchmarks.attacks.releases import Coins, Float64, Int64, Release, Seen, Setting, fair_coins
from crypto.round_grid import RoundGrid, round_grid
from crypto.wire.campaign import EncoderTerms
from models.codes import DEFAULTED, UNLABELLED
from models.dpsgd import clipped_gradient_sum
from models.encoder import Encoder, build, set_parameters
from models.encoder_spec import EncoderSpec, RoundsNoise, calibrate_rounds
from models.encoder_step import apply_step, final_parameters, initial_parameters, initial_state
from models.mechanisms import Mechanism
from models.sampling import poisson_sample

CANARIES, FEATURES, OTHERS = 20, 3, 60
SAMPLING_RATE = 0.3
Codes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True)
class Stage:
    """An encoder stage's specification, noise and grid."""

    spec: EncoderSpec
    noise: RoundsNoise
    grid: RoundGrid
    setting: Setting


def specification(sampling_rate: float = 1.0) -> EncoderSpec:
    """Of a linear encoder whose bins stand alone: no smoothing mixes the canaries' parameters."""
    return EncoderSpec(
        widths=(CANARIES,) * FEATURES,
        ordered=(0,) * FEATURES,
        clip=0.1,
        rounds=3,
        retries=3,
        sampling_rate=sampling_rate,
    )


def stage(
    setting: Setting, *, sampling_rate: float = 1.0, mu_budget: float | None = None, beside: tuple[Mechanism, ...] = ()
) -> Stage:
    """The stage of a campaign with this promise; with `mu_budget` and `beside`, of one that has other stages too."""
    spec = specification(sampling_rate)
    noise = calibrate_rounds(spec, setting.epsilon, setting.delta, mu_budget=mu_budget, beside=beside)
    terms = EncoderTerms(
        kind="bank",
        spec=spec.model_dump_json(),
        parameters=spec.n_parameters,
        rounds=spec.rounds,
        charged_attempts=spec.charged_attempts,
        sigma_grid=noise.sigma_grid,
        grid=spec.grid,
        clip=spec.clip,
    )
    grid = round_grid(
        terms,
        n_nodes=setting.nodes,
        t_collude=setting.t_collude,
        cohort_size=OTHERS + CANARIES,
        noise=True,
    )
    return Stage(spec, noise, grid, setting)


@dataclass(frozen=True)
class Run:
    """What one run of all rounds shows of every canary.

    Attributes:
        sums: (canaries, tries · F) opened sums in its coordinates, less all that is known, in units of σ.
        loss: (canaries,) exact log-likelihood ratio over all tries.
        parameters: (canaries, F) final parameters in its coordinates.
        least_norm: of all canaries' clipped gradients at all tries, in grid units.
    """

    sums: Float64
    loss: Float64
    parameters: Float64
    least_norm: float


def run_rounds(of: Stage, into: Coins, *, replaced: bool = False) -> Run:
    """One run with these canaries in; of every other rows are empty, or, replaced, have the opposite outcome."""
    spec = of.spec
    others, canaries = _rows()
    opposite = (1 - canaries[1]).astype(np.uint8)
    outcome = np.where(into, canaries[1], opposite if replaced else np.uint8(UNLABELLED)).astype(np.uint8)
    dealt = np.arange(CANARIES) % (of.setting.nodes - 1)
    held = [others, *((canaries[0][dealt == node], outcome[dealt == node]) for node in range(of.setting.nodes - 1))]
    parameters, state, module = initial_parameters(spec), initial_state(spec), build(spec)
    sums, loss, norms = [], np.zeros(CANARIES), []
    for number in range(spec.charged_attempts):
        set_parameters(module, parameters)
        total, left, known = _one_try(of, module, held)
        rest = _per_canary(left - known)
        own = _per_canary(_gradients(spec, module, *canaries))
        norms.append(float(np.linalg.norm(own, axis=1).min()))
        sums.append(rest / of.noise.sigma_grid)
        loss += _try_loss(rest, own, of.noise.sigma_grid, spec.sampling_rate)
        if replaced:
            other = _per_canary(_gradients(spec, module, canaries[0], opposite))
            loss -= _try_loss(rest, other, of.noise.sigma_grid, spec.sampling_rate)
        if number < spec.rounds - 1 or number == spec.charged_attempts - 1:
            parameters, state = apply_step(parameters, total, n_public=OTHERS + CANARIES, spec=spec, state=state)
    if state.step != spec.rounds:
        raise RuntimeError("a run must end with all its rounds")
    final = _per_canary(final_parameters(spec, parameters, state))
    return Run(np.concatenate(sums, axis=1), loss, final, min(norms))


def _one_try(of: Stage, module: Encoder, held: list[tuple[Codes, Codes]]) -> tuple[Int64, Int64, Int64]:
    """The opened sum, it less the colluders' noise, and what the others' rows, all at the first node, added to it."""
    values, noise = [], []
    for codes, outcome in held:
        taking_part = poisson_sample(len(codes), of.spec.sampling_rate, secrets.token_bytes)
        values.append(_gradients(of.spec, module, codes, outcome, taking_part))
        share = of.grid.share()
        if share is None:
            raise RuntimeError("noise is off")
        noise.append(share)
    total = opened(values, noise, width=64, bound=of.grid.bound)
    return total, less_colluders(total, noise, of.setting.t_collude), values[0]


def _try_loss(rest: Float64, own: Float64, sigma: float, rate: float) -> Float64:
    """(canaries,) log-likelihood ratio of one try; sampled, of a mixture of "took part" and "did not"."""
    loss = (own * (2 * rest - own)).sum(axis=1) / (2 * sigma**2)
    if rate == 1:
        return np.asarray(loss)
    return np.asarray(logsumexp(np.stack([loss, np.zeros_like(loss)]), axis=0, b=[[rate], [1 - rate]]))


def _gradients(
    spec: EncoderSpec, module: Encoder, codes: Codes, outcome: Codes, taking_part: Coins | None = None
) -> Int64:
    return clipped_gradient_sum(module, codes, outcome, clip=spec.clip, grid=spec.grid, taking_part=taking_part)


def _per_canary(vector: Float64 | Int64) -> Float64:
    """(canaries, F) float64 of a (P,) vector: a canary's bins are of its own number."""
    return vector.astype(np.float64).reshape(FEATURES, CANARIES).T


def _rows() -> tuple[tuple[Codes, Codes], tuple[Codes, Codes]]:
    rng = np.random.default_rng(29)
    others = rng.integers(0, CANARIES, (OTHERS, FEATURES)).astype(np.uint8)
    outcomes = rng.integers(0, 2, OTHERS).astype(np.uint8)
    numbers = np.arange(CANARIES, dtype=np.uint8)
    rows = np.repeat(numbers[:, None], FEATURES, axis=1)
    return (others, outcomes), (rows, np.where(numbers % 2, np.uint8(DEFAULTED), np.uint8(1)).astype(np.uint8))


def draw_runs(of: Stage, trials: int, *, replaced: bool = False) -> tuple[Coins, Run]:
    """Some `trials` of either world, by runs of all canaries each."""
    into = fair_coins(-(-2 * trials // CANARIES), CANARIES)
    runs = [run_rounds(of, coins, replaced=replaced) for coins in into]
    sides = _sides()
    return into.ravel(), Run(
        np.concatenate([run.sums * -sides[:, None] for run in runs]),
        np.concatenate([run.loss for run in runs]),
        np.concatenate([run.parameters * sides[:, None] for run in runs]),
        min(run.least_norm for run in runs),
    )


def draw_sums(of: Stage, trials: int, *, replaced: bool = False) -> Seen:
    """The opened sums of all charged tries."""
    into, runs = draw_runs(of, trials, replaced=replaced)
    return Seen(into, runs.sums, runs.loss)


def gradient_sums(setting: Setting) -> Release:
    """Every opened gradient sum."""
    of = stage(setting)
    return Release(of.noise.mechanisms, partial(draw_sums, of))


def replaced_sums(setting: Setting) -> Release:
    """The same under replace-one, at its worst: the target's rows, or the same rows with the opposite outcome."""
    of = stage(setting)
    draw = partial(draw_sums, of, replaced=True)
    return Release(of.noise.mechanisms, draw, trials_share=0.5, adjacency="replace-one")


def sampled_sums(setting: Setting) -> Release:
    """Every opened gradient sum of rounds in which each row takes part by a secret coin."""
    of = stage(setting, sampling_rate=SAMPLING_RATE)
    return Release(of.noise.mechanisms, partial(draw_sums, of))


def parameters(setting: Setting) -> Release:
    """The final parameters alone: of the target's bins, less what they would be without it; their sum is its logit."""
    of = stage(setting)

    def draw(trials: int) -> Seen:
        into, runs = draw_runs(of, trials)
        expected = np.tile(_without_anybody(of) * _sides()[:, None], (len(into) // CANARIES, 1))
        rest = runs.parameters - expected
        return Seen(into, rest, score=rest.sum(axis=1))

    return Release(of.noise.mechanisms, draw, trials_share=0.5)


def _without_anybody(of: Stage) -> Float64:
    """(canaries, F) final parameters of a run of the others' rows without noise: the attacker's own."""
    spec, module = of.spec, build(of.spec)
    parameters, state = initial_parameters(spec), initial_state(spec)
    for _ in range(spec.rounds):
        set_parameters(module, parameters)
        total = _gradients(spec, module, *_rows()[0])
        parameters, state = apply_step(parameters, total, n_public=OTHERS + CANARIES, spec=spec, state=state)
    return _per_canary(final_parameters(spec, parameters, state))


def _sides() -> Float64:
    """(canaries,) which way a canary's outcome pulls its parameters, so that all pull alike."""
    return np.where(_rows()[1][1] == DEFAULTED, 1.0, -1.0)
