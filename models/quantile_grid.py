"""The public grid in which the quantiles of a feature without given bins are counted (docs/protocol.md, 6a).

The grid follows from the schema alone: round numbers between the ends of a range that is known beforehand. Quantiles
are rounded to it, so the bins that come out of them are round numbers as well.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.schema_base import FiniteNumber, Frozen

MAX_CELLS = 125
"""Cells of one feature: those below, between and above the grid's edges; a full tree of `BRANCHING` 5."""
_STEPS = tuple(Decimal(each) for each in ("1", "2", "2.5", "5"))
_MANTISSAS = tuple(
    tuple(Decimal(each) for each in line.split())
    for line in (
        "1 1.1 1.2 1.3 1.4 1.5 1.6 1.7 1.8 1.9 2 2.1 2.2 2.4 2.6 2.8 3 3.2 3.4 3.6 3.8 4 4.2 4.5 4.8 5 5.3 5.6 6 6.3 "
        "6.6 7 7.5 8 8.5 9 9.5",
        "1 1.2 1.4 1.6 1.8 2 2.2 2.5 2.8 3 3.5 4 4.5 5 5.5 6 6.5 7 8 9",
        "1 1.2 1.5 2 2.5 3 4 5 6 8",
        "1 1.5 2 3 5 7",
        "1 2 5",
        "1",
    )
)
"""Numbers of one power of ten, from fine to coarse."""


class Quantiles(Frozen):
    """How a feature gets its bins: from quantiles of all nodes' rows, under noise, before the first stage that counts.

    Attributes:
        count: bins of amounts wanted; the missing bin and that of special codes come on top. Fewer result where many
            rows hold one value.
        range: ends of the grid, from knowledge of the field, never from data; what lies outside is counted below or
            above.
        scale: how the grid is spaced.
    """

    count: Annotated[int, Field(ge=2, le=50, strict=True)]
    range: tuple[FiniteNumber, FiniteNumber]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _spread(self) -> Self:
        low, high = self.range
        if low >= high:
            raise ValueError("range: the first number must be less than the second")
        if self.scale == "log" and low <= 0:
            raise ValueError("range: a log scale begins above zero; smaller values are counted below its first edge")
        return self

    def grid(self, *, whole: bool) -> tuple[float, ...]:
        """Edges of the grid, ascending, the range's ends among them.

        Args:
            whole: values are whole numbers, so edges are.

        Raises:
            ValueError: the range is too wide for such a grid.
        """
        return _grid(self.range, self.scale, whole)


@lru_cache(maxsize=256)
def _grid(ends: tuple[float, float], scale: Literal["linear", "log"], whole: bool) -> tuple[float, ...]:
    low, high = (Decimal(repr(each)) for each in ends)
    inner = _log_edges(low, high, whole) if scale == "log" else _linear_edges(low, high, whole)
    edges = tuple(dict.fromkeys(float(each) + 0.0 for each in (low, *inner, high)))
    if whole and any(edge != int(edge) for edge in edges):
        raise ValueError("range: the ends must be whole numbers, as the values are")
    return edges


def _linear_edges(low: Decimal, high: Decimal, whole: bool) -> list[Decimal]:
    power = (high - low).adjusted() - 3
    while True:
        for step in (each.scaleb(power) for each in _STEPS):
            # lies strictly between the ends, which are two edges more; cells are one more than edges
            if (whole and step != int(step)) or (high - low) / step > MAX_CELLS - 2:
                continue
            first = int(low // step)
            inside = (step * number for number in range(first, first + MAX_CELLS + 2))
            return [edge for edge in inside if low < edge < high]
        power += 1


def _log_edges(low: Decimal, high: Decimal, whole: bool) -> list[Decimal]:
    for mantissas in _MANTISSAS:
        every = (each.scaleb(power) for power in range(low.adjusted(), high.adjusted() + 1) for each in mantissas)
        found = [edge for edge in every if low < edge < high and not (whole and edge != int(edge))]
        if len(found) + 3 <= MAX_CELLS:
            return found
    raise ValueError("range: is too wide for a log scale")
