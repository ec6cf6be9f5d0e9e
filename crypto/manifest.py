"""The manifest of an attempt (docs/protocol.md, 4): what every party agrees on before anything is masked.

`h` is the RFC 9162 Merkle root over the terms (leaf 0) and one salted hash per node's slice (leaf 1 + its index in
the roster). It holds no campaign keys, so they can be made after it. A node gets the terms, its own slice and
salt, and a proof: it sees no other node's slice, and cannot test guesses about one because of the salt. The witness
gets all slices and checks here what no single node can see:

* a position is one pseudonym and a pseudonym one position, everywhere (else rows of different merchants multiply):
  pseudonyms ascend with positions, which shows it a block at a time, and lets positions tell nothing else;
* a merchant has at most one node of each kind, and exactly one of the label kind (a second would double its
  weight, hence the sensitivity);
* counterparts are symmetric and complete: two nodes of different kinds that hold a merchant name each other, so both
  send and expect the same rows.

The witness cosigns one h per attempt (`crypto.attempts`), so all nodes compute over the same slices.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ManifestError, ProofError
from crypto.merkle import inclusion_proof, leaf_hash, root, verify_inclusion
from crypto.secure_tables import Expected

NO_COUNTERPART = -1
SALT_BYTES = 32

_TERMS = b"digua-1/terms\0"
_SLICE = b"digua-1/slice\0"

Positions = NDArray[np.uint32]
Pseudonyms = NDArray[np.uint8]
NodeIndex = NDArray[np.int32]


@dataclass(frozen=True)
class NodeSlice:
    """A node's part of a cohort.

    Attributes:
        kind: of the node.
        positions: (n,) uint32 cohort positions, ascending.
        pseudonyms: (n, 32) uint8.
        counterparts: other kind → (n,) int32 index in the roster, or −1 for none.
    """

    kind: str
    positions: Positions
    pseudonyms: Pseudonyms
    counterparts: Mapping[str, NodeIndex]


def salted_slice_hash(salt: bytes, slice_bytes: bytes) -> bytes:
    """SHA-256 of a 32-byte random salt and a slice's canonical bytes.

    Raises:
        ManifestError: the salt has another length.
    """
    if len(salt) != SALT_BYTES:
        raise ManifestError(f"a slice salt of {len(salt)} bytes", field="salt", remedy="draw 32 random bytes per slice")
    return hashlib.sha256(_SLICE + salt + slice_bytes).digest()


def manifest_root(terms_bytes: bytes, slice_hashes: Sequence[bytes]) -> bytes:
    """`h`, 32 bytes.

    Args:
        terms_bytes: canonical bytes of the terms.
        slice_hashes: from `salted_slice_hash`, in the order of the roster.
    """
    return root(_leaves(terms_bytes, slice_hashes))


def slice_proof(terms_bytes: bytes, slice_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Inclusion proof of the slice of the node at `index` in the roster."""
    return inclusion_proof(index + 1, _leaves(terms_bytes, slice_hashes))


def terms_proof(terms_bytes: bytes, slice_hashes: Sequence[bytes]) -> list[bytes]:
    """Inclusion proof of the terms."""
    return inclusion_proof(0, _leaves(terms_bytes, slice_hashes))


def verify_slice(
    h: bytes, *, index: int, n_slices: int, salt: bytes, slice_bytes: bytes, proof: Sequence[bytes]
) -> None:
    """T1: a node checks that its slice is under the cosigned root, at its own place in the roster.

    Raises:
        ManifestError: it is not.
    """
    leaf = leaf_hash(_SLICE + salted_slice_hash(salt, slice_bytes))
    _verify(h, leaf, index + 1, n_slices, proof, "slice")


def verify_terms(h: bytes, *, terms_bytes: bytes, n_slices: int, proof: Sequence[bytes]) -> None:
    """T1: a node checks that the terms it was given are those under the cosigned root.

    Raises:
        ManifestError: they are not.
    """
    _verify(h, leaf_hash(_TERMS + terms_bytes), 0, n_slices, proof, "terms")


def _leaves(terms_bytes: bytes, slice_hashes: Sequence[bytes]) -> list[bytes]:
    return [leaf_hash(_TERMS + terms_bytes), *(leaf_hash(_SLICE + each) for each in slice_hashes)]


