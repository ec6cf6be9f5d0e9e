import numpy as np
import pytest

from crypto.errors import RangeError
from crypto.modular import BLOCK_ROWS, matmul_transpose_mod32


def exact(A, B):
    """In uint64, which wraps at a multiple of 2^32."""
    return (A.astype(np.uint64).T @ B.astype(np.uint64)).astype(np.uint32)


@pytest.mark.parametrize("n", [0, 1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS + 5])
@pytest.mark.parametrize("types", [("u4", "u4"), ("u1", "u4"), ("u4", "u1"), ("u1", "u1")])
def test_equals_integer_arithmetic(n, types):
    rng = np.random.default_rng(n)
    A, B = (
        rng.integers(0, np.iinfo(t).max, (n, d), dtype=t, endpoint=True) for t, d in zip(types, (5, 3), strict=True)
    )
    product = matmul_transpose_mod32(A, B)
    assert product.dtype == np.uint32
    assert np.array_equal(product, exact(A, B))


@pytest.mark.parametrize("types", [("u4", "u4"), ("u1", "u4"), ("u1", "u1")])
def test_largest_entries_stay_exact_in_a_full_block(types):
    n = 2 * BLOCK_ROWS
    A, B = (np.full((n, 2), np.iinfo(t).max, dtype=t) for t in types)
    want = n * int(A[0, 0]) * int(B[0, 0]) % 2**32
    assert np.all(matmul_transpose_mod32(A, B) == want)


def test_views_and_other_byte_orders():
    A = np.random.default_rng(1).integers(0, 2**32, (40, 6), dtype=np.uint32)
    assert np.array_equal(matmul_transpose_mod32(A[::2, 1:], A[::2, :2]), exact(A[::2, 1:], A[::2, :2]))
    assert np.array_equal(matmul_transpose_mod32(np.asfortranarray(A), A), exact(A, A))


@pytest.mark.parametrize(
    ("A", "B"),
    [
        (np.zeros((2, 2), np.int64), np.zeros((2, 2), np.uint32)),
        (np.zeros((2, 2), np.uint32), np.zeros((3, 2), np.uint32)),
        (np.zeros(2, np.uint32), np.zeros((2, 2), np.uint32)),
    ],
)
def test_refuses_other_types_and_shapes(A, B):
    with pytest.raises(RangeError):
        matmul_transpose_mod32(A, B)
