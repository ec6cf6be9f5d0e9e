"""A figure of two models beside each other."""

from __future__ import annotations

from dataclasses import dataclass

from models.evaluation import Interval


@dataclass(frozen=True)
class FigureChange:
    """A figure of both models; `difference` is after minus before.

    Attributes:
        name: AUC, KS, or `calibration`: defaults observed for each one predicted; 1 where the model is right on the
            whole.
        before, after: each with its 95 % interval.
        low, high: the 95 % interval of the difference.
        beyond_noise: whether that leaves 0 out.
    """

    name: str
    before: Interval
    after: Interval
    difference: float
    low: float
    high: float
    beyond_noise: bool
