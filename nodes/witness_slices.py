"""The slices of an attempt at the witness, a block of positions at a time (docs/protocol.md, T0).

Each block is checked when it comes; what is kept of it is what the checks over all blocks and the manifest's root need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import msgpack
import numpy as np
from numpy.typing import NDArray

from crypto.blocks import terms_blocks
from crypto.canonical import digest
from crypto.errors import ManifestError
from crypto.manifest import CheckedSlices, NodeSlice, check_slices, holdout_mask
from crypto.slices import piece_sha256
from crypto.wire.campaign import Terms
from nodes.terms_check import CheckedTerms

Positions = NDArray[np.uint32]


@dataclass(frozen=True)
class SlicesBlock:
    """One block, checked.

    Attributes:
        terms_sha256: of the terms under which it was checked.
        found: what it adds up to.
        hashes, positions: per node, in order of the roster.
    """

    terms_sha256: bytes
    found: CheckedSlices
    hashes: tuple[bytes, ...]
    positions: tuple[Positions, ...]

    def to_bytes(self) -> bytes:
        """As stored."""
        found = self.found
        packed: bytes = msgpack.packb(
            {
                "terms": self.terms_sha256,
                "members": dict(found.members),
                "pairs": [[*pair, members] for pair, members in found.pairs.items()],
                "ends": [found.first, found.last],
                "hashes": list(self.hashes),
                "positions": [each.astype("<u4", copy=False).tobytes() for each in self.positions],
            }
        )
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> SlicesBlock:
        """As `to_bytes` wrote it."""
        stored = msgpack.unpackb(data)
        pairs = {(first, second): members for first, second, members in stored["pairs"]}
        positions = (np.frombuffer(each, dtype="<u4").astype(np.uint32, copy=False) for each in stored["positions"])
        found = CheckedSlices(stored["members"], pairs, *stored["ends"])
        return cls(stored["terms"], found, tuple(stored["hashes"]), tuple(positions))


def check_block(checked: CheckedTerms, slices: Mapping[str, NodeSlice], block: int) -> SlicesBlock:
    """Checks all nodes' pieces of a block.

    Args:
        checked: the terms.
        slices: node id → its piece.
        block: its number.

    Raises:
        ManifestError: pieces contradict each other, lie outside the block, or hold held-out merchants.
    """
    terms = checked.terms
    span = terms_blocks(terms).span(block)
    found = check_slices(slices, checked.roster, label_kind=terms.label_kind, span=span)
    for own in slices.values():
        if own.kind != terms.label_kind:
            continue
        held = holdout_mask(own.pseudonyms, terms.holdout.salt, terms.holdout.fraction)
        if terms.stage == "evaluation" and not held.all():
            raise ManifestError(
                "merchants that the model was trained on are in the cohort of its evaluation",
                field="holdout",
                remedy="the hub must form the cohort again",
            )
        if terms.stage != "evaluation" and held.any():
            raise ManifestError(
                "held-out merchants are in the cohort", field="holdout", remedy="the hub must form the cohort again"
            )
    ordered = [slices[party] for party, _ in checked.roster]
    hashes = tuple(piece_sha256(each) for each in ordered)
    return SlicesBlock(digest(checked.payload), found, hashes, tuple(each.positions for each in ordered))


def check_cohort(checked: CheckedTerms, blocks: Mapping[int, SlicesBlock]) -> list[SlicesBlock]:
    """T0: all blocks together: none missing, pseudonyms ascend through them, public membership numbers are theirs.

    Args:
        checked: the terms.
        blocks: number → block.

    Returns:
        The blocks in order.

    Raises:
        ManifestError: otherwise.
    """
    terms, sha256 = checked.terms, digest(checked.payload)
    wanted = range(terms_blocks(terms).count)
    missing = [block for block in wanted if block not in blocks or blocks[block].terms_sha256 != sha256]
    if missing:
        raise ManifestError(
            f"block {missing[0]} of the slices has not come under these terms",
            field="block",
            remedy="send the blocks in order before the last one",
        )
    ordered = [blocks[block] for block in wanted]
    for before, after in pairwise(ordered):
        if after.found.first <= before.found.last:
            raise ManifestError(
                "one pseudonym at two positions, or positions not in the order of pseudonyms",
                field="block",
                remedy="do not cosign; the hub must form the cohort again",
            )
    _check_numbers(terms, ordered)
    return ordered


def _check_numbers(terms: Terms, blocks: list[SlicesBlock]) -> None:
    members: Counter[str] = Counter()
    pairs: Counter[frozenset[str]] = Counter()
    for block in blocks:
        members.update(block.found.members)
        pairs.update({frozenset(pair): number for pair, number in block.found.pairs.items()})
    due = {(a.kind, b.kind) for at, a in enumerate(terms.kinds) for b in terms.kinds[at + 1 :]}
    if (
        members[terms.label_kind] != terms.cohort_size
        or any(each.members != members[each.kind] for each in terms.kinds)
        or {(each.first, each.second) for each in terms.pairs} != due
        or any(each.members != pairs[frozenset((each.first, each.second))] for each in terms.pairs)
    ):
        raise ManifestError(
            "the cohort's membership numbers are not those of the slices",
            field="cohort_size",
            remedy="the hub must count the cohort again",
        )
