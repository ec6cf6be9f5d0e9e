"""All attacks on all released things: scores, verdicts, results as plain data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.attacks import campaign, encoder, evaluation, quantiles, tables
from benchmarks.attacks.claims import Claims, claims_of
from benchmarks.attacks.one_run import audit
from benchmarks.attacks.releases import Float64, MakeRelease, Release, Seen, Setting
from benchmarks.attacks.verdicts import Scored, Verdict, judge

RELEASES: Mapping[str, MakeRelease] = {
    "tables": tables.tables,
    "tables, replace-one": tables.replaced,
    "scorecard": tables.scorecard,
    "gradient sums": encoder.gradient_sums,
    "gradient sums, replace-one": encoder.replaced_sums,
    "gradient sums, sampled": encoder.sampled_sums,
    "encoder parameters": encoder.parameters,
    "quantile trees": quantiles.trees,
    "bins from quantiles": quantiles.bins,
    "evaluation histogram": evaluation.histogram,
    "campaign, in training": campaign.in_training,
    "campaign with quantiles, in training": campaign.with_quantiles,
    "campaign, held out": campaign.held_out,
    "three campaigns": tables.repeated,
    "two campaigns, left after one": tables.left_after_one,
    "two campaigns, training then held out": campaign.both_places,
}
"""Name → how to make the released thing under a setting. A new kind of release is one more entry."""
_RIDGE = 1e-9


@dataclass(frozen=True)
class Result:
    """One attack on one released thing.

    Attributes:
        one_run: lower limit of ε by `benchmarks.attacks.one_run`.
    """

    release: str
    attack: str
    setting: Setting
    claims: Claims
    verdict: Verdict
    one_run: float


def attack(name: str, setting: Setting, trials: int, make: MakeRelease | None = None) -> list[Result]:
    """Every attack on one released thing.

    Args:
        name: of the released thing.
        setting: the campaign's promise.
        trials: of either world, the shadow half included; a release may take a share of them.
        make: the released thing; that of `RELEASES` where None.
    """
    release = (make or RELEASES[name])(setting)
    claims = claims_of(release.mechanisms, setting.delta, release.adjacency)
    seen = _drawn(release, trials)
    middle = len(seen.into) // 2
    order = np.random.default_rng(0).permutation(len(seen.into))
    shadow, fresh = seen.taken(order[:middle]), seen.taken(order[middle:])
    results = []
    for each, (before, after) in scores(shadow, fresh).items():
        halves = _split(shadow, before), _split(fresh, after)
        results.append(
            Result(name, each, setting, claims, judge(*halves, claims), one_run=audit(*halves, setting.delta))
        )
    return results


def suite(epsilons: Sequence[float], trials: int, names: Sequence[str] = ()) -> Iterator[tuple[list[Result], float]]:
    """Results of every released thing at every ε, and the seconds that it took."""
    for epsilon in epsilons:
        for name in names or RELEASES:
            began = time.monotonic()
            yield attack(name, Setting(epsilon), trials), time.monotonic() - began


def scores(shadow: Seen, fresh: Seen) -> dict[str, tuple[Float64, Float64]]:
    """Attack → its scores of the shadow trials and of the fresh ones.

    * `likelihood ratio`: exact, of the law that is claimed: no attack is better if the claim is right.
    * `shadow models`: a linear discriminant over all features with means and covariance of the shadow trials: LiRA
      (Carlini et al. 2022) over many numbers at once. It is told no law, so it also finds noise that is missing or
      used twice.
    * `target's score`: the same over what the model says of the target alone.
    """
    found: dict[str, tuple[Float64, Float64]] = {}
    if shadow.loss is not None and fresh.loss is not None:
        found["likelihood ratio"] = shadow.loss, fresh.loss
    found["shadow models"] = _discriminant(shadow.into, shadow.features, fresh.features)
    if shadow.score is not None and fresh.score is not None:
        found["target's score"] = _discriminant(shadow.into, shadow.score[:, None], fresh.score[:, None])
    return found


def _drawn(release: Release, trials: int) -> Seen:
    return release.draw(max(2, round(trials * release.trials_share)))


def _split(seen: Seen, score: Float64) -> Scored:
    return Scored(out=score[~seen.into], into=score[seen.into])


def _discriminant(into: np.ndarray, shadow: Float64, fresh: Float64) -> tuple[Float64, Float64]:
    """Fisher's linear discriminant, trained on the shadow trials.

    A feature or a combination of features without any noise gets all but infinite weight.
    """
    centre, spread = shadow.mean(axis=0), shadow.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    known, new = (shadow - centre) / scale, (fresh - centre) / scale
    means = known[into].mean(axis=0), known[~into].mean(axis=0)
    within = known - np.where(into[:, None], means[0], means[1])
    covariance = within.T @ within / max(len(known) - 2, 1) + _RIDGE * np.eye(known.shape[1])
    weights = np.linalg.solve(covariance, means[0] - means[1])
    return known @ weights, new @ weights
