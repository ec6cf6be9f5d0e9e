"""Slices as bytes and as arrays of a message, a block of positions at a time (docs/protocol.md, 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from crypto.canonical import canonical_bytes
from crypto.errors import ExchangeError
from crypto.manifest import NodeSlice
from crypto.parcel import Array, Parcel


def piece_sha256(piece: NodeSlice) -> bytes:
    """SHA-256 of a node's slice of one block: a canonical JSON header, then the arrays, little-endian."""
    kinds = sorted(piece.counterparts)
    header = canonical_bytes({"kind": piece.kind, "n": len(piece.positions), "kinds": list(kinds)})
    hashed = hashlib.sha256(b"digua-1/piece\0" + len(header).to_bytes(4, "little") + header)
    hashed.update(np.ascontiguousarray(piece.positions, dtype="<u4").data)
    hashed.update(np.ascontiguousarray(piece.pseudonyms, dtype=np.uint8).data)
    for kind in kinds:
        hashed.update(np.ascontiguousarray(piece.counterparts[kind], dtype="<i4").data)
    return hashed.digest()


def slice_bytes(party_id: str, kind: str, pieces: Sequence[bytes]) -> bytes:
    """The bytes under the manifest's root: a canonical JSON header, then the hash of every block's piece, in order.

    Args:
        party_id: whose slice; it is part of the bytes, so that a slice cannot be given to another node.
        kind: of the node.
        pieces: from `piece_sha256`.
    """
    header = canonical_bytes({"party_id": party_id, "kind": kind, "blocks": len(pieces)})
    return b"".join([len(header).to_bytes(4, "little"), header, *pieces])


def slice_arrays(own: NodeSlice, prefix: str = "") -> dict[str, Array]:
    """The slice as arrays of a message, names starting with `prefix`."""
    arrays: dict[str, Array] = {f"{prefix}positions": own.positions, f"{prefix}pseudonyms": own.pseudonyms}
    arrays |= {f"{prefix}counterpart.{kind}": index for kind, index in own.counterparts.items()}
    return arrays


def read_slice(parcel: Parcel, kind: str, kinds: Sequence[str], prefix: str = "") -> NodeSlice:
    """A slice out of a message.

    Args:
        parcel: the message.
        kind: the node's kind, by the roster.
        kinds: all kinds of the terms.
        prefix: as in `slice_arrays`.

    Raises:
        ExchangeError: an array is missing or of another type.
    """
    counterparts: Mapping[str, Array] = {
        other: parcel.array(f"{prefix}counterpart.{other}", np.int32, 1) for other in kinds if other != kind
    }
    return NodeSlice(
        kind=kind,
        positions=parcel.array(f"{prefix}positions", np.uint32, 1),
        pseudonyms=parcel.array(f"{prefix}pseudonyms", np.uint8, 2),
        counterparts=counterparts,
    )


def read_block(parcel: Parcel) -> int:
    """Which block of positions a message is about.

    Raises:
        ExchangeError: it does not say, or not as a number.
    """
    text = parcel.text("block")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ExchangeError("the message's block is no number", field="block", remedy="number blocks from 0")
    return int(text)
