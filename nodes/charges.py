"""What a node's sends cost together: pure accounting over the lines of its ledger (docs/protocol.md, 3 and 4).

* Every send that stands pays the mechanisms of its own stage, so a second attempt pays again.
* A campaign's evaluation and its other stages compose in parallel, as no merchant is in both: the dearer counts.
* The campaign's other stages are paid once, as long as one of its sends stands: the node's merchants meet them
  at other nodes.
* All campaigns compose on one PLD, conservatively as if every merchant were in each.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from crypto.wire.campaign import MechanismTerms, Stage, TablesMechanism
from models.accounting import epsilon_of, gdp_mu, in_parallel, usable_delta
from models.errors import BudgetError
from models.mechanisms import DiscreteGaussianCells, GaussianRounds, Mechanism

_STAGES: tuple[Stage, ...] = ("bins", "encoder", "scorecard", "evaluation", "statistics")


@dataclass(frozen=True)
class Charge:
    """One send as its owner sees it: the ledger's line without the bytes."""

    campaign_id: str
    attempt: str
    h: bytes
    sha256: bytes
    mechanisms: tuple[MechanismTerms, ...]
    delta_sum: float
    sent_at: int
    refunded: bool


def epsilon_spent(standing: Sequence[Charge], *, epsilon: float, delta: float) -> float:
    """ε at `delta` of charges that stand; infinite where the noise shares' distance uses `delta` up.

    Args:
        standing: charges that were not refunded.
        epsilon: the budget, tried as a guess (see below).
        delta: the budget's δ.
    """
    mechanisms = compose(standing)
    if not mechanisms:
        return 0.0
    distance = shares_distance(standing)
    ideal = _epsilon_of(mechanisms, delta)
    if distance == 0:
        return ideal
    # (ε, δ′)-DP of the ideal noise is (ε, δ′ + (1 + e^ε)·distance)-DP of the shares' sum: ε must be guessed first.
    reached = math.inf
    for guess in sorted({min(epsilon, 1.01 * ideal + 0.01), epsilon}):
        try:
            reached = _epsilon_of(mechanisms, usable_delta(guess, delta, distance))
        except BudgetError:
            return math.inf
        if reached <= guess:
            break
    return reached


def compose(standing: Iterable[Charge]) -> tuple[Mechanism, ...]:
    """What charges that stand cost together (see above), in a canonical order."""
    own: dict[str, list[MechanismTerms]] = defaultdict(list)
    elsewhere: dict[str, dict[Stage, list[MechanismTerms]]] = defaultdict(dict)
    ran: dict[str, set[Stage]] = defaultdict(set)
    for charge in standing:
        stage = stage_of(charge.campaign_id, charge.attempt)
        if all(mechanism.stage != stage for mechanism in charge.mechanisms):
            stage = None  # mechanisms of other stages only: a send must not ride on a name
        for each in _STAGES:
            part = [mechanism for mechanism in charge.mechanisms if mechanism.stage == each]
            if stage in (None, each):
                own[charge.campaign_id].extend(part)
                ran[charge.campaign_id].update({each} if part else ())
            elif part:
                # Terms of one campaign agree; if a hub changed them, the dearer list counts.
                known = elsewhere[charge.campaign_id].get(each, [])
                elsewhere[charge.campaign_id][each] = max(known, part, key=_weight)
    for campaign, stages in elsewhere.items():
        for each, part in stages.items():
            if each not in ran[campaign]:
                own[campaign].extend(part)
    mechanisms = [mechanism for each in own.values() for mechanism in campaign_mechanisms(each)]
    return tuple(sorted(mechanisms, key=repr))


def campaign_mechanisms(mechanisms: Iterable[MechanismTerms]) -> tuple[Mechanism, ...]:
    """One campaign's mechanisms as the accountant knows them, its evaluation in parallel to the other stages."""
    return in_parallel(*by_population(mechanisms))


def by_population(mechanisms: Iterable[MechanismTerms]) -> tuple[tuple[Mechanism, ...], tuple[Mechanism, ...]]:
    """What merchants in training meet, and what held-out ones do.

    Node and witness have seen to it that no merchant is in both: all attempts of a campaign are under one hold-out rule
    (`nodes.campaign_rules`), an evaluation has held-out merchants only and the other stages have none.
    """
    training: list[Mechanism] = []
    evaluation: list[Mechanism] = []
    for each in mechanisms:
        (evaluation if each.stage == "evaluation" else training).append(accounted(each))
    return tuple(training), tuple(evaluation)


def shares_distance(standing: Iterable[Charge]) -> float:
    """Total distance of the noise shares from discrete Gaussians.

    A send's `delta_sum` is its campaign's, all stages in one, so attempts of different stages share it and only further
    attempts of a stage add to it. An evaluation's is that of other merchants; the larger counts.
    """
    times: dict[str, Counter[Stage | None]] = defaultdict(Counter)
    largest: dict[str, float] = defaultdict(float)
    for charge in standing:
        if charge.delta_sum:
            times[charge.campaign_id][stage_of(charge.campaign_id, charge.attempt)] += 1
            largest[charge.campaign_id] = max(largest[charge.campaign_id], charge.delta_sum)
    return math.fsum(largest[campaign] * max(counts.values()) for campaign, counts in times.items())


def stage_of(campaign_id: str, attempt: str) -> Stage | None:
    """The stage in an attempt's id (`<campaign>/<stage>/…`), or None."""
    rest = attempt.removeprefix(f"{campaign_id}/")
    head = rest.split("/", 1)[0] if rest != attempt else ""
    return next((stage for stage in _STAGES if stage == head), None)


def accounted(mechanism: MechanismTerms) -> Mechanism:
    """A mechanism of the wire as the accountant knows it."""
    if isinstance(mechanism, TablesMechanism):
        return DiscreteGaussianCells(sigma=mechanism.sigma, count=mechanism.count, scale=mechanism.scale)
    return GaussianRounds(
        sigma_over_sensitivity=mechanism.sigma_over_sensitivity,
        rounds=mechanism.rounds,
        sampling_rate=mechanism.sampling_rate,
    )


def _weight(mechanisms: Sequence[MechanismTerms]) -> float:
    """μ² of the list, to compare two."""
    return gdp_mu([accounted(each) for each in mechanisms]) ** 2


@lru_cache(maxsize=64)
def _epsilon_of(mechanisms: tuple[Mechanism, ...], delta: float) -> float:
    return epsilon_of(mechanisms, delta)
