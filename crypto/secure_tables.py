"""Secure cross-source tables (docs/protocol.md, 4): counts across sources' matrices that nobody joins.

**Composed** from one-time masking, exact products modulo 2^32 and the secure sum of `crypto.secure_sum`.

The cohort is cut into blocks of positions (`crypto.blocks`); T2 and T3 take place once per block, in order, and sums
over blocks are what sums over the whole would be.

* T1: node j freezes its one-hot matrix X_j (`check_one_hot`, `matrix_sha256`, `frozen_sha256`).
* T1′: the witness picks a seed per node.
* T2: node j computes `A_j = PRG(seed_j)`, `M_j = X_j − A_j` (`mask_rows`) and sends each node of another kind the
  rows of M_j that both hold (`masked_for`), sealed to it.
* T3: from its inbox (`check_inbox`) node j computes its own `X_jᵀX_j`, and with every node of another kind, k being
  the earlier kind and l the later: `M_kᵀX_l` at l, `A_kᵀM_l` at k (`node_cells`).
* T3′: the witness computes `A_kᵀA_l` over the merchants that both hold (`witness_cells`).
* T4: the sum opens to X_kᵀX_l, because `M_kᵀX_l + A_kᵀM_l + A_kᵀA_l = (M_k + A_k)ᵀX_l`.

Argument. A node sees, of another node, M_j only: X_j minus a ChaCha20 stream whose key only node j and the witness
have, hence pseudorandom and independent of X_j. The hub sees sealed boxes, and terms of the secure sum. The witness
sees seeds, never M_j. So before the opening everything can be simulated from nothing, and the opening gives the
noisy table. The parts above are summed modulo 2^32 with the noise already in, never one by one.

Exactly what the slice implies: were row r of M_k missing from l's inbox, the total would lack M_k[r] ⊗ X_l[r],
uniform words in just the columns where X_l[r] is 1: the row's bins could be read off. A row too many, or an altered
one, does the same. So an inbox that differs from the slice's positions, or from the hash in its sender's signed
header, is refused as a whole.

Blocks change nothing of this. A block of M_j is a stretch of the rows of one matrix under one stream, at the
stretch's own place in it (`mask_rows`, `first_row`), so every word of the stream masks one entry, in whatever blocks.
A block's inbox must be exactly what the slice implies for its positions, and `crypto.attempts.NodeAttempt` lets each
block be counted once, in order, and the term be sent only after the last: so all inboxes together are exactly what the
slice implies. What is added up between blocks stays at the node, and leaves it only with noise and masks on.

A seed masks one matrix once: the stream's key is derived from seed, h, attempt and node (`stream_key`), and the
matrix is frozen under (h, attempt) in `crypto.attempts.NodeAttempt`. A witness that repeats a seed in another attempt
gets another stream.

One-hot or absent: a row of weight above one in a block would count twice (sensitivity), and could be chosen so that a
cell's count spells another kind's bins.

Assumptions: nodes encode and mask honestly; a node colluding with the witness can read other kinds' rows of the
merchants they share; slices passed the witness's `crypto.manifest.check_slices`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ExchangeError, NotOneHotError, RangeError
from crypto.layout import OUTCOMES, TableLayout
from crypto.modular import BLOCK_ROWS, matmul_transpose_mod32
from crypto.prg import derive_key, words32
from crypto.wire.base import SUITE

UInt8 = NDArray[np.uint8]
UInt32 = NDArray[np.uint32]
Positions = NDArray[np.uint32]


@dataclass(frozen=True)
class Expected:
    """What must come from one counterpart: its kind and the shared cohort positions, ascending."""

    kind: str
    positions: Positions


@dataclass(frozen=True)
class ReceivedRows:
    """Rows of M of one counterpart, with the hashes in its verified, signed header."""

    positions: Positions
    rows: UInt32
    positions_sha256: bytes
    rows_sha256: bytes


@dataclass(frozen=True)
class CheckedInbox:
    """An inbox that is exactly what the slice implies. Only `check_inbox` makes one."""

    expected: Mapping[str, Expected]
    rows: Mapping[str, UInt32]


@dataclass(frozen=True)
class SeededNode:
    """What the witness knows of a node: its kind, its cohort positions (ascending) and its stream's key."""

    kind: str
    positions: Positions
    key: bytes


