"""A node's part of an attempt, a block of positions at a time (docs/protocol.md, T1 to T3).

Pieces of the slice come before the acceptance, the last one with it. At the acceptance each block's codes are frozen
beside the positions and counterparts they belong to; later steps load the block they are at and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgpack
import numpy as np
from numpy.typing import NDArray

from crypto.attempts import NodeAttempt
from crypto.blocks import terms_blocks
from crypto.errors import AttemptError, ManifestError
from crypto.manifest import NodeSlice, expected_inbox
from crypto.parcel import Array, Parcel, array_fields, array_from_fields
from crypto.secure_tables import Expected, check_one_hot, frozen_sha256, matrix_sha256
from crypto.slices import read_slice, slice_arrays
from models.bins import one_hot
from nodes.attempts import AttemptStore
from nodes.terms_check import CheckedTerms
from nodes.training_context import Codes

_HASHES = "matrix"
_HASH_BYTES = 32
_COUNTERPART = "counterpart."


@dataclass(frozen=True)
class FrozenBlock:
    """What T1 froze of one block.

    Attributes:
        positions: (n,) cohort positions, ascending.
        first_row: place of the block's first row in the node's whole matrix.
        codes, outcome: as in `nodes.training_context.TrainingData`, in order of positions.
        expected: what must come from whom, by the slice.
    """

    positions: NDArray[np.uint32]
    first_row: int
    codes: Codes
    outcome: Codes | None
    expected: Mapping[str, Expected]

    def rows(self, widths: tuple[int, ...]) -> Codes:
        """(n, d) one-hot rows; NotOneHotError for codes that give others."""
        X = one_hot(self.codes, widths, self.outcome)
        check_one_hot(X, widths, outcomes=self.outcome is not None)
        return X


class FrozenRows:
    """The blocks of one attempt in the node's store."""

    def __init__(self, attempts: AttemptStore, party_id: str, kind: str, checked: CheckedTerms) -> None:
        self._attempts, self._party_id, self._kind, self._checked = attempts, party_id, kind, checked
        self._attempt = checked.terms.attempt
        self.blocks = terms_blocks(checked.terms)

    def keep_piece(self, piece: NodeSlice, block: int) -> None:
        """Before T1: keeps the slice's piece of a block until the acceptance.

        Raises:
            ManifestError: there is no such block.
        """
        self.blocks.span(block)
        self._attempts.save_blob(self._attempt, f"slice.{block}", pack_arrays(slice_arrays(piece)))

    def pieces(self, last: NodeSlice) -> Iterator[tuple[int, NodeSlice]]:
        """All pieces in order, the last one being that which came with T1.

        Raises:
            ManifestError: a piece has not come.
        """
        kinds = [each.kind for each in self._checked.terms.kinds]
        for block in range(self.blocks.count - 1):
            stored = self._attempts.blob(self._attempt, f"slice.{block}")
            if stored is None:
                raise ManifestError(
                    f"block {block} of the slice has not come", field="block", remedy="send the blocks in order"
                )
            yield block, read_slice(Parcel(arrays=unpack_arrays(stored)), self._kind, kinds)
        yield self.blocks.count - 1, last

    def freeze(self, block: int, piece: NodeSlice, first_row: int, codes: Codes, outcome: Codes | None) -> bytes:
        """T1: keeps a block's rows and returns the hash that they are frozen under."""
        expected = expected_inbox(self._party_id, piece, self._checked.roster)
        frozen = FrozenBlock(piece.positions, first_row, codes, outcome, expected)
        arrays: dict[str, Array] = {
            "positions": piece.positions,
            "first_row": np.array([first_row], dtype=np.int64),
            "codes": codes,
        }
        if outcome is not None:
            arrays["outcome"] = outcome
        arrays |= {f"{_COUNTERPART}{kind}": index for kind, index in piece.counterparts.items()}
        self._attempts.save_blob(self._attempt, f"rows.{block}", pack_arrays(arrays))
        return matrix_sha256(frozen.rows(self._widths), piece.positions)

    def seal(self, hashes: list[bytes]) -> bytes:
        """T1: keeps the hashes of all blocks and returns the one over them, for the attempt's state."""
        self._attempts.save_blob(self._attempt, _HASHES, b"".join(hashes))
        self.drop_pieces()
        return frozen_sha256(hashes)

    def drop_pieces(self) -> None:
        """T1: forgets the pieces of the slice, once what they say is kept."""
        for block in range(self.blocks.count - 1):
            self._attempts.drop_blob(self._attempt, f"slice.{block}")

    def load(self, block: int) -> FrozenBlock:
        """What was frozen of a block.

        Raises:
            AttemptError: it is gone: the attempt has ended, or was not accepted here.
        """
        stored = self._attempts.blob(self._attempt, f"rows.{block}")
        if stored is None:
            raise _gone(self._attempt)
        arrays = unpack_arrays(stored)
        counterparts = {
            name.removeprefix(_COUNTERPART): index for name, index in arrays.items() if name.startswith(_COUNTERPART)
        }
        nobody = np.zeros((0, 32), dtype=np.uint8)
        piece = NodeSlice(self._kind, arrays["positions"], nobody, counterparts)
        expected = expected_inbox(self._party_id, piece, self._checked.roster)
        return FrozenBlock(
            piece.positions, int(arrays["first_row"][0]), arrays["codes"], arrays.get("outcome"), expected
        )

    def matrix(self, state: NodeAttempt, block: int, frozen: FrozenBlock) -> tuple[Codes, bytes]:
        """T2, T3: a block's one-hot rows, and the hash of the whole matrix that they are part of.

        Raises:
            AttemptError: they are not the rows frozen at acceptance.
        """
        stored = self._attempts.blob(self._attempt, _HASHES)
        if stored is None:
            raise _gone(self._attempt)
        hashes = [stored[at : at + _HASH_BYTES] for at in range(0, len(stored), _HASH_BYTES)]
        X = frozen.rows(self._widths)
        whole = frozen_sha256(hashes)
        if matrix_sha256(X, frozen.positions) != hashes[block] or whole != state.matrix_sha256:
            raise AttemptError(
                f"the matrix of attempt {self._attempt} is not the one frozen at acceptance",
                field="matrix_sha256",
                remedy="refuse this attempt; the next one freezes the new data",
            )
        return X, whole

    @property
    def _widths(self) -> tuple[int, ...]:
        return self._checked.layout.blocks(self._kind).widths


