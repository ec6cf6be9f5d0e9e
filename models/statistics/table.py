"""The opened counts of programme statistics: chosen blocks of bins, exact or noisy, each with its features.

The order of cells is that of the released vector: chosen features by label class, then chosen pairs, each row-major.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.schema import Schema
from models.statistics.choice import StatisticsChoice
from models.tables import FeatureBins, KindCodes, feature_bins, from_codes

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StatisticsTable:
    """Released blocks.

    Attributes:
        schema: its features and bins.
        choice: what was released.
        by_label: feature → (bins, 2) counts of the label's class and of all others.
        pairs: (first, second) as chosen → (bins of first, bins of second) counts.
        members: kind → merchants of the cohort whose consent names a node of that kind; public numbers without noise.
        cohort_size: merchants who agreed.
        sigma: standard deviation of the noise on every cell, all nodes' shares together; 0 when exact.
    """

    schema: Schema
    choice: StatisticsChoice
    by_label: Mapping[str, FloatArray]
    pairs: Mapping[tuple[str, str], FloatArray]
    members: Mapping[str, int]
    cohort_size: int
    sigma: float

    def pair(self, first: str, second: str) -> FloatArray:
        """(bins of first, bins of second), whichever way round they were chosen.

        Raises:
            DataError: the pair was not released.
        """
        if (first, second) in self.pairs:
            return self.pairs[first, second]
        if (second, first) in self.pairs:
            return self.pairs[second, first].T
        raise DataError(
            f"{first} by {second} was not released",
            field="statistics.pairs",
            remedy="take what was released, or choose the pair in the next campaign",
        )

    def of_label(self, feature: str) -> FloatArray:
        """(bins, 2) of a feature; DataError if it was not released."""
        if feature not in self.by_label:
            raise DataError(
                f"{feature} by class was not released",
                field="statistics.by_label",
                remedy="take what was released, or choose the feature in the next campaign",
            )
        return self.by_label[feature]

    def to_vector(self) -> FloatArray:
        """All cells in released order."""
        return np.concatenate([block.ravel() for block in (*self.by_label.values(), *self.pairs.values())])


def statistics_from_vector(
    vector: NDArray[np.integer] | NDArray[np.floating],
    schema: Schema,
    choice: StatisticsChoice,
    *,
    members: Mapping[str, int],
    cohort_size: int,
    sigma: float,
) -> StatisticsTable:
    """The opened vector as blocks.

    Raises:
        DataError: the vector's length is not that of the chosen cells.
        SchemaError: a chosen feature is not in the schema.
    """
    features = feature_bins(schema)
    classes, pairs = choice.numbers(schema)
    shapes = [(features[f].width, 2) for f in classes] + [(features[f].width, features[g].width) for f, g in pairs]
    sizes = [rows * columns for rows, columns in shapes]
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (sum(sizes),):
        raise DataError(
            f"the opened vector has {values.size} cells, the choice {sum(sizes)}",
            field="vector",
            remedy="open it with the schema and the cells of the campaign's terms",
        )
    parts = np.split(values, np.cumsum(sizes)[:-1])
    blocks = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return StatisticsTable(
        schema=schema,
        choice=choice,
        by_label={features[f].name: block for f, block in zip(classes, blocks, strict=False)},
        pairs={
            (features[f].name, features[g].name): block
            for (f, g), block in zip(pairs, blocks[len(classes) :], strict=True)
        },
        members=dict(members),
        cohort_size=cohort_size,
        sigma=sigma,
    )


def statistics_from_codes(
    schema: Schema, choice: StatisticsChoice, codes: KindCodes, outcomes: NDArray[np.integer]
) -> StatisticsTable:
    """The exact blocks of joined rows: what the protocol opens when no noise is added.

    Args:
        codes, outcomes: as `models.tables.from_codes` takes them.
    """
    features: Sequence[FeatureBins] = feature_bins(schema)
    whole = from_codes(features, codes, outcomes)
    classes, pairs = choice.numbers(schema)
    return StatisticsTable(
        schema=schema,
        choice=choice,
        by_label={features[f].name: whole.classes[f] for f in classes},
        pairs={(features[f].name, features[g].name): whole.pairs[f, g] for f, g in pairs},
        members=whole.kind_totals,
        cohort_size=whole.cohort_size,
        sigma=0.0,
    )