def check_one_hot(X: UInt8, widths: tuple[int, ...], *, outcomes: bool) -> None:
    """Refuses rows that are not one-hot or absent, block by block.

    Args:
        X: (n, sum of widths [+ 3]) of 0 and 1; an all-zero block is an absent feature.
        widths: bins per feature.
        outcomes: whether three outcome columns follow, exactly one of them set in every row.

    Raises:
        NotOneHotError: naming row and block; never a value.
    """
    columns = sum(widths) + (len(OUTCOMES) if outcomes else 0)
    if X.dtype != np.uint8 or X.ndim != 2 or X.shape[1] != columns:
        raise NotOneHotError(
            f"a matrix of {X.dtype} and shape {X.shape} where uint8 with {columns} columns is due",
            field="X",
            remedy="encode rows with the schema of the terms",
        )
    blocks = [*widths, len(OUTCOMES)] if outcomes else list(widths)
    starts = np.concatenate([[0], np.cumsum(blocks)[:-1]]).astype(np.intp)
    for first in range(0, X.shape[0], BLOCK_ROWS):
        rows = X[first : first + BLOCK_ROWS]
        # uint32 sums: 256 ones would be 0 in uint8. Entries above 1 sum to more than 1 as well.
        weights = np.add.reduceat(rows, starts, axis=1, dtype=np.uint32)
        wrong = weights > 1
        if outcomes:
            wrong[:, -1] |= weights[:, -1] == 0
        if wrong.any():
            row, block = np.argwhere(wrong)[0]
            name = "outcomes" if outcomes and block == len(widths) else f"feature {block}"
            raise NotOneHotError(
                f"row {first + row} is neither one-hot nor absent in {name}",
                field=name,
                remedy="set one bin per feature, or none; set exactly one outcome",
            )


def matrix_sha256(X: UInt8, positions: Positions) -> bytes:
    """SHA-256 that freezes a matrix at acceptance: shape, positions and entries."""
    digest = hashlib.sha256(b"digua-1/matrix\0" + np.asarray(X.shape, dtype="<u8").tobytes())
    digest.update(np.ascontiguousarray(positions, dtype="<u4").data)
    digest.update(np.ascontiguousarray(X).data)
    return digest.digest()


def frozen_sha256(blocks: Sequence[bytes]) -> bytes:
    """SHA-256 that freezes a whole matrix: over the `matrix_sha256` of its blocks, in order."""
    return hashlib.sha256(b"digua-1/frozen\0" + len(blocks).to_bytes(8, "little") + b"".join(blocks)).digest()


def rows_sha256(rows: UInt32) -> bytes:
    """SHA-256 of masked rows as they travel (little-endian, row-major)."""
    return hashlib.sha256(np.ascontiguousarray(rows, dtype="<u4").data).digest()


def positions_sha256(positions: Positions) -> bytes:
    """SHA-256 of cohort positions as they travel (little-endian uint32)."""
    return hashlib.sha256(np.ascontiguousarray(positions, dtype="<u4").data).digest()


def stream_key(seed: bytes, *, h: bytes, attempt: str, node: str) -> bytes:
    """T2, T3′: the key of A_j, from the witness's seed, bound to manifest, attempt and node."""
    info = b"\0".join((SUITE.encode(), b"secure-tables", attempt.encode(), node.encode()))
    return derive_key(seed, info=info, salt=h)


