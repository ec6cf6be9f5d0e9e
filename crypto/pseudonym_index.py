"""Which row a pseudonym stands in: a binary search over sorted bytes, at four bytes a row beside the pseudonyms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WHOLE = "V32"  # compared as 32 bytes


class PseudonymIndex:
    """Rows by pseudonym.

    Args:
        pseudonyms: (n, 32) uint8, all different.
    """

    def __init__(self, pseudonyms: NDArray[np.uint8]) -> None:
        self._whole = np.ascontiguousarray(pseudonyms).view(_WHOLE).ravel()
        self._order = np.argsort(self._whole).astype(np.int32)

    def find(self, wanted: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Row of each of `wanted` (m, 32), −1 where there is none."""
        keys = np.ascontiguousarray(wanted).view(_WHOLE).ravel()
        if not len(self._whole):
            return np.full(len(keys), -1, dtype=np.intp)
        at = np.searchsorted(self._whole, keys, sorter=self._order)
        rows = self._order[np.minimum(at, len(self._whole) - 1)].astype(np.intp)
        return np.where(self._whole[rows] == keys, rows, -1)
