"""The independent verifier accepts every proof of the product's, and refuses every one that was changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import merkle
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.errors import ProofError
from crypto.keys import IdentityKey
from crypto.tiles import consistency_from_tiles, inclusion_from_tiles, integrate
from tests import rfc_verifier as rfc

HASHES = [rfc.leaf(b"%d" % number) for number in range(700)]
LOG = IdentityKey.generate()
WITNESS = IdentityKey.generate()
NAMES = ("digua/hub-lishui", "witness-zj")


class Tiles:
    """The product's tiles of a log that grew in steps."""

    def __init__(self, steps: Sequence[int]) -> None:
        self.stored: dict[tuple[int, int], bytes] = {}
        self.size = 0
        for step in steps:
            self.size, changed = integrate(self.size, HASHES[self.size : self.size + step], self)
            self.stored |= changed

    def read(self, level: int, index: int, width: int) -> bytes:
        return self.stored.get((level, index), b"")[: 32 * width]


sizes = st.lists(st.integers(1, 60), min_size=1, max_size=10)
places = st.floats(0, 1, exclude_max=True)


def changed(path: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Paths that differ from this one: a bit, a hash less, one more, two exchanged."""
    flip = st.tuples(st.integers(0, len(path) - 1), st.integers(0, 255)) if path else st.nothing()

    def flipped(at: tuple[int, int]) -> list[bytes]:
        number = int.from_bytes(path[at[0]], "big") ^ 1 << at[1]
        return [*path[: at[0]], number.to_bytes(32, "big"), *path[at[0] + 1 :]]

    longer = st.tuples(st.integers(0, len(path)), st.sampled_from([*path, b"\x00" * 32]))
    ways = [longer.map(lambda at: [*path[: at[0]], at[1], *path[at[0] :]])]
    if path:
        ways += [flip.map(flipped), st.integers(0, len(path) - 1).map(lambda at: path[:at] + path[at + 1 :])]
    if len(path) > 1:
        ways.append(st.integers(0, len(path) - 2).map(lambda at: [*path[:at], path[at + 1], path[at], *path[at + 2 :]]))
    return st.one_of(ways)


def holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except (rfc.Wrong, ProofError):
        return False
    return True


@given(steps=sizes, place=places, other=places, data=st.data())
def test_inclusion(steps: list[int], place: float, other: float, data: st.DataObject) -> None:
    tiles = Tiles(steps)
    size, index = tiles.size, int(place * tiles.size)
    root = rfc.MTH(HASHES[:size])
    path = inclusion_from_tiles(index, size, tiles)
    assert path == merkle.inclusion_proof(index, HASHES[:size])
    rfc.verify_inclusion(HASHES[index], index, size, path, root)
    wrong = data.draw(changed(path))
    elsewhere = int(other * size)
    refused: list[tuple[bytes, int, list[bytes], bytes]] = [
        (HASHES[index], index, wrong, root),
        (HASHES[size], index, path, root),
        (HASHES[index], index, path, HASHES[0] if size > 1 else HASHES[1]),
    ]
    if elsewhere != index:
        refused.append((HASHES[index], elsewhere, path, root))
    for hashed, at, given_path, head in refused:
        assert not holds(lambda: rfc.verify_inclusion(hashed, at, size, given_path, head))  # noqa: B023
        assert not holds(lambda: merkle.verify_inclusion(hashed, at, size, given_path, head))  # noqa: B023


@given(steps=sizes, place=places, data=st.data())
def test_consistency(steps: list[int], place: float, data: st.DataObject) -> None:
    tiles = Tiles([*steps, 1])
    new, old = tiles.size, 1 + int(place * (tiles.size - 1))
    first, second = rfc.MTH(HASHES[:old]), rfc.MTH(HASHES[:new])
    path = consistency_from_tiles(old, new, tiles)
    assert path == merkle.consistency_proof(old, HASHES[:new])
    if old == new:
        assert path == []
        return
    rfc.verify_consistency(old, new, path, first, second)
    wrong = data.draw(changed(path))
    other = rfc.MTH([HASHES[699], *HASHES[1:old]])
    for given_path, early, late in ((wrong, first, second), (path, other, second), (path, first, other)):
        assert not holds(lambda: rfc.verify_consistency(old, new, given_path, early, late))  # noqa: B023
        assert not holds(lambda: merkle.verify_consistency(old, early, new, late, given_path))  # noqa: B023


@given(size=st.integers(1, 400), claimed=st.integers(1, 420), place=places)
def test_both_judge_claimed_sizes_alike(size: int, claimed: int, place: float) -> None:
    index, root = int(place * size), rfc.MTH(HASHES[:size])
    path = merkle.inclusion_proof(index, HASHES[:size])
    ours = holds(lambda: merkle.verify_inclusion(HASHES[index], index, claimed, path, root))
    assert ours == holds(lambda: rfc.verify_inclusion(HASHES[index], index, claimed, path, root))
    assert ours or claimed != size
    old = 1 + int(place * (size - 1)) if size > 1 else 1
    if old < size and old < claimed:
        proof, first = merkle.consistency_proof(old, HASHES[:size]), rfc.MTH(HASHES[:old])
        ours = holds(lambda: merkle.verify_consistency(old, first, claimed, root, proof))
        assert ours == holds(lambda: rfc.verify_consistency(old, claimed, proof, first, root))


@given(size=st.integers(0, 700))
def test_tree_heads_agree(size: int) -> None:
    head = rfc.TreeHead()
    for hashed in HASHES[:size]:
        head.push(hashed)
    assert head.root() == rfc.MTH(HASHES[:size]) == merkle.root(HASHES[:size])


def signed(size: int, root: bytes) -> str:
    body = Checkpoint(NAMES[0], size, root).body()
    return assemble(
        body, [sign_note(body, NAMES[0], LOG), sign_note(body, NAMES[1], WITNESS, cosignature_time=1_700_000_000)]
    )


def verifiers() -> list[rfc.Verifier]:
    return [rfc.Verifier(NAMES[0], LOG.public, 0x01), rfc.Verifier(NAMES[1], WITNESS.public, 0x04)]


@given(
    size=st.integers(0, 1 << 40), at=st.integers(min_value=0), put=st.characters(min_codepoint=10, max_codepoint=126)
)
def test_checkpoints(size: int, at: int, put: str) -> None:
    root = hashlib.sha256(str(size).encode()).digest()
    note = signed(size, root)
    assert rfc.open_checkpoint(note, verifiers()) == rfc.Checkpoint(NAMES[0], size, root)
    at %= len(note)
    wrong = note[:at] + put + note[at + 1 :]
    if wrong == note:
        return
    try:
        found = rfc.open_checkpoint(wrong, verifiers())
    except (rfc.Wrong, ValueError):
        return
    # Spare bits of base64 say nothing: what is left is the very same checkpoint, and its last characters alone differ.
    assert found == rfc.Checkpoint(NAMES[0], size, root)
    assert note[at + 1] in "=\n" or note[at] in "="


@pytest.mark.parametrize("who", [0, 1])
def test_another_key_is_refused(who: int) -> None:
    wrong = verifiers()
    wrong[who] = rfc.Verifier(wrong[who].name, IdentityKey.generate().public, wrong[who].kind)
    with pytest.raises(rfc.Wrong, match="no signature"):
        rfc.open_checkpoint(signed(5, HASHES[0]), wrong)
