"""The log in tiles (C2SP tlog-tiles): a tree of any size, its proofs from O(log n) reads of at most 8 KiB.

A tile at level 0 holds 256 leaf hashes; one at level L holds the roots of 256 whole tiles of level L − 1. A whole tile
never changes; the last one of each level may be partial, and a longer partial tile begins with the shorter one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crypto import merkle
from crypto.errors import ProofError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_LEVEL = 63


_LENGTH_BYTES = 2
MAX_ENTRY = (1 << (8 * _LENGTH_BYTES)) - 1
"""Bytes of the largest entry that a bundle can hold."""


class TileReader(Protocol):
    """Where tiles are kept."""

    def read(self, level: int, index: int, width: int) -> bytes:
        """Return the first ``width`` hashes of a tile, 32 bytes each (more than that is cut off)."""
        ...


def _refused(message: str, field: str) -> ProofError:
    return ProofError(message, field=field, remedy="Check the log's tiles with `digua-hub doctor`.")


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return a tile's path, e.g. ``tile/0/x001/x234/067`` or, partial, ``tile/0/x001/x234/067.p/8``.

    Raises:
        ProofError: there is no such tile.
    """
    if not 0 <= level <= MAX_LEVEL:
        raise _refused(f"There is no level {level}.", "tile")
    return _path(str(level), index, width)


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of the entries below a tile of level 0, e.g. ``tile/entries/x001/067.p/8``.

    Raises:
        ProofError: there is no such bundle.
    """
    return _path("entries", index, width)


def _path(below: str, index: int, width: int) -> str:
    if not (index >= 0 and 1 <= width <= TILE_WIDTH):
        raise _refused(f"There is no tile {below}/{index} of width {width}.", "tile")
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{below}/{'/'.join(reversed(groups))}{suffix}"


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Put entries of at most 65,535 bytes one after the other, each behind its length in two bytes, big-endian."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def _read(reader: TileReader, level: int, index: int, width: int) -> bytes:
    data = reader.read(level, index, width)
    if len(data) < width * merkle.HASH_BYTES:
        raise _refused(f"Tile {tile_path(level, index, width)} is missing or short.", "tile")
    return data[: width * merkle.HASH_BYTES]


def _hashes(data: bytes) -> list[bytes]:
    return [data[i : i + merkle.HASH_BYTES] for i in range(0, len(data), merkle.HASH_BYTES)]


def integrate(
    old_size: int, new_leaf_hashes: Sequence[bytes], reader: TileReader
) -> tuple[int, dict[tuple[int, int], bytes]]:
    """Append leaves: compute the tiles that are new or have grown.

    Args:
        old_size: leaves in the log so far.
        new_leaf_hashes: hashes to append, 32 bytes each.
        reader: asked for the last partial tile of each level that grows, once.

    Returns:
        The new size, and the bytes of each changed tile by (level, index); its width is ``len(bytes) // 32``.

    Raises:
        ProofError: a hash of another length, a negative size, or a tile that is missing.
    """
    if old_size < 0 or any(len(value) != merkle.HASH_BYTES for value in new_leaf_hashes):
        raise _refused("Leaves are hashes of 32 bytes, the size is not negative.", "new_leaf_hashes")
    changed: dict[tuple[int, int], bytes] = {}
    level, count, added = 0, old_size, list(new_leaf_hashes)
    while added:
        index, width = divmod(count, TILE_WIDTH)
        entries = (_hashes(_read(reader, level, index, width)) if width else []) + added
        above: list[bytes] = []
        for start in range(0, len(entries), TILE_WIDTH):
            tile = entries[start : start + TILE_WIDTH]
            changed[level, index + start // TILE_WIDTH] = b"".join(tile)
            if len(tile) == TILE_WIDTH:
                above.append(merkle.root(tile))
        level, count, added = level + 1, count // TILE_WIDTH, above
    return old_size + len(new_leaf_hashes), changed


class _TiledTree:
    """Subtree roots of one tree size; keeps the tiles that are read, and hashes each of them up once."""

    def __init__(self, size: int, reader: TileReader) -> None:
        self._size = size
        self._reader = reader
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}

    def _tile(self, level: int, index: int) -> list[list[bytes]]:
        """A tile's rows: its hashes, the roots of each two, of each four, and so on, as far as they are whole."""
        if (level, index) not in self._tiles:
            width = min(TILE_WIDTH, (self._size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH)
            rows = [_hashes(_read(self._reader, level, index, width))]
            while len(row := rows[-1]) > 1:
                rows.append([merkle.node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
            self._tiles[level, index] = rows
        return self._tiles[level, index]

    def root(self, begin: int, end: int) -> bytes:
        """Return MTH(D[begin:end]); ``begin`` is a multiple of the largest power of two within the range."""
        count = end - begin
        if count == 0:
            return merkle.EMPTY_ROOT
        if count & (count - 1):
            middle = begin + merkle.split_point(count)
            return merkle.node_hash(self.root(begin, middle), self.root(middle, end))
        # A whole subtree of 2^height leaves: 2^rest neighbouring hashes of one tile.
        level, rest = divmod(count.bit_length() - 1, TILE_HEIGHT)
        index, first = divmod(begin >> (TILE_HEIGHT * level), TILE_WIDTH)
        return self._tile(level, index)[rest][first >> rest]


def root_from_tiles(size: int, reader: TileReader) -> bytes:
    """Return the tree head of the first ``size`` leaves.

    Raises:
        ProofError: a negative size, or a tile that is missing or short.
    """
    if size < 0:
        raise _refused("A tree's size is not negative.", "size")
    return _TiledTree(size, reader).root(0, size)


def inclusion_from_tiles(index: int, size: int, reader: TileReader) -> list[bytes]:
    """Prove that leaf ``index`` is in the tree of ``size`` leaves (RFC 9162, 2.1.3.1).

    Raises:
        ProofError: no such leaf, or a tile that is missing or short.
    """
    return inclusions_from_tiles([index], size, reader)[0]


def inclusions_from_tiles(indices: Sequence[int], size: int, reader: TileReader) -> list[list[bytes]]:
    """Prove several leaves, as `inclusion_from_tiles` each; neighbours cost little more than one.

    Raises:
        ProofError: no such leaf, or a tile that is missing or short.
    """
    tree = _TiledTree(size, reader)
    return [merkle.inclusion_path(index, size, tree.root) for index in indices]


def consistency_from_tiles(old: int, new: int, reader: TileReader) -> list[bytes]:
    """Prove that the tree of ``new`` leaves extends that of ``old`` (RFC 9162, 2.1.4.1).

    Raises:
        ProofError: ``old`` beyond ``new``, or a tile that is missing or short.
    """
    return merkle.consistency_path(old, new, _TiledTree(new, reader).root)
