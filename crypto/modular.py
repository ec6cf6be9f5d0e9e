"""Exact matrix products modulo 2^32 on BLAS: `AᵀB` of tall, narrow matrices.

Argument. A double holds every integer below 2^53 exactly, and a sum of products of non-negative integers is
exact in any order of summation (fused or not) as long as the final sum stays below 2^53.

* uint32 × uint32: both are split into 16-bit limbs, a limb product is at most (2^16 − 1)^2 < 2^32, so a block
  of n rows stays below n · 2^32 ≤ 2^53 for n ≤ 2^21.
* uint8 × uint32: unsplit, a product is below 2^40, so n ≤ 2^13 rows are exact. (One-hot rows are uint8.)
* uint8 × uint8: below 2^16 each, n ≤ 2^37.

`BLOCK_ROWS` = 2^13 satisfies all three, and makes the working memory independent of the number of rows.
Blocks are added in uint64, whose wrap at 2^64 is harmless: 2^32 divides 2^64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import RangeError

BLOCK_ROWS = 1 << 13

UInt8 = NDArray[np.uint8]
UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
Words = NDArray[np.uint8] | NDArray[np.uint32]


def matmul_transpose_mod32(A: Words, B: Words) -> UInt32:
    """Returns `AᵀB` mod 2^32.

    Args:
        A: (n, p), uint32, or uint8 for a quicker product (one-hot rows).
        B: (n, q), the same.

    Returns:
        (p, q), uint32.

    Raises:
        RangeError: another type than uint8 or uint32, or row counts differ.
    """
    for name, matrix in (("A", A), ("B", B)):
        if matrix.ndim != 2 or matrix.dtype not in (np.dtype(np.uint8), np.dtype(np.uint32)):
            raise RangeError(
                f"{name} must be a uint8 or uint32 matrix, not {matrix.dtype} of {matrix.ndim} dimensions",
                field=name,
                remedy="convert it to uint8 (0/1 rows) or uint32 (masked rows)",
            )
    if A.shape[0] != B.shape[0]:
        raise RangeError(
            f"A has {A.shape[0]} rows and B has {B.shape[0]}",
            field="B",
            remedy="multiply matrices over the same rows",
        )
    total = np.zeros((A.shape[1], B.shape[1]), dtype=np.uint64)
    for start in range(0, A.shape[0], BLOCK_ROWS):
        total += _block_product(A[start : start + BLOCK_ROWS], B[start : start + BLOCK_ROWS])
    return (total & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _block_product(A: Words, B: Words) -> UInt64:
    """`AᵀB` of at most `BLOCK_ROWS` rows, modulo 2^32 or better."""
    if A.dtype.itemsize == 1 or B.dtype.itemsize == 1:
        return (A.astype(np.float64).T @ B.astype(np.float64)).astype(np.uint64)
    # Columns (low, high) side by side: one product gives all four limb products, the last of which
    # (high · high · 2^32) vanishes.
    limbs = _limbs(A).T @ _limbs(B)
    low = limbs[0::2, 0::2].astype(np.uint64)
    cross = limbs[0::2, 1::2].astype(np.uint64) + limbs[1::2, 0::2].astype(np.uint64)
    return low + (cross << np.uint64(16))


def _limbs(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """(n, p) uint32 → (n, 2p) float64: low and high 16 bits of each word, interleaved."""
    return np.ascontiguousarray(matrix, dtype="<u4").view("<u2").astype(np.float64)