def all_rows(attempts: AttemptStore, checked: CheckedTerms) -> tuple[Codes, Codes]:
    """Codes and outcome of all blocks, for a stage that trains on a kind's own rows.

    Raises:
        AttemptError: they are gone: the attempt has ended, or was not accepted here.
    """
    attempt, parts = checked.terms.attempt, []
    for block in range(terms_blocks(checked.terms).count):
        stored = attempts.blob(attempt, f"rows.{block}")
        if stored is None:
            raise _gone(attempt)
        parts.append(unpack_arrays(stored))
    return np.concatenate([each["codes"] for each in parts]), np.concatenate([each["outcome"] for each in parts])


def unpack_arrays(data: bytes) -> dict[str, Array]:
    """Arrays as they were stored.

    Raises:
        AttemptError: the bytes are damaged.
    """
    try:
        stored = msgpack.unpackb(data)
        return {str(name): array_from_fields(*fields) for name, fields in stored.items()}
    except (ValueError, TypeError, AttributeError, msgpack.exceptions.UnpackException) as problem:
        raise AttemptError(
            "what the store keeps of an attempt is damaged",
            field="arrays",
            remedy="restore the node's data folder from its backup, then start a new attempt",
        ) from problem


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays as they are stored."""
    packed: bytes = msgpack.packb({name: array_fields(array) for name, array in arrays.items()})
    return packed


def _gone(attempt: str) -> AttemptError:
    return AttemptError(f"the rows of attempt {attempt} are gone", field="attempt", remedy="start a new attempt")
