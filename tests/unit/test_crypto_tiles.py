"""Tiles give the tree of crypto.merkle, from few reads."""

from __future__ import annotations

import random
import time

import pytest

from crypto import merkle, tiles
from crypto.errors import ProofError


class Shelf:
    """Tiles in memory, as a store keeps them: the longest version of each."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def read(self, level: int, index: int, width: int) -> bytes:
        self.reads += 1
        return self.kept.get((level, index), b"")[: width * 32]

    def append(self, size: int, hashes: list[bytes]) -> int:
        new_size, changed = tiles.integrate(size, hashes, self)
        self.kept.update(changed)
        return new_size


HASHES = [merkle.leaf_hash(i.to_bytes(4, "big")) for i in range(600)]


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (0, 1234067, 8, "tile/0/x001/x234/067.p/8"),
        (2, 999, 1, "tile/2/999.p/1"),
        (1, 1000, 255, "tile/1/x001/000.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(level: int, index: int, width: int, path: str) -> None:
    assert tiles.tile_path(level, index, width) == path


def test_impossible_tiles_have_no_path() -> None:
    for level, index, width in ((-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(ProofError):
            tiles.tile_path(level, index, width)


def test_roots_equal_the_plain_tree_at_every_size_up_to_600() -> None:
    shelf, size = Shelf(), 0
    assert tiles.root_from_tiles(0, shelf) == merkle.EMPTY_ROOT
    for value in HASHES:
        size = shelf.append(size, [value])
        assert tiles.root_from_tiles(size, shelf) == merkle.root(HASHES[:size])
    # Older sizes stay readable: a longer tile begins with the shorter one.
    for old in (1, 255, 256, 257, 511, 512, 513):
        assert tiles.root_from_tiles(old, shelf) == merkle.root(HASHES[:old])


def test_only_changed_tiles_are_returned() -> None:
    shelf = Shelf()
    size = shelf.append(0, HASHES[:300])
    assert {key: len(data) // 32 for key, data in shelf.kept.items()} == {(0, 0): 256, (0, 1): 44, (1, 0): 1}
    size, changed = tiles.integrate(size, HASHES[300:310], shelf)
    assert (size, set(changed)) == (310, {(0, 1)})
    assert tiles.integrate(310, [], shelf) == (310, {})


def test_a_log_of_100000_is_quick_and_reads_little() -> None:
    hashes = [merkle.leaf_hash(i.to_bytes(4, "big")) for i in range(100_000)]
    shelf, size, rng = Shelf(), 0, random.Random(7)
    started = time.process_time()  # not the clock on the wall: others may use the processors
    while size < 100_000:
        size = shelf.append(size, hashes[size : size + rng.randint(1, 3000)])
    assert size == 100_000
    head = tiles.root_from_tiles(size, shelf)
    assert head == merkle.root(hashes)
    for _ in range(50):
        index, old = rng.randrange(size), rng.randrange(1, size)
        shelf.reads = 0
        proof = tiles.inclusion_from_tiles(index, size, shelf)
        steps = tiles.consistency_from_tiles(old, size, shelf)
        assert shelf.reads <= 16
        merkle.verify_inclusion(hashes[index], index, size, proof, head)
        merkle.verify_consistency(old, tiles.root_from_tiles(old, shelf), size, head, steps)
    assert time.process_time() - started < 20


def test_a_missing_or_short_tile_is_named() -> None:
    shelf = Shelf()
    size = shelf.append(0, HASHES[:300])
    shelf.kept[0, 1] = shelf.kept[0, 1][:-32]
    with pytest.raises(ProofError, match=r"tile/0/001\.p/44"):
        tiles.root_from_tiles(size, shelf)
    with pytest.raises(ProofError, match=r"tile/0/001\.p/44"):
        tiles.integrate(size, HASHES[300:301], shelf)


def test_malformed_requests_are_refused() -> None:
    shelf = Shelf()
    with pytest.raises(ProofError):
        tiles.integrate(0, [b"short"], shelf)
    with pytest.raises(ProofError):
        tiles.integrate(-1, HASHES[:1], shelf)
    with pytest.raises(ProofError):
        tiles.root_from_tiles(-1, shelf)
    with pytest.raises(ProofError):
        tiles.inclusion_from_tiles(0, 0, shelf)