def _verify(h: bytes, leaf: bytes, index: int, n_slices: int, proof: Sequence[bytes], field: str) -> None:
    try:
        verify_inclusion(leaf, index, n_slices + 1, list(proof), h)
    except ProofError as refused:
        raise ManifestError(
            f"the {field} is not under the cosigned manifest root",
            field=field,
            remedy="refuse the attempt and ask the hub for the manifest that the witness cosigned",
        ) from refused


def expected_inbox(me: str, own: NodeSlice, roster: Sequence[tuple[str, str]]) -> dict[str, Expected]:
    """Which rows must come from whom, by own slice; by symmetry also which rows go to whom.

    Args:
        me: own id.
        own: own slice.
        roster: (id, kind) in order.

    Raises:
        ManifestError: a counterpart outside the roster, of a kind other than it is listed under, or of own kind.
    """
    expected: dict[str, Expected] = {}
    for kind, counterparts in own.counterparts.items():
        if kind == own.kind or counterparts.shape != own.positions.shape:
            raise ManifestError(
                f"the slice of {me} lists counterparts wrongly for kind {kind}",
                field=me,
                remedy="list one counterpart or none per merchant, at other kinds only",
            )
        for index in np.unique(counterparts[counterparts != NO_COUNTERPART]):
            if not 0 <= index < len(roster) or roster[index][1] != kind:
                raise ManifestError(
                    f"the slice of {me} names counterpart {index}, which is no node of kind {kind}",
                    field=me,
                    remedy="refuse the attempt; the hub must correct the slice",
                )
            shared = own.positions[counterparts == index]
            expected[roster[index][0]] = Expected(kind, shared)
    return expected


@dataclass(frozen=True)
class CheckedSlices:
    """What the slices of a block, or of a whole cohort, add up to.

    Attributes:
        members: kind → merchants that have a node of it.
        pairs: (kind, kind) in order of names → merchants that have nodes of both.
        first, last: pseudonyms of the first and the last position; empty where there is none.
    """

    members: Mapping[str, int]
    pairs: Mapping[tuple[str, str], int]
    first: bytes
    last: bytes


def check_slices(
    slices: Mapping[str, NodeSlice],
    roster: Sequence[tuple[str, str]],
    *,
    label_kind: str,
    span: tuple[int, int] | None = None,
) -> CheckedSlices:
    """T0: the witness's checks over all slices of a manifest, or their pieces of one block (module docstring).

    Every check is about single positions, but for the order of pseudonyms: whoever checks block by block must also see
    that each block's `first` is above the `last` before it.

    Args:
        slices: node id → slice, or its piece of the block.
        roster: (id, kind) in the order that counterparts refer to.
        label_kind: the kind that holds every merchant of the cohort.
        span: first position of the block and the one after its last; where not given, all that label nodes hold.

    Raises:
        ManifestError: naming the node, or the two nodes, that contradict each other. Never a pseudonym.
    """
    ids = [node for node, _ in roster]
    if set(ids) != set(slices) or len(set(ids)) != len(ids):
        raise _contradiction(sorted(set(ids) ^ set(slices)) or ids, "roster and slices name different nodes")
    kinds = sorted({kind for _, kind in roster})
    for node, kind in roster:
        _check_shape(node, kind, slices[node], kinds)
    start, stop = span or (0, sum(len(slices[node].positions) for node, kind in roster if kind == label_kind))
    size = stop - start
    for node in ids:
        positions = slices[node].positions
        # Every merchant is at one label node, so a position beyond their number is at none.
        if len(positions) and not start <= int(positions[0]) <= int(positions[-1]) < stop:
            raise _contradiction([node], f"a merchant without a node of kind {label_kind}")

    holder = {kind: np.full(size, NO_COUNTERPART, dtype=np.int32) for kind in kinds}
    pseudonyms = np.zeros((size, 32), dtype=np.uint8)
    first_holder = np.full(size, NO_COUNTERPART, dtype=np.int32)
    for index, (node, kind) in enumerate(roster):
        at = slices[node].positions - np.uint32(start)
        taken = holder[kind][at]
        _refuse_where(taken != NO_COUNTERPART, taken, node, ids, f"one merchant at two nodes of kind {kind}")
        holder[kind][at] = index
        known = first_holder[at]
        differs = np.any(pseudonyms[at] != slices[node].pseudonyms, axis=1) & (known != NO_COUNTERPART)
        _refuse_where(differs, known, node, ids, "two pseudonyms at one position")
        pseudonyms[at] = slices[node].pseudonyms
        first_holder[at] = np.where(known == NO_COUNTERPART, index, known)
    if np.any(holder[label_kind] == NO_COUNTERPART):
        owner = int(first_holder[np.argmax(holder[label_kind] == NO_COUNTERPART)])
        nodes = [ids[owner]] if owner != NO_COUNTERPART else [n for n, k in roster if k == label_kind]
        raise _contradiction(nodes, f"a merchant without a node of kind {label_kind}")
    _check_order(pseudonyms, holder[label_kind], ids)
    for node, own_kind in roster:
        at = slices[node].positions - np.uint32(start)
        for kind in kinds:
            if kind != own_kind:
                actual, named = holder[kind][at], slices[node].counterparts[kind]
                other = np.where(actual == NO_COUNTERPART, named, actual)
                _refuse_where(actual != named, other, node, ids, f"counterparts of kind {kind} not symmetric")
    held = {kind: at != NO_COUNTERPART for kind, at in holder.items()}
    return CheckedSlices(
        members={kind: int(here.sum()) for kind, here in held.items()},
        pairs={(a, b): int((held[a] & held[b]).sum()) for a, b in combinations(kinds, 2)},
        first=pseudonyms[:1].tobytes(),
        last=pseudonyms[-1:].tobytes(),
    )


