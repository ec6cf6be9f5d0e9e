"""What a model says about held-out rows, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.accuracy.sets import Split
from models.evaluation import auc, calibration_table, ks

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """Of the labelled held-out rows, in their order.

    Attributes:
        risk: (n,) the higher, the riskier; only its order counts.
        pd: (n,) probability of default.
    """

    risk: Floats
    pd: Floats

    @classmethod
    def of_pd(cls, pd: ArrayLike) -> Self:
        """Of a learner whose order is that of its probabilities."""
        values = np.asarray(pd, dtype=np.float64)
        return cls(values, values)


def measured(split: Split, found: Prediction) -> dict[str, float]:
    """AUC, KS and calibration error (mean distance of predicted and observed rate over tenths of the rows)."""
    outcomes = split.test.outcomes[split.test.known]
    # What a model that diverged says of a row is worth as much as the same for all.
    risk, pd = np.nan_to_num(found.risk), np.nan_to_num(found.pd, nan=0.5)
    table = calibration_table(pd, outcomes)
    error = sum(row.count * abs(row.predicted - row.observed) for row in table) / len(outcomes)
    return {
        "auc": round(auc(-risk, outcomes), 6),
        "ks": round(ks(-risk, outcomes), 6),
        "calibration_error": round(error, 6),
    }
