"""Secure sum (docs/protocol.md, 3): the hub learns the total of the nodes' vectors and nothing else.

**Composed** from X25519, HKDF-SHA256 and ChaCha20. In one attempt, identified by its manifest root h and its id:

* T1, T0: every node and the witness make an X25519 key for this attempt, signed in acceptance and cosignature.
* T3: node i sends, in Z_2^w (w = 32 for tables, 64 for encoder sums),
  `v_i + noise_i + m(i, witness) + Σ_{j>i} m(i, j) − Σ_{j<i} m(i, j)`, where `m(a, b)` is the ChaCha20 stream under
  HKDF of the X25519 secret of a and b, bound to h, the attempt, the width and both public keys.
* T3′: the witness, after all receipts, adds `v_w − Σ_i m(i, witness)`.
* T4: the hub adds everything up; all masks cancel.

Argument. m(i, j) is pseudorandom to whoever has neither private key (gap-CDH for X25519, HKDF as a random
oracle, ChaCha20 as a PRG). Take any set of honest nodes whose terms an adversary sees. Without the witness's
term each honest node's message holds m(i, witness), known to node and witness only, so it is uniform. With the
witness's term added, the honest nodes' messages are uniform subject to their sum: the pairwise masks of
two or more honest nodes are a one-time pad over the complete graph. So the view can be simulated from the total
(minus what colluding nodes put in themselves). Breaking one node's term takes the witness and all other nodes.

All or nothing: a total needs every node's term; there is no step that reveals a mask of a node said to be
missing (a lying hub would use it to unmask that node alone). A new attempt has new keys; see `crypto.attempts`
for once-only sending and releasing.

Assumptions: public keys come from signed acceptances checked against the roster; hub and witness do not collude
(together with all other nodes they could); a key pair serves one attempt's id per mask, as `attempt` is in the
key derivation. Nodes are assumed to add what they should: a wrong term spoils the total, undetected
unless it leaves `bound`; it does not open anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crypto.errors import AttemptError, RangeError
from crypto.keys import BoxKey
from crypto.prg import derive_key, words32, words64
from crypto.wire.base import SUITE

Width = Literal[32, 64]
Masked = NDArray[np.uint32] | NDArray[np.uint64]

_DTYPES: dict[int, np.dtype[Any]] = {32: np.dtype(np.uint32), 64: np.dtype(np.uint64)}
_SIGNED: dict[int, np.dtype[Any]] = {32: np.dtype(np.int32), 64: np.dtype(np.int64)}
TAIL_SIGMAS = 12


def sum_bound(largest_count: int, sigma: float, *, width: Width) -> int:
    """The largest magnitude that the opened total may have: count + 12σ.

    Args:
        largest_count: largest magnitude of the exact total, in grid units.
        sigma: σ of all noise in the total, in grid units; 12σ is passed with probability below 4e-33.
        width: 32 or 64.

    Raises:
        RangeError: the bound reaches 2^(width − 1), so a total might wrap.
    """
    bound = int(largest_count) + int(np.ceil(TAIL_SIGMAS * sigma))
    _check_bound(bound, width)
    return bound


def pair_mask(box: BoxKey, peer_public: bytes, *, h: bytes, attempt: str, n: int, width: Width) -> Masked:
    """The mask that both ends of a pair derive: (n,) words of `width` bits, the same at either end.

    Args:
        box: own X25519 key of this attempt.
        peer_public: the peer's, from its signed acceptance or cosignature.
        h: manifest root, 32 bytes.
        attempt: the attempt's id; in encoder rounds it includes round and try.
        n: words.
        width: 32 or 64.
    """
    if len(h) != 32:
        raise AttemptError(f"a manifest root of {len(h)} bytes", field="h", remedy="give the 32-byte root")
    # The length-prefixed attempt and fixed-length keys make the encoding injective.
    name = attempt.encode()
    ends = b"".join(sorted((box.public, peer_public)))
    info = b"/".join((SUITE.encode(), b"secure-sum", str(width).encode())) + b"\0"
    key = derive_key(box.exchange(peer_public), info=info + len(name).to_bytes(4, "big") + name + ends, salt=h)
    return words32(key, n) if width == 32 else words64(key, n)


def mask_vector(
    values: NDArray[Any],
    noise: NDArray[np.int64] | None,
    *,
    me: str,
    box: BoxKey,
    peers: Mapping[str, bytes],
    witness_public: bytes,
    h: bytes,
    attempt: str,
    width: Width,
    bound: int,
) -> Masked:
    """T3: a node's term of the sum.

    Args:
        values: (n,), int64, or already words of the ring (uint32 or uint64: shares of cross-source tables).
        noise: (n,) int64 share, or `None` where the terms say that noise is off.
        me: own id; its order among the peers' decides the masks' signs.
        box: own X25519 key of this attempt.
        peers: id → X25519 public key of every other node of the attempt.
        witness_public: the witness's.
        h, attempt, width: as in `pair_mask`.
        bound: from `sum_bound`; no int64 value and no noise sample may exceed it.

    Returns:
        (n,) words of the ring.

    Raises:
        RangeError: a value, the noise or the bound is out of range.
        AttemptError: no peers, own id among them, or a public key occurs twice.
    """
    _check_bound(bound, width)
    _check_parties(me, box, peers, witness_public)
    total = _ring(values, width, bound=bound, field="values").copy()
    if noise is not None:
        if noise.shape != values.shape:
            raise RangeError(
                f"noise of shape {noise.shape} on values of shape {values.shape}",
                field="noise",
                remedy="draw one sample for every cell",
            )
        total += _ring(noise, width, bound=bound, field="noise")
    n = len(total)
    total += pair_mask(box, witness_public, h=h, attempt=attempt, n=n, width=width)
    for peer, public in peers.items():
        mask = pair_mask(box, public, h=h, attempt=attempt, n=n, width=width)
        if me < peer:
            total += mask
        else:
            total -= mask
    return total


def witness_term(
    values: NDArray[Any] | None,
    *,
    box: BoxKey,
    nodes: Mapping[str, bytes],
    h: bytes,
    attempt: str,
    n: int,
    width: Width,
) -> Masked:
    """T3′: the witness's own values (its part of the tables), minus its mask with every node.

    It may leave the witness only after `crypto.attempts.WitnessAttempt.release`.

    Args:
        values: (n,) words of the ring, or `None` where the witness has no part.
        box: its X25519 key of this attempt.
        nodes: id → X25519 public key of every node of the attempt.
        h, attempt, n, width: as in `pair_mask`.
    """
    if values is None:
        total = np.zeros(n, dtype=_DTYPES[width])
    else:
        total = _ring(values, width, bound=None, field="values").copy()
    if total.shape != (n,):
        raise RangeError(f"{total.shape} values where {n} are summed", field="values", remedy="give one value per cell")
    for public in nodes.values():
        total -= pair_mask(box, public, h=h, attempt=attempt, n=n, width=width)
    return total


def open_sum(terms: Sequence[Masked], *, bound: int | None = None) -> NDArray[np.int64]:
    """T4: adds all terms and reads the total as signed integers around zero.

    Args:
        terms: every node's term and the witness's, all (n,) of one width.
        bound: from `sum_bound`, to refuse totals that no honest run gives.

    Returns:
        (n,) int64.

    Raises:
        AttemptError: no terms, or terms of different shape or width.
        RangeError: a total beyond the bound: a term is missing, altered or from another attempt.
    """
    if not terms or any(t.shape != terms[0].shape or t.dtype != terms[0].dtype for t in terms):
        raise AttemptError(
            "the terms of a sum differ in shape or width",
            field="terms",
            remedy="add the terms of one attempt, all of them",
        )
    total = terms[0].copy()
    for term in terms[1:]:
        total += term
    width = total.dtype.itemsize * 8
    opened = total.view(_SIGNED[width]).astype(np.int64)
    if bound is not None and len(opened) and (opened.max() > bound or opened.min() < -bound):
        raise RangeError(
            "an opened total is beyond its bound: a term is missing, altered or from another attempt",
            field="terms",
            remedy="void the attempt and start a new one",
        )
    return opened


def _check_bound(bound: int, width: Width) -> None:
    if not 0 <= bound < 1 << (width - 1):
        raise RangeError(
            f"totals up to {bound} do not fit {width} bits",
            field="bound",
            remedy="use a smaller grid scale, or sum in 64 bits",
        )


def _check_parties(me: str, box: BoxKey, peers: Mapping[str, bytes], witness_public: bytes) -> None:
    keys = [box.public, witness_public, *peers.values()]
    if not peers or me in peers or len(set(keys)) != len(keys):
        raise AttemptError(
            "a sum needs at least two nodes with different ids and different keys",
            field="peers",
            remedy="check the acceptances against the roster; each node makes a key of its own per attempt",
        )


def _ring(values: NDArray[Any], width: Width, *, bound: int | None, field: str) -> NDArray[Any]:
    """Values as words of the ring; signed ones are checked against the bound first."""
    dtype = _DTYPES[width]
    if values.dtype == dtype:
        return values
    if values.dtype != np.int64 or values.ndim != 1:
        raise RangeError(
            f"{field} of type {values.dtype} in a sum of {width} bits",
            field=field,
            remedy=f"give int64, or words of uint{width}",
        )
    limit = (1 << (width - 1)) - 1 if bound is None else bound
    if len(values) and (values.max() > limit or values.min() < -limit):
        raise RangeError(
            f"{field} beyond {limit} in magnitude",
            field=field,
            remedy="clip the values, or use a coarser grid; nothing is wrapped silently",
        )
    return values.astype(dtype)
