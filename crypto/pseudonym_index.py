"""Which row a pseudonym stands in: a binary search over sorted bytes, without a Python object per merchant."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Pseudonyms = NDArray[np.uint8]
Rows = NDArray[np.intp]

_WHOLE = "V32"  # compared as 32 bytes


class MerchantRows(Protocol):
    """A table's merchants."""

    def find(self, wanted: Pseudonyms) -> Rows:
        """Row of each of `wanted` (m, 32), −1 where there is none."""


class PseudonymIndex:
    """Rows by pseudonym; four bytes a row beside the pseudonyms, none where they ascend.

    Args:
        pseudonyms: (n, 32) uint8, all different.
    """

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self.pseudonyms = np.ascontiguousarray(pseudonyms)
        self._whole = self.pseudonyms.view(_WHOLE).ravel()
        order = np.argsort(self._whole)
        ascending = bool(np.all(order[1:] > order[:-1]))
        self._order = None if ascending else order.astype(np.int32)

    def find(self, wanted: Pseudonyms) -> Rows:
        """Row of each of `wanted` (m, 32), −1 where there is none."""
        keys = np.ascontiguousarray(wanted).view(_WHOLE).ravel()
        if not len(self._whole):
            return np.full(len(keys), -1, dtype=np.intp)
        at = np.minimum(np.searchsorted(self._whole, keys, sorter=self._order), len(self._whole) - 1)
        rows = at if self._order is None else self._order[at].astype(np.intp)
        return np.where(self._whole[rows] == keys, rows, -1)


class SharedRows:
    """Merchants of one table among those of an index that many tables share; eight bytes a row.

    Args:
        index: of all merchants.
        places: (n,) the index's row of each merchant of the table, all different.
    """

    def __init__(self, index: PseudonymIndex, places: NDArray[np.integer]) -> None:
        order = np.argsort(places)
        self._index, self._places, self._order = index, places[order].astype(np.int32), order.astype(np.int32)

    def find(self, wanted: Pseudonyms) -> Rows:
        """Row of each of `wanted` (m, 32), −1 where there is none."""
        places = self._index.find(wanted)
        if not len(self._places):
            return np.full(len(places), -1, dtype=np.intp)
        at = np.minimum(np.searchsorted(self._places, places), len(self._places) - 1)
        return np.where(self._places[at] == places, self._order[at].astype(np.intp), -1)
