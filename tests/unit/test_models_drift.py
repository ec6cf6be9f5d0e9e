"""Drift between private tables and own rows: what is said stands out of chance and noise, and holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from models.divergence import Divergence
from models.drift import own_drift, reading_of, table_drift
from models.errors import DataError
from models.tables import FeatureBins, FloatArray, OpenedTable

FEATURE = FeatureBins("tax", "income", 10, ordinal=True)
SLOPE = np.linspace(-1, 1, 10)
SIGMA = 6.2


def shares(strength: float) -> FloatArray:
    held = np.exp(strength * SLOPE)
    return np.asarray(held / held.sum())


def table(
    strength: float, rng: np.random.Generator, *, merchants: int = 20_000, feature: FeatureBins = FEATURE
) -> OpenedTable:
    """A private table of merchants of whom a tenth default."""
    both = np.stack(
        [rng.multinomial(part, shares(strength)) for part in (merchants // 10, merchants - merchants // 10)], axis=1
    )
    return OpenedTable(
        features=(feature,),
        classes=(np.rint(both + rng.normal(0, SIGMA, both.shape)),),
        pairs={},
        cohort_size=merchants,
        kind_totals={"tax": merchants},
        pair_totals={},
        sigma_class=SIGMA,
        sigma_pair=SIGMA,
    )


def psi(one: float, two: float) -> float:
    a, b = shares(one), shares(two)
    return float(((a - b) * np.log(a / b)).sum())


@pytest.mark.parametrize("moved", [0.1, 0.5])
def test_intervals_between_two_campaigns_hold_the_move(moved: float) -> None:
    rng = np.random.default_rng(21)
    held = 0
    for _ in range(1000):
        (found,) = table_drift(table(0.0, rng), table(moved, rng))
        assert found.index is not None
        held += found.index.low <= psi(0.0, moved) <= found.index.high
    assert 0.93 <= held / 1000 <= 0.97


@pytest.mark.parametrize("moved", [0.2, 0.8])
def test_intervals_between_a_table_and_own_rows_hold_the_move(moved: float) -> None:
    rng = np.random.default_rng(22)
    held = 0
    for _ in range(1000):
        own = rng.multinomial(1_500, shares(moved))
        (found,) = own_drift(table(0.0, rng), "tax", [own.tolist()])
        assert found.index is not None
        held += found.index.low <= psi(0.0, moved) <= found.index.high
    assert 0.93 <= held / 1000 <= 0.97


def test_small_samples_of_one_population_raise_no_alarm() -> None:
    """Where the bare rule would: the index of 150 rows is often above 0.1 by chance alone."""
    rng = np.random.default_rng(23)
    bare, alarms = 0, 0
    for _ in range(300):
        (found,) = own_drift(table(0.0, rng), "tax", [rng.multinomial(150, shares(0.0)).tolist()])
        assert found.index is not None
        bare += found.index.raw >= 0.1
        alarms += found.reading in ("moved", "moved-much")
    assert bare > 20
    assert alarms <= 3


def test_a_great_move_is_said_to_be_one() -> None:
    rng = np.random.default_rng(24)
    assert table_drift(table(0.0, rng), table(1.5, rng))[0].reading == "moved-much"
    assert table_drift(table(0.0, rng), table(0.0, rng))[0].reading == "stable"


def test_readings_follow_the_whole_interval() -> None:
    def reading(low: float, high: float) -> str:
        return reading_of(Divergence((low + high) / 2, low, high, high, (0, 1)))

    assert [reading(0.0, 0.09), reading(0.05, 0.3), reading(0.12, 0.4), reading(0.26, 0.5)] == [
        "stable",
        "unclear",
        "moved",
        "moved-much",
    ]
    assert reading_of(None) == "unclear"


def test_features_with_other_bins_are_left_out() -> None:
    rng = np.random.default_rng(25)
    other = FeatureBins("tax", "income", 10, ordinal=False)
    assert table_drift(table(0.0, rng), table(0.0, rng, feature=other)) == ()


def test_own_counts_in_other_bins_are_refused() -> None:
    with pytest.raises(DataError, match="not in the bins"):
        own_drift(table(0.0, np.random.default_rng(1)), "tax", [[1, 2, 3]])
