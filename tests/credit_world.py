"""A synthetic cohort with a known credit risk, binned: three kinds, seven features, for tests of tables and fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.codes import ABSENT, DEFAULTED, PERFORMING, UNLABELLED
from models.tables import FeatureBins, OpenedTable, from_codes

FEATURES = (
    FeatureBins("bank", "late", 5, ordinal=True, alone=(4,)),
    FeatureBins("bank", "use", 9, ordinal=True, alone=(8,)),
    FeatureBins("tax", "income", 9, ordinal=True, alone=(8,)),
    FeatureBins("tax", "trade", 5, ordinal=False, alone=(0, 1, 2, 3, 4)),
    FeatureBins("tax", "arrears", 4, ordinal=True, alone=(3,)),
    FeatureBins("utility", "power", 7, ordinal=True, alone=(6,)),
    FeatureBins("utility", "unpaid", 4, ordinal=True, alone=(3,)),
)
_EFFECTS = {
    "late": (-0.4, 0.9, 1.6, 2.2, 0.3),
    "use": (-0.6, -0.4, -0.2, 0.0, 0.2, 0.5, 0.8, 1.2, 0.1),
    "income": (0.7, 0.5, 0.3, 0.1, -0.1, -0.2, -0.4, -0.6, 0.2),
    "trade": (0.3, -0.3, 0.0, 0.4, 0.0),
    "arrears": (-0.2, 0.8, 1.4, 0.0),
    "power": (0.4, 0.2, 0.1, 0.0, -0.2, -0.3, 0.0),
    "unpaid": (-0.2, 0.7, 1.3, 0.0),
}


@dataclass(frozen=True)
class Cohort:
    """Codes per kind, outcomes, and the true log-odds."""

    codes: dict[str, NDArray[np.uint8]]
    outcomes: NDArray[np.uint8]
    log_odds: NDArray[np.float64]

    def rows(self, chosen: NDArray[np.int64]) -> Cohort:
        """A part of the cohort."""
        return Cohort(
            {kind: codes[chosen] for kind, codes in self.codes.items()}, self.outcomes[chosen], self.log_odds[chosen]
        )

    def table(self, labelled: int | None = None) -> OpenedTable:
        """The exact table."""
        return from_codes(FEATURES, self.codes, self.outcomes, labelled=labelled)


def draw_cohort(
    rows: int, seed: int, *, absent: dict[str, float] | None = None, unlabelled: float = 0.0, base: float = -2.6
) -> Cohort:
    """Merchants with correlated features; `absent` is the share without a record, per kind."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=rows)
    log_odds = np.full(rows, base)
    codes: dict[str, NDArray[np.uint8]] = {}
    for kind in ("bank", "tax", "utility"):
        missing = rng.random(rows) < (absent or {}).get(kind, 0.0)
        columns = []
        for feature in (f for f in FEATURES if f.kind == kind):
            latent = 0.5 * common + np.sqrt(0.75) * rng.normal(size=rows)
            last = feature.width - 1
            if feature.width <= 5 and feature.ordinal:
                code = np.searchsorted(np.linspace(0.9, 2.2, last - 1), latent)
            else:
                code = np.searchsorted(np.linspace(-1.5, 1.5, last - 1), latent)
            code[rng.random(rows) < 0.04] = last
            log_odds += np.where(missing, 0.0, np.array(_EFFECTS[feature.name])[code])
            code[missing] = ABSENT
            columns.append(code.astype(np.uint8))
        codes[kind] = np.stack(columns, axis=1)
    bad = rng.random(rows) < 1 / (1 + np.exp(-log_odds))
    outcomes = np.where(bad, DEFAULTED, PERFORMING).astype(np.uint8)
    outcomes[rng.random(rows) < unlabelled] = UNLABELLED
    return Cohort(codes, outcomes, log_odds)