def expand_seed(key: bytes, n_rows: int, d: int, row_start: int, row_stop: int) -> UInt32:
    """Rows `row_start` to `row_stop` of A_j (n_rows, d), by position in the stream.

    Args:
        key: from `stream_key`.
        n_rows, d: shape of the whole matrix.
        row_start, row_stop: the rows wanted.

    Returns:
        (row_stop − row_start, d), uint32.

    Raises:
        RangeError: rows outside the matrix.
    """
    if not 0 <= row_start <= row_stop <= n_rows:
        raise RangeError(
            f"rows {row_start} to {row_stop} of a matrix of {n_rows}",
            field="row_stop",
            remedy="expand rows of the matrix only",
        )
    return words32(key, (row_stop - row_start) * d, offset=row_start * d).reshape(-1, d)


def mask_rows(X: UInt8, key: bytes, *, first_row: int = 0) -> UInt32:
    """T2: `M = X − A` mod 2^32, (n, d), of the n rows of the node's matrix from `first_row` on."""
    n, d = X.shape
    M = np.empty((n, d), dtype=np.uint32)
    for start, stop in _stretches(n):
        A = expand_seed(key, first_row + n, d, first_row + start, first_row + stop)
        np.subtract(X[start:stop], A, out=M[start:stop])
    return M


def masked_for(M: UInt32, my_positions: Positions, their_positions: Positions) -> UInt32:
    """T2: the rows of M at `their_positions` (ascending, all of them mine).

    Raises:
        ExchangeError: positions that I do not hold, or that are not ascending.
    """
    return M[_places(my_positions, their_positions)]


def check_inbox(
    received: Mapping[str, ReceivedRows], expected: Mapping[str, Expected], layout: TableLayout
) -> CheckedInbox:
    """T3: accepts an inbox only if it is exactly what the slice implies.

    Args:
        received: sender id → rows, its header's signature already verified.
        expected: counterpart id → kind and shared positions, from own slice.
        layout: of the table.

    Raises:
        ExchangeError: naming the sender: missing or superfluous, other positions, other shape, altered rows.
    """
    for sender in sorted(set(received) ^ set(expected)):
        raise ExchangeError(
            f"the inbox {'lacks' if sender in expected else 'has unexpected'} rows of {sender}",
            field=sender,
            remedy="refuse the attempt; an inexact inbox would disclose rows",
        )
    for sender, due in expected.items():
        got = received[sender]
        shape = (len(due.positions), layout.columns(due.kind))
        if (
            not np.array_equal(got.positions, due.positions)
            or got.positions_sha256 != positions_sha256(due.positions)
            or got.rows.dtype != np.uint32
            or got.rows.shape != shape
            or got.rows_sha256 != rows_sha256(got.rows)
        ):
            raise ExchangeError(
                f"rows of {sender} are not exactly those that the slice implies and {sender} signed",
                field=sender,
                remedy="refuse the attempt; an inexact inbox would disclose rows",
            )
    return CheckedInbox(dict(expected), {sender: received[sender].rows for sender in expected})


