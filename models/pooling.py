"""Earlier campaigns' opened tables counted with a new one, at weights that the tables themselves give.

What was opened is public within the programme, so all of this is post-processing: it costs no merchant any privacy.
For each earlier table, in order:

P1  Both tables have the same bins (`check_same_bins`); their merchants and noise may differ.
P2  Every bin's rate of default, over its table's mean rate, is compared. What the differences exceed noise and chance
    by is drift, of variance τ² (method of moments, inverse-variance weights).
P3  The earlier table gets the weight by which two estimates of the same rates are best averaged, with τ² added to the
    earlier one's variance; no more than its noise on pairs alone would give it, for most of a table's noise is there;
    and at most ½ for the last campaign, ¼ for the one before it, and so on.
P4  Its defaults are scaled to the new table's mean rate: how many default is the new campaign's alone to say.
P5  Counts are added at that weight.

Noise adds up as its variance, so that the fit sees a table of more merchants and relatively less noise. A world that
has changed past recognition gets a weight near nought (docs/adr/0004-encoders.md gives figures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.errors import DataError
from models.feature import Feature
from models.margins import Margins, consistent_margins
from models.schema import Schema
from models.tables import FloatArray, OpenedTable

LARGEST_WEIGHT = 0.5
"""Of the last campaign's table; each one before it gets at most this share of its successor's. Chosen on split seeds
from 100 on; 1 was no better even where nothing drifts."""
MOST_EARLIER = 4
"""Earlier tables that a campaign may count; a fifth would weigh 1/32 at most."""
_STEPS = 1 << 12


@dataclass(frozen=True)
class Agreement:
    """How well an earlier table agrees with the new one.

    Attributes:
        weight: at which the earlier table is counted, a multiple of 1/4096.
        drift: τ, standard deviation of a bin's relative rate that noise and chance do not explain.
        excess: standard deviations by which the differences exceed noise and chance; about normal without drift.
    """

    weight: float
    drift: float
    excess: float


def check_same_bins(schema: Schema, earlier: Schema) -> None:
    """P1: the features' kinds, names and bins are the same, and so is what is predicted.

    Raises:
        DataError: naming the feature that differs.
    """
    remedy = "count only campaigns whose schema has the same features, bins and label"
    label, before = schema.label, earlier.label
    if (label.kind, label.column, label.performance_months) != (before.kind, before.column, before.performance_months):
        raise DataError("the earlier campaign predicted another outcome", field="label", remedy=remedy)
    if schema.kinds_in_order() != earlier.kinds_in_order():
        raise DataError("the earlier campaign had other kinds", field="kinds", remedy=remedy)
    for kind in schema.kinds_in_order():
        now, then = schema.features(kind), earlier.features(kind)
        if [each.name for each in now] != [each.name for each in then]:
            raise DataError(f"the earlier campaign had other features of kind {kind}", field=kind, remedy=remedy)
        for one, other in zip(now, then, strict=True):
            if _bins(one.spec) is None or _bins(one.spec) != _bins(other.spec):
                raise DataError(
                    f"feature {one.name} had other bins in the earlier campaign", field=one.name, remedy=remedy
                )


def agreement(table: OpenedTable, earlier: OpenedTable, most: float = LARGEST_WEIGHT) -> Agreement:
    """P2 and P3.

    Args:
        table: the new campaign's.
        earlier: with the same features.
        most: largest weight.

    Raises:
        FitError: one of them has too few defaults or others.
    """
    now, then = consistent_margins(table), consistent_margins(earlier)
    differences = _relative_rates(now) - _relative_rates(then)
    variance_now, variance_then = _variances(table, now), _variances(earlier, then)
    precision = 1 / (variance_now + variance_then)
    total = float(precision.sum())
    excess = float(precision @ differences**2) - len(differences)
    drift = max(excess, 0.0) / total
    mean_now, mean_then = float(precision @ variance_now) / total, float(precision @ variance_then) / total
    by_rates = now.size * mean_now / (then.size * (mean_then + drift))
    by_noise = then.size / now.size * (table.sigma_pair / earlier.sigma_pair) ** 2 if earlier.sigma_pair else math.inf
    return Agreement(
        weight=math.floor(min(most, by_rates, by_noise) * _STEPS) / _STEPS,
        drift=math.sqrt(drift),
        excess=excess / math.sqrt(2 * len(differences)),
    )


def pooled(table: OpenedTable, earlier: Sequence[OpenedTable]) -> tuple[OpenedTable, tuple[Agreement, ...]]:
    """The new table with earlier ones counted in, and at which weights.

    Args:
        table: the new campaign's.
        earlier: the last campaign's first.

    Raises:
        DataError: features differ, or there are more than `MOST_EARLIER`.
        FitError: a table has too few defaults or others.
    """
    if len(earlier) > MOST_EARLIER:
        raise DataError(
            f"{len(earlier)} earlier tables are more than {MOST_EARLIER}",
            field="earlier",
            remedy="name the newest campaigns only",
        )
    for each in earlier:
        if each.features != table.features:
            raise DataError(
                "an earlier table has other features or bins",
                field="earlier",
                remedy="count only campaigns of the same bins",
            )
    found = tuple(agreement(table, each, LARGEST_WEIGHT ** (age + 1)) for age, each in enumerate(earlier))
    rate = _rate(consistent_margins(table))
    total = table
    for each, agreed in zip(earlier, found, strict=True):
        if agreed.weight > 0:
            total = _added(total, each, agreed.weight, rate)
    return total, found


def _bins(feature: Feature) -> tuple[object, ...] | None:
    """All that says which bin a value falls into, and how the fit may use it; None while bins are still to come."""
    if feature.unsettled:
        return None
    own = (feature.bins, feature.categories, feature.special_from, feature.derived, feature.monotone)
    return (*own, *(_bins(factor) for factor in feature.factors or ()))


def _rate(margins: Margins) -> float:
    return margins.defaults / margins.size


def _relative_rates(margins: Margins) -> FloatArray:
    """(D,) every bin's rate of default over the mean rate."""
    return margins.p / margins.n / _rate(margins)


