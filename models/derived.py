"""Values computed from other columns of one kind, by a closed vocabulary: no expression is ever evaluated.

`models.derived_values` computes them.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.schema_base import FiniteNumber, Frozen, Name

Several = Annotated[tuple[Name, ...], Field(min_length=2, max_length=64)]


class CountAbove(Frozen):
    """How many columns are greater than the threshold."""

    columns: Several
    threshold: FiniteNumber


class Derived(Frozen):
    """One of the operations.

    Attributes:
        max, min, sum: of two or more columns.
        count_above: of two or more columns.
        difference: first minus second, e.g. this quarter's revenue minus the last one's.
        ratio: first by second.
    """

    max: Several | None = None
    min: Several | None = None
    sum: Several | None = None
    count_above: CountAbove | None = None
    difference: tuple[Name, Name] | None = None
    ratio: tuple[Name, Name] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.model_fields_set) != 1 or self._given is None:
            raise ValueError("give one of max, min, sum, count_above, difference and ratio")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("the columns must be distinct")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns read, in order."""
        given = self._given
        return given.columns if isinstance(given, CountAbove) else given or ()

    @property
    def _given(self) -> tuple[str, ...] | CountAbove | None:
        return self.max or self.min or self.sum or self.count_above or self.difference or self.ratio
