"""What a derived feature is worth at each row (`models.derived`).

Missing values, exactly: `max`, `min`, `sum` and `count_above` look at the values that are there, and are missing only
where all are missing; `difference` and `ratio` need both values, and a ratio by zero is missing; so is a result too
large for a float. Sums, differences and ratios are rounded to twelve significant digits, so that 0.1 + 0.2 lies in the
bin that ends at 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.derived import Derived

Values = NDArray[np.float64]
_DIGITS = 12


def derived_values(derived: Derived, columns: Mapping[str, Values]) -> Values:
    """Compute the feature.

    Args:
        derived: which operation, on which columns.
        columns: name → (n,) finite values, NaN for missing.

    Returns:
        (n,) values, NaN for missing.
    """
    given = [columns[name] for name in derived.columns]
    if derived.difference is not None:
        return _rounded(given[0] - given[1])
    if derived.ratio is not None:
        divisor = np.where(given[1] == 0, np.nan, given[1])
        with np.errstate(over="ignore"):
            return _rounded(given[0] / divisor)
    none_there = np.logical_and.reduce([np.isnan(each) for each in given])
    if derived.count_above is not None:
        threshold = derived.count_above.threshold
        found = np.add.reduce([(each > threshold).astype(np.float64) for each in given])
    elif derived.sum is not None:
        found = np.zeros_like(given[0])
        for each in given:  # in the order of the schema, so that every machine rounds alike
            with np.errstate(over="ignore", invalid="ignore"):
                found = found + np.where(np.isnan(each), 0.0, each)
        found = _rounded(found)
    else:
        found = np.fmax.reduce(given) if derived.max is not None else np.fmin.reduce(given)
    return np.where(none_there, np.nan, found)


def _rounded(values: Values) -> Values:
    rounded = pl.Series(np.where(np.isfinite(values), values, np.nan)).round_sig_figs(_DIGITS).to_numpy()
    return np.where(np.isfinite(rounded), rounded, np.nan)
