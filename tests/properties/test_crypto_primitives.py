"""Properties of the primitives that hold for all inputs."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import jws, merkle, tiles
from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, parse_note, sign_note, verify_note
from crypto.errors import CryptoError, IdentifierError, ProofError
from crypto.identifiers import normalise, resident_check_digit, uscc_check_digit
from crypto.keys import BoxKey, IdentityKey
from crypto.prg import keystream, words32, words64
from crypto.score_masks import mask_points, open_points
from crypto.sealed import open_sealed, seal

HASHES = [merkle.leaf_hash(i.to_bytes(4, "big")) for i in range(600)]
YEAR_10000 = 253_402_300_800
"""Seconds since 1970 at which the calendar of our libraries ends."""
KEY, BOX = IdentityKey.from_bytes(b"\x05" * 32), BoxKey.from_bytes(b"\x06" * 32)
SOURCES = {f"source-{i:02d}": BoxKey.from_bytes(bytes([i]) * 32) for i in range(1, 7)}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Shelf:
    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int, width: int) -> bytes:
        return self.kept.get((level, index), b"")[: width * 32]


def shelf_of(sizes: list[int]) -> Shelf:
    shelf, size = Shelf(), 0
    for target in sizes:
        size, changed = tiles.integrate(size, HASHES[size:target], shelf)
        shelf.kept.update(changed)
    return shelf


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 600), min_size=1, max_size=6), st.data())
def test_tiles_give_the_proofs_of_the_plain_tree_however_they_grew(sizes: list[int], data: st.DataObject) -> None:
    shelf = shelf_of(sorted(sizes))
    size = max(sizes)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    leaves = HASHES[:size]
    root = tiles.root_from_tiles(size, shelf)
    assert root == merkle.root(leaves)
    proof = tiles.inclusion_from_tiles(index, size, shelf)
    assert proof == merkle.inclusion_proof(index, leaves)
    merkle.verify_inclusion(leaves[index], index, size, proof, root)
    several = data.draw(st.lists(st.integers(0, size - 1), max_size=8))
    found = tiles.inclusions_from_tiles(several, size, shelf)
    assert found == [merkle.inclusion_proof(each, leaves) for each in several]
    steps = tiles.consistency_from_tiles(old, size, shelf)
    assert steps == merkle.consistency_proof(old, leaves)
    merkle.verify_consistency(old, merkle.root(leaves[:old]), size, root, steps)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_changed_proof_never_verifies(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, HASHES[:size])
    position, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    altered = list(proof)
    altered[position] = (int.from_bytes(proof[position], "big") ^ (1 << bit)).to_bytes(32, "big")
    with pytest.raises(ProofError):
        merkle.verify_inclusion(HASHES[index], index, size, altered, merkle.root(HASHES[:size]))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.data())
def test_a_log_that_lost_or_changed_a_leaf_is_not_consistent(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    leaves = [*HASHES[:changed], merkle.leaf_hash(b"other"), *HASHES[changed + 1 : size]]
    steps = merkle.consistency_proof(old, leaves)
    with pytest.raises(ProofError):
        merkle.verify_consistency(old, merkle.root(HASHES[:old]), size, merkle.root(leaves), steps)


@given(st.integers(0, 3000), st.integers(0, 300), st.binary(min_size=32, max_size=32))
def test_streams_do_not_depend_on_how_they_are_cut(offset: int, count: int, key: bytes) -> None:
    stream = keystream(key, (offset + count) * 8)
    expected32 = np.frombuffer(stream, "<u4")[offset : offset + count]
    expected64 = np.frombuffer(stream, "<u8")[offset : offset + count]
    np.testing.assert_array_equal(words32(key, count, offset=offset), expected32)
    np.testing.assert_array_equal(words64(key, count, offset=offset), expected64)


@given(
    st.dictionaries(st.sampled_from(sorted(SOURCES)), st.integers(-550, 550), min_size=2),
    st.integers(0, 10_000),
    st.binary(min_size=32, max_size=32),
)
@settings(max_examples=50, deadline=None)
def test_masks_of_any_set_of_sources_cancel(points: dict[str, int], item: int, request_hash: bytes) -> None:
    masked = [
        mask_points(
            value,
            {peer: SOURCES[peer].public for peer in points if peer != me},
            box=SOURCES[me],
            request_hash=request_hash,
            item=item,
            me=me,
        )
        for me, value in points.items()
    ]
    assert open_points(masked) == sum(points.values())


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_boxes_open_to_what_was_sealed(plaintext: bytes, context: bytes) -> None:
    assert open_sealed(seal(plaintext, BOX.public, context=context), BOX, context=context) == plaintext


@given(st.binary(max_size=300), st.data())
def test_no_altered_token_verifies(payload: bytes, data: st.DataObject) -> None:
    token = jws.sign(payload, KEY, typ="t", kid="k")
    assert jws.verify(token, KEY.public, typ="t") == payload
    position = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.characters(codec="utf-8"))
    altered = token[:position] + char + token[position + 1 :]
    if altered != token:
        with pytest.raises(CryptoError):
            jws.verify(altered, KEY.public, typ="t")


@given(JSON)
def test_canonical_form_survives_a_round_trip(value: object) -> None:
    encoded = canonical_bytes(value)  # type: ignore[arg-type]
    assert json.loads(encoded) == value
    assert canonical_bytes(json.loads(encoded)) == encoded


@given(st.text(max_size=40))
def test_normalising_opaque_identifiers_is_idempotent(value: str) -> None:
    try:
        once = normalise("opaque", value)
    except IdentifierError:
        return
    assert normalise("opaque", once) == once
    assert normalise("opaque", value.lower().upper()) == normalise("opaque", value.upper())


@given(st.text(alphabet="0123456789ABCDEFGHJKLMNPQRTUWXY", min_size=11, max_size=11), st.data())
def test_generated_codes_pass_and_swapped_neighbours_fail(text: str, data: st.DataObject) -> None:
    region = data.draw(st.text(alphabet="0123456789", min_size=6, max_size=6))
    body = text[:2] + region + text[2:]
    code = body + uscc_check_digit(body)
    assert normalise("uscc", code.lower()) == code
    at = data.draw(st.integers(0, 15))
    swapped = code[:at] + code[at + 1] + code[at] + code[at + 2 :]
    if swapped != code:
        with pytest.raises(IdentifierError):
            normalise("uscc", swapped)


@given(st.dates(min_value=date(1900, 1, 1)), st.integers(0, 999))
def test_generated_resident_numbers_pass(born: date, serial: int) -> None:
    body = f"332501{born:%Y%m%d}{serial:03d}"
    number = body + resident_check_digit(body)
    if born.year < 2200:
        assert normalise("resident-id", number) == number
    else:
        with pytest.raises(IdentifierError):
            normalise("resident-id", number)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), st.integers(0, YEAR_10000 - 1))
def test_notes_parse_to_what_was_signed(size: int, root: bytes, time: int) -> None:
    point = Checkpoint("log.example", size, root)
    lines = [
        sign_note(point.body(), "log.example", KEY),
        sign_note(point.body(), "w.example", KEY, cosignature_time=time),
    ]
    note = assemble(point.body(), lines)
    parsed, signatures = parse_note(note)
    assert parsed == point
    assert signatures[1].verify(point.body(), KEY.public) == time
    names = {"log.example", "w.example"}
    assert verify_note(note, dict.fromkeys(names, KEY.public), required=names) == point


@given(st.integers(YEAR_10000, 2**63 - 1))
def test_notes_of_times_beyond_the_calendar_are_refused(time: int) -> None:
    body = Checkpoint("log.example", 7, bytes(32)).body()
    lines = [sign_note(body, "log.example", KEY), sign_note(body, "w.example", KEY, cosignature_time=time)]
    names = {"log.example", "w.example"}
    with pytest.raises(ProofError, match="time is out of range"):
        verify_note(assemble(body, lines), dict.fromkeys(names, KEY.public), required=names)


@given(st.text(max_size=200))
def test_any_text_is_a_note_or_a_typed_refusal(text: str) -> None:
    with pytest.raises(ProofError):
        verify_note(text, {"log": KEY.public}, required={"log"})
