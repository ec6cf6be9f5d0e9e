"""How far counts per bin have moved between two days: the population stability index (PSI).

Of exact counts of one's own rows it is what it is. Between private tables, or between one and a sample, chance and
noise raise it; `models.divergence` takes that off and gives an interval, and `reading_of` speaks of a move only where
the whole interval lies beyond the usual limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from models.divergence import Divergence, divergence
from models.errors import DataError
from models.evidence import in_line
from models.tables import FeatureBins, FloatArray, OpenedTable, encoder_feature

MOVED, MOVED_MUCH = 0.1, 0.25
"""The usual reading (Siddiqi 2006): stable below the first; from the second on a model is in doubt."""
Reading: TypeAlias = Literal["stable", "unclear", "moved", "moved-much"]
_PRIOR = 0.5


@dataclass(frozen=True)
class FeatureDrift:
    """How far a feature's bins have moved.

    Attributes:
        index: PSI with its 95 % interval; None where noise leaves nothing to be said.
    """

    kind: str
    name: str
    index: Divergence | None

    @property
    def reading(self) -> Reading:
        """What may be said."""
        return reading_of(self.index)


def reading_of(index: Divergence | None) -> Reading:
    """Where the whole interval lies: below 0.1, from 0.1, from 0.25; else it is unclear."""
    if index is None or index.low < MOVED <= index.high:
        return "unclear"
    if index.high < MOVED:
        return "stable"
    return "moved-much" if index.low >= MOVED_MUCH else "moved"


def table_drift(before: OpenedTable, after: OpenedTable) -> tuple[FeatureDrift, ...]:
    """PSI of every feature that two private tables have with the same bins, in the order of the newer one.

    Both cohorts are taken as samples of their own; where the same merchants are in both, intervals are too wide.
    """
    known = {(each.kind, each.name): at for at, each in enumerate(before.features)}
    found = []
    for at, feature in enumerate(after.features):
        place = known.get((feature.kind, feature.name))
        if place is not None and before.features[place] == feature:
            # A bin's merchants are a sum of two noisy counts.
            sigmas = (2**0.5 * before.sigma_class, 2**0.5 * after.sigma_class)
            one, two = before.classes[place].sum(axis=1), after.classes[at].sum(axis=1)
            found.append(_drift(feature, one, two, sigmas))
    return tuple(found)


def own_drift(table: OpenedTable, kind: str, counts: Sequence[Sequence[int]]) -> tuple[FeatureDrift, ...]:
    """PSI between a model's private table and a source's own rows of today, which are exact and stay there.

    Args:
        table: of the model.
        kind: of the source.
        counts: per feature of the kind (encoders' outputs left out), rows per bin.

    Raises:
        DataError: the counts are not of the table's bins.
    """
    sigmas = (2**0.5 * table.sigma_class, 0.0)
    features = [
        (at, each) for at, each in enumerate(table.features) if each.kind == kind and each.name != encoder_feature(kind)
    ]
    if [feature.width for _, feature in features] != [len(each) for each in counts]:
        raise DataError(
            f"own counts are not in the bins of the model's table at {kind}",
            field="counts",
            remedy="count the rows under the model's own schema",
        )
    return tuple(
        _drift(feature, table.classes[at].sum(axis=1), np.asarray(own, dtype=np.float64), sigmas)
        for (at, feature), own in zip(features, counts, strict=True)
    )


def _drift(feature: FeatureBins, one: FloatArray, two: FloatArray, sigmas: tuple[float, float]) -> FeatureDrift:
    return FeatureDrift(feature.kind, feature.name, divergence(one, two, sigmas, in_line(feature)))


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """Σ (a − b)·ln(a/b) over the shares a and b of each bin, half a row added to every bin.

    Args:
        before, after: (width,) rows per bin, in the same bins.

    Raises:
        DataError: not the same number of bins.
    """
    if len(before) != len(after) or not len(before):
        raise DataError(
            f"{len(before)} bins before, {len(after)} after", field="counts", remedy="compare counts in the same bins"
        )
    old, new = (np.asarray(counts, dtype=np.float64) + _PRIOR for counts in (before, after))
    old, new = old / old.sum(), new / new.sum()
    return float(((new - old) * np.log(new / old)).sum())