def node_cells(
    layout: TableLayout,
    kind: str,
    X: UInt8,
    key: bytes,
    inbox: CheckedInbox,
    my_positions: Positions,
    *,
    first_row: int = 0,
) -> UInt32:
    """T3: a node's share of all released cells, without noise; it must not leave without `mask_vector`.

    Args:
        layout: of the table.
        kind: own kind.
        X: (n, d) own rows of a block, at `my_positions`.
        key: own stream's key.
        inbox: the block's, from `check_inbox`.
        my_positions: (n,) cohort positions, ascending.
        first_row: place of the block's first row in the node's whole matrix.

    Returns:
        (n_cells,) uint32.

    Raises:
        NotOneHotError: X is not one-hot or absent.
        ExchangeError: a sender of own kind, two senders with one merchant, or positions that are not mine.
    """
    check_one_hot(X, layout.blocks(kind).widths, outcomes=kind == layout.label_kind)
    n, d = X.shape
    if my_positions.shape != (n,):
        raise ExchangeError(
            f"{len(my_positions)} positions for {n} rows", field="my_positions", remedy="give one per row"
        )
    cells = layout.own_cells(kind, matmul_transpose_mod32(X, X))
    mine = layout.order(kind)
    for other in layout.kinds:
        senders = [s for s, due in inbox.expected.items() if due.kind == other.kind]
        if not senders:
            continue
        if other.kind == kind:
            raise ExchangeError(
                f"{senders[0]} is of the same kind", field=senders[0], remedy="exchange with other kinds only"
            )
        places = {s: _places(my_positions, inbox.expected[s].positions) for s in senders}
        if len(np.unique(np.concatenate(list(places.values())))) != sum(map(len, places.values())):
            raise ExchangeError(
                f"two nodes of kind {other.kind} sent rows of one merchant",
                field=other.kind,
                remedy="refuse the attempt; a merchant has one node per kind",
            )
        later = layout.order(other.kind) > mine
        product = np.zeros((d, layout.columns(other.kind)), dtype=np.uint32)
        for start, stop in _stretches(n):
            M = np.zeros((stop - start, layout.columns(other.kind)), dtype=np.uint32)
            for sender, at in places.items():
                first, last = np.searchsorted(at, [start, stop])
                M[at[first:last] - start] = inbox.rows[sender][first:last]
            left: UInt8 | UInt32 = X[start:stop]
            if later:
                left = expand_seed(key, first_row + n, d, first_row + start, first_row + stop)
            product += matmul_transpose_mod32(left, M)
        # A_kᵀM_l when own kind k is the earlier one; else (X_lᵀM_k)ᵀ = M_kᵀX_l.
        cells += (
            layout.cross_cells(kind, other.kind, product) if later else layout.cross_cells(other.kind, kind, product.T)
        )
    return cells


def witness_cells(layout: TableLayout, nodes: Mapping[str, SeededNode]) -> UInt32:
    """T3′: `A_kᵀA_l` of all pairs of kinds, over the merchants that both hold.

    Walks the cohort in blocks of positions: a block is one contiguous stretch of every node's stream, so each
    stream is expanded once and memory does not grow with the cohort.

    Args:
        layout: of the table.
        nodes: id → kind, positions and stream's key; slices already checked (one node per kind and merchant).

    Returns:
        (n_cells,) uint32.
    """
    size = max((int(node.positions[-1]) + 1 for node in nodes.values() if len(node.positions)), default=0)
    products = {
        (k, later): np.zeros((layout.columns(k), layout.columns(later)), dtype=np.uint32)
        for k, later in layout.kind_pairs()
    }
    for start, stop in _stretches(size):
        A = {b.kind: np.zeros((stop - start, layout.columns(b.kind)), dtype=np.uint32) for b in layout.kinds}
        for node in nodes.values():
            first, last = (int(at) for at in np.searchsorted(node.positions, [start, stop]))
            if first < last:
                block = A[node.kind]
                stretch = expand_seed(node.key, len(node.positions), block.shape[1], first, last)
                block[node.positions[first:last] - start] = stretch
        for k, later in products:
            # A merchant absent at one of both kinds has a zero row there and adds nothing.
            products[k, later] += matmul_transpose_mod32(A[k], A[later])
    cells = np.zeros(layout.n_cells, dtype=np.uint32)
    for (k, later), product in products.items():
        cells += layout.cross_cells(k, later, product)
    return cells


def _stretches(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, BLOCK_ROWS):
        yield start, min(start + BLOCK_ROWS, n)


def _places(mine: Positions, wanted: Positions) -> NDArray[np.intp]:
    """Row numbers of `wanted` positions among `mine`, both ascending."""
    at = np.searchsorted(mine, wanted)
    held = at < len(mine)
    ascending = bool(np.all(np.diff(wanted.astype(np.int64)) > 0))
    if not ascending or not held.all() or not np.array_equal(mine[at], wanted):
        raise ExchangeError(
            "positions are not ascending, or some are not held here",
            field="positions",
            remedy="refuse the attempt; shared positions are those of both slices",
        )
    return at
