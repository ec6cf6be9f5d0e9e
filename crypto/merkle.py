"""The Merkle tree of RFC 9162 (and RFC 6962): hashes, roots, inclusion and consistency proofs, SHA-256.

Leaves and inner nodes are hashed under different first bytes, so that an inner node cannot pass for a leaf. Proofs are
built over any source of subtree roots (`SubtreeRoot`): a list of leaf hashes here, tiles in `crypto.tiles`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from crypto.errors import ProofError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

SubtreeRoot: TypeAlias = Callable[[int, int], bytes]
"""``(begin, end) → MTH(D[begin:end])`` for the ranges into which RFC 9162 splits a tree."""


def leaf_hash(data: bytes) -> bytes:
    """Hash a log entry: SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(count: int) -> int:
    """Return the largest power of two smaller than ``count`` (≥ 2): where RFC 9162 splits a tree."""
    return 1 << ((count - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the tree head over leaf **hashes** (RFC 9162, 2.1.1); of no leaves, SHA-256 of nothing."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        # Pairing from the left and carrying an odd last node up gives the RFC's tree.
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1 :]
    return level[0]


def _over(leaf_hashes: Sequence[bytes]) -> SubtreeRoot:
    return lambda begin, end: root(leaf_hashes[begin:end])


def _refused(message: str, field: str) -> ProofError:
    return ProofError(message, field=field, remedy="Fetch the proof again; if it fails again, keep both and report.")


def inclusion_path(index: int, size: int, subtree: SubtreeRoot) -> list[bytes]:
    """Return PATH(index, D[size]) of RFC 9162, 2.1.3.1, lowest node first.

    Raises:
        ProofError: no such leaf.
    """
    if not 0 <= index < size:
        raise _refused(f"There is no leaf {index} in a tree of {size}.", "index")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + split_point(end - begin)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin = middle
    return path[::-1]


def consistency_path(old: int, size: int, subtree: SubtreeRoot) -> list[bytes]:
    """Return PROOF(old, D[size]) of RFC 9162, 2.1.4.1.

    Empty where ``old`` is 0 (every tree extends the empty one) or equals ``size``.

    Raises:
        ProofError: ``old`` is negative or larger than ``size``.
    """
    if not 0 <= old <= size:
        raise _refused(f"A tree of {size} does not extend one of {old}.", "old")
    if old in (0, size):
        return []
    path: list[bytes] = []
    begin, end, whole = 0, size, True
    while old != end:
        middle = begin + split_point(end - begin)
        if old <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(begin, middle))
            begin, whole = middle, False
    if not whole:
        path.append(subtree(begin, end))
    return path[::-1]


def inclusion_proof(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Prove that leaf ``index`` is in the tree over ``leaf_hashes``; see `inclusion_path`."""
    return inclusion_path(index, len(leaf_hashes), _over(leaf_hashes))


def consistency_proof(old: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Prove that the tree over ``leaf_hashes`` extends its first ``old`` leaves; see `consistency_path`."""
    return consistency_path(old, len(leaf_hashes), _over(leaf_hashes))


def _check_hashes(hashes: Sequence[bytes], field: str) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise _refused("A hash in the proof does not have 32 bytes.", field)


def _climb(fn: int, sn: int, start: bytes, siblings: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Hash from a node up to the heads of two trees, as 2.1.3.2 and 2.1.4.2 of RFC 9162 both do.

    Args:
        fn: position of the node on its level.
        sn: position of that level's last node in the larger tree.
        start: the node's hash.
        siblings: hashes on the way up.

    Returns:
        The head over left siblings only (the smaller tree that ends with the node), and over all (the larger tree).
    """
    old_head = new_head = start
    for sibling in siblings:
        if sn == 0:
            raise _refused("The proof is too long.", "proof")
        if fn & 1 or fn == sn:
            old_head = node_hash(sibling, old_head)
            new_head = node_hash(sibling, new_head)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            new_head = node_hash(new_head, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise _refused("The proof is too short.", "proof")
    return old_head, new_head


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify an inclusion proof (RFC 9162, 2.1.3.2).

    Size and root belong together and come from one verified checkpoint: some other sizes give the leaf a path of
    the same shape, so the proof alone does not bind the size.

    Args:
        leaf_hash: hash of the entry, 32 bytes; compute it yourself from the entry.
        index: the leaf's position, from 0.
        size: number of leaves of the tree.
        proof: hashes, lowest first.
        root: tree head, from a verified checkpoint.

    Raises:
        ProofError: the proof does not lead to the root.
    """
    _check_hashes([leaf_hash, *proof], "proof")
    if not 0 <= index < size:
        raise _refused(f"There is no leaf {index} in a tree of {size}.", "index")
    _, head = _climb(index, size - 1, leaf_hash, proof)
    if head != root:
        raise _refused("The inclusion proof does not lead to the root.", "proof")


def verify_consistency(
    old_size: int,
    old_root: bytes,
    new_size: int,
    new_root: bytes,
    proof: Sequence[bytes],
) -> None:
    """Verify that the new tree extends the old one (RFC 9162, 2.1.4.2).

    Equal sizes need equal roots and an empty proof; the empty tree is extended by every tree.

    Raises:
        ProofError: the proof does not lead to both roots.
    """
    _check_hashes([old_root, new_root, *proof], "proof")
    if not 0 <= old_size <= new_size:
        raise _refused(f"A tree of {new_size} does not extend one of {old_size}.", "old_size")
    for size, head, field in ((old_size, old_root, "old_root"), (new_size, new_root, "new_root")):
        if size == 0 and head != EMPTY_ROOT:
            raise _refused("The root is not that of an empty tree.", field)
    if old_size in (0, new_size):
        if proof or (old_size == new_size and old_root != new_root):
            raise _refused("The trees of this size differ, or the proof should be empty.", "proof")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise _refused("The consistency proof is empty.", "proof")
    trailing_ones = (old_size & -old_size).bit_length() - 1
    fn, sn = (old_size - 1) >> trailing_ones, (new_size - 1) >> trailing_ones
    if _climb(fn, sn, path[0], path[1:]) != (old_root, new_root):
        raise _refused("The consistency proof does not lead to both roots.", "proof")