def _variances(table: OpenedTable, margins: Margins) -> FloatArray:
    """(D,) variances of the relative rates: noise of p and of n, and chance."""
    rate, scale = _rate(margins), margins.label_scale
    noise = (scale * table.sigma_class / margins.n) ** 2 / rate**2
    chance = scale * (1 - rate) / (rate * margins.n)
    return np.asarray(noise + chance)


def _added(total: OpenedTable, earlier: OpenedTable, weight: float, rate: float) -> OpenedTable:
    """P4 and P5: `earlier` counted into `total` at `weight`, its defaults scaled to `rate`."""
    scale = rate / _rate(consistent_margins(earlier))

    def scaled(counts: FloatArray) -> FloatArray:
        defaults = scale * counts[:, 0]
        return np.column_stack([defaults, counts.sum(axis=1) - defaults])

    def summed(here: int, before: int) -> int:
        return round(here + weight * before)

    labelled = None
    if total.labelled is not None and earlier.labelled is not None:
        labelled = summed(total.labelled, earlier.labelled)
    return replace(
        total,
        classes=tuple(now + weight * scaled(then) for now, then in zip(total.classes, earlier.classes, strict=True)),
        pairs={pair: counts + weight * earlier.pairs[pair] for pair, counts in total.pairs.items()},
        cohort_size=summed(total.cohort_size, earlier.cohort_size),
        kind_totals={kind: summed(n, earlier.kind_totals[kind]) for kind, n in total.kind_totals.items()},
        pair_totals={pair: summed(n, earlier.pair_totals[pair]) for pair, n in total.pair_totals.items()},
        sigma_class=math.hypot(total.sigma_class, weight * scale * earlier.sigma_class),
        sigma_pair=math.hypot(total.sigma_pair, weight * earlier.sigma_pair),
        labelled=labelled,
    )
