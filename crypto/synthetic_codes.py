"""Codes in the form of a unified social credit code that no authority can have issued, for synthetic merchants.

GB 32100-2015: 9 (market regulation), 2 (individual business), six digits of the region, nine characters of the
organisation, a check character. The organisation's own check character (GB 11714-1997, the seventeenth) is wrong on
purpose: genuine codes have the right one, so none of them is ever made here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crypto.errors import RangeError
from crypto.identifiers import LENGTH, USCC_ALPHABET, USCC_WEIGHTS

Bytes = NDArray[np.uint8]

_RADIX = len(USCC_ALPHABET)
_FREE = 6  # characters that tell merchants apart, behind "DG"
CAPACITY = _RADIX**_FREE
_STEP = 1_000_003 * 31 + 7  # coprime to 31, so that numbers in a row give codes that are not
_ORGANISATION_WEIGHTS = np.array([3, 7, 9, 10, 5, 8, 4, 2])
_LETTERS = np.frombuffer(USCC_ALPHABET.encode(), np.uint8)
_ORGANISATION_CHECKS = np.frombuffer(b"0123456789X", np.uint8)


def synthetic_usccs(regions: Sequence[str], first: int) -> list[str]:
    """One code a region; different numbers give different codes.

    Args:
        regions: (n,) GB/T 2260 codes of six digits.
        first: number of the first; the others follow.

    Returns:
        (n,) codes that `identifiers.normalise("uscc", …)` accepts.

    Raises:
        RangeError: more than 31^6 numbers, or a region that is not six digits.
    """
    count = len(regions)
    if first < 0 or first + count > CAPACITY:
        raise RangeError(
            f"there are {CAPACITY} synthetic codes", field="first", remedy="number merchants from 0 and make fewer"
        )
    if any(len(region) != 6 or not (region.isascii() and region.isdigit()) for region in set(regions)):
        raise RangeError("a region is not six digits", field="regions", remedy="give codes of GB/T 2260")
    code = np.empty((count, LENGTH), dtype=np.uint8)
    code[:, :2] = np.frombuffer(b"92", np.uint8)
    code[:, 2:8] = np.frombuffer("".join(regions).encode(), np.uint8).reshape(count, 6)
    code[:, 8:10] = np.frombuffer(b"DG", np.uint8)
    mixed = (np.arange(first, first + count, dtype=np.int64) * _STEP) % CAPACITY
    code[:, 10:16] = _LETTERS[(mixed[:, None] // _RADIX ** np.arange(_FREE)) % _RADIX]
    code[:, 16] = _wrong_organisation_check(code[:, 8:16])
    code[:, 17] = _check(code[:, :17])
    return [each.decode() for each in code.view(f"S{LENGTH}").ravel().tolist()]


def _wrong_organisation_check(body: Bytes) -> Bytes:
    """(n,) the digit one above the right check character of (n, 8) characters."""
    digits = np.where(body < ord("A"), body - ord("0"), body - ord("A") + 10).astype(np.int64)
    right = -(digits @ _ORGANISATION_WEIGHTS) % 11
    checks: Bytes = _ORGANISATION_CHECKS[(right + 1) % 11]
    return checks


def _check(body: Bytes) -> Bytes:
    """(n,) check characters of (n, 17) characters, as `identifiers.uscc_check_digit`."""
    value = np.zeros(128, dtype=np.int64)
    value[_LETTERS] = np.arange(_RADIX)
    checks: Bytes = _LETTERS[-(value[body] @ np.array(USCC_WEIGHTS)) % _RADIX]
    return checks
