"""How far counts per bin have moved between two days: the population stability index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.errors import DataError

MOVED, MOVED_MUCH = 0.1, 0.25
"""The usual reading (Siddiqi 2006): stable below the first; from the second on a model is in doubt."""
_PRIOR = 0.5


def stability_index(before: Sequence[int], after: Sequence[int]) -> float:
    """Σ (a − b)·ln(a/b) over the shares a and b of each bin, half a row added to every bin.

    Args:
        before, after: (width,) rows per bin, in the same bins.

    Raises:
        DataError: not the same number of bins.
    """
    if len(before) != len(after) or not len(before):
        raise DataError(
            f"{len(before)} bins before, {len(after)} after", field="counts", remedy="compare counts in the same bins"
        )
    old, new = (np.asarray(counts, dtype=np.float64) + _PRIOR for counts in (before, after))
    old, new = old / old.sum(), new / new.sum()
    return float(((new - old) * np.log(new / old)).sum())