def ascending(pseudonyms: Pseudonyms) -> NDArray[np.bool_]:
    """(n − 1,) whether each pseudonym is above the one before it, as bytes."""
    whole = np.ascontiguousarray(pseudonyms).view("S32").ravel()
    return np.asarray(whole[1:] > whole[:-1], dtype=np.bool_)


def holdout_mask(pseudonyms: Pseudonyms, salt: bytes, fraction: float) -> NDArray[np.bool_]:
    """Which merchants are held out: SHA-256(salt ‖ pseudonym), first 8 bytes / 2^64 < fraction.

    Args:
        pseudonyms: (n, 32) uint8.
        salt: from the terms, fixed before acceptance.
        fraction: 0 (none) up to below 1.

    Returns:
        (n,) bool.

    Raises:
        ManifestError: a fraction outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ManifestError(
            f"a hold-out fraction of {fraction}", field="fraction", remedy="give a fraction of 0 to below 1"
        )
    threshold = math.ceil(fraction * (1 << 64))
    salted = hashlib.sha256(salt)
    held = np.empty(len(pseudonyms), dtype=np.bool_)
    data = np.ascontiguousarray(pseudonyms, dtype=np.uint8).tobytes()
    for row in range(len(pseudonyms)):
        digest = salted.copy()
        digest.update(data[32 * row : 32 * row + 32])
        held[row] = int.from_bytes(digest.digest()[:8], "big") < threshold
    return held


def _contradiction(nodes: Sequence[str], what: str) -> ManifestError:
    return ManifestError(
        f"slices of {', '.join(nodes)}: {what}",
        field=nodes[0],
        remedy="do not cosign; the hub must form the cohort again",
    )


def _refuse_where(wrong: NDArray[np.bool_], others: NDArray[Any], node: str, ids: list[str], what: str) -> None:
    """Raises for the first wrong row, naming this node and the other one of that row."""
    if wrong.any():
        other = int(others[int(np.argmax(wrong))])
        nodes = [node, ids[other]] if 0 <= other < len(ids) else [node]
        raise _contradiction(nodes, what)


def _check_shape(node: str, kind: str, own: NodeSlice, kinds: Sequence[str]) -> None:
    n = len(own.positions)
    typed = (
        own.positions.dtype == np.uint32
        and own.positions.ndim == 1
        and own.pseudonyms.dtype == np.uint8
        and own.pseudonyms.shape == (n, 32)
        and all(c.shape == (n,) and c.dtype == np.int32 for c in own.counterparts.values())
    )
    if own.kind != kind or not typed or set(own.counterparts) != set(kinds) - {kind}:
        raise _contradiction([node], "malformed, or not of the roster's kind")
    if np.any(own.positions[1:] <= own.positions[:-1]):
        raise _contradiction([node], "positions not ascending")


def _check_order(pseudonyms: Pseudonyms, label_holder: NodeIndex, ids: list[str]) -> None:
    """Pseudonyms ascend with positions, so none stands at two of them."""
    wrong = ~ascending(pseudonyms)
    if wrong.any():
        at = int(np.argmax(wrong))
        nodes = sorted({ids[label_holder[at]], ids[label_holder[at + 1]]})
        raise _contradiction(nodes, "one pseudonym at two positions, or positions not in the order of pseudonyms")
