"""Values computed from other columns of one kind, by a closed vocabulary: no expression is ever evaluated.

Missing values, exactly: `max`, `min`, `sum` and `count_above` look at the values that are there, and are missing only
where all are missing; `difference` and `ratio` need both values, and a ratio by zero is missing; so is a result too
large for a float. Sums, differences and ratios are rounded to twelve significant digits, so that 0.1 + 0.2 lies in the
bin that ends at 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.schema_base import FiniteNumber, Frozen, Name

Values = NDArray[np.float64]
_DIGITS = 12

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

    def values(self, columns: Mapping[str, Values]) -> Values:
        """Compute the feature.

        Args:
            columns: name → (n,) finite values, NaN for missing.

        Returns:
            (n,) values, NaN for missing.
        """
        given = [columns[name] for name in self.columns]
        if self.difference is not None:
            return _rounded(given[0] - given[1])
        if self.ratio is not None:
            divisor = np.where(given[1] == 0, np.nan, given[1])
            with np.errstate(over="ignore"):
                return _rounded(given[0] / divisor)
        none_there = np.logical_and.reduce([np.isnan(each) for each in given])
        if self.count_above is not None:
            threshold = self.count_above.threshold
            found = np.add.reduce([(each > threshold).astype(np.float64) for each in given])
        elif self.sum is not None:
            found = np.zeros_like(given[0])
            for each in given:  # in the order of the schema, so that every machine rounds alike
                with np.errstate(over="ignore", invalid="ignore"):
                    found = found + np.where(np.isnan(each), 0.0, each)
            found = _rounded(found)
        else:
            found = np.fmax.reduce(given) if self.max is not None else np.fmin.reduce(given)
        return np.where(none_there, np.nan, found)


def _rounded(values: Values) -> Values:
    rounded = pl.Series(np.where(np.isfinite(values), values, np.nan)).round_sig_figs(_DIGITS).to_numpy()
    return np.where(np.isfinite(rounded), rounded, np.nan)
