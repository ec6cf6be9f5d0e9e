"""The charts of a model card as data with their texts; `models.card_plots` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class RocChart:
    """Share of defaulters found against share of others below each cutoff.

    Attributes:
        false, true: shares, from 0 to 1.
        low, high: a 95 % band around `true`, or nothing.
        x, y, chance: texts.
    """

    false: tuple[float, ...]
    true: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    x: str
    y: str
    chance: str
    chart: Literal["roc"] = "roc"


@dataclass(frozen=True)
class CalibrationChart:
    """Predicted against observed shares of default, with the observed ones' 95 % intervals."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    x: str
    y: str
    perfect: str
    chart: Literal["calibration"] = "calibration"


@dataclass(frozen=True)
class DistributionChart:
    """Shares of either class per bin of scores; bins are given by their upper ends and the first one's lower end."""

    edges: tuple[float, ...]
    bad: tuple[float, ...]
    good: tuple[float, ...]
    x: str
    y: str
    bad_name: str
    good_name: str
    chart: Literal["distribution"] = "distribution"


@dataclass(frozen=True)
class PointsChart:
    """Points of a feature's bins, in order.

    Attributes:
        reach: least and greatest points of any bin of the model, so that features can be compared by eye.
    """

    labels: tuple[str, ...]
    points: tuple[int, ...]
    reach: tuple[int, int]
    chart: Literal["points"] = "points"


@dataclass(frozen=True)
class IntervalsChart:
    """A value per row with its interval, in order.

    Attributes:
        percent: values are shares, from 0 to 1.
    """

    labels: tuple[str, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    percent: bool
    chart: Literal["intervals"] = "intervals"


Chart: TypeAlias = RocChart | CalibrationChart | DistributionChart | PointsChart | IntervalsChart
