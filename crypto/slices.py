"""Slices as bytes and as arrays of a message (docs/protocol.md, 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crypto.canonical import canonical_bytes
from crypto.manifest import NodeSlice
from crypto.parcel import Array, Parcel


def slice_bytes(party_id: str, own: NodeSlice) -> bytes:
    """The bytes under the manifest's root: a canonical JSON header, then the arrays, little-endian.

    Args:
        party_id: whose slice; it is part of the bytes, so that a slice cannot be given to another node.
        own: the slice; counterparts are written in order of kinds' names.
    """
    kinds = sorted(own.counterparts)
    header = canonical_bytes({"party_id": party_id, "kind": own.kind, "n": len(own.positions), "kinds": list(kinds)})
    parts = [
        len(header).to_bytes(4, "little"),
        header,
        np.ascontiguousarray(own.positions, dtype="<u4").tobytes(),
        np.ascontiguousarray(own.pseudonyms, dtype=np.uint8).tobytes(),
    ]
    parts += [np.ascontiguousarray(own.counterparts[kind], dtype="<i4").tobytes() for kind in kinds]
    return b"".join(parts)


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
