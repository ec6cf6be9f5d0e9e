"""Derivation and stream against RFC 5869 and RFC 8439; offsets; limits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from crypto.errors import KeyFormatError, RangeError
from crypto.prg import derive_key, keystream, words32, words64

ZERO = bytes(32)
BLOCKS = bytes.fromhex(
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
)


def test_hkdf_is_that_of_rfc_5869() -> None:
    key = derive_key(b"\x0b" * 22, salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA)))
    assert key.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    # Test case 3: no salt, no info.
    assert derive_key(b"\x0b" * 22, info=b"").hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    )


def test_stream_is_that_of_rfc_8439() -> None:
    assert keystream(ZERO, 128) == BLOCKS
    assert keystream(ZERO, 64, offset=64) == BLOCKS[64:]
    assert keystream(ZERO, 5) == BLOCKS[:5]
    assert keystream(ZERO, 0) == b""
    assert words32(ZERO, 32).tolist() == np.frombuffer(BLOCKS, "<u4").tolist()
    assert words64(ZERO, 16).tolist() == np.frombuffer(BLOCKS, "<u8").tolist()


def test_any_word_offset_continues_the_stream() -> None:
    whole32, whole64 = words32(ZERO, 200), words64(ZERO, 200)
    assert whole32.dtype == np.uint32
    assert whole64.dtype == np.uint64
    for offset in range(40):
        np.testing.assert_array_equal(words32(ZERO, 70, offset=offset), whole32[offset : offset + 70])
        np.testing.assert_array_equal(words64(ZERO, 70, offset=offset), whole64[offset : offset + 70])


def test_long_streams_are_written_in_parts_without_seams() -> None:
    whole = words32(ZERO, 200_000)
    np.testing.assert_array_equal(whole[131_000:], words32(ZERO, 69_000, offset=131_000))


def test_the_last_block_is_reached_and_no_further() -> None:
    end = (1 << 32) * 16
    assert words32(ZERO, 16, offset=end - 16).size == 16
    for call in (
        lambda: words32(ZERO, 17, offset=end - 16),
        lambda: words64(ZERO, 1, offset=end // 2),
        lambda: keystream(ZERO, 65, offset=((1 << 32) - 1) * 64),
        lambda: keystream(ZERO, 64, offset=32),
        lambda: keystream(ZERO, -1),
        lambda: keystream(ZERO, 1, offset=-64),
        lambda: words32(ZERO, 1, offset=-1),
        lambda: words64(ZERO, -1),
    ):
        with pytest.raises(RangeError):
            call()


def test_keys_and_secrets_have_their_length() -> None:
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(KeyFormatError):
            words32(key, 1)
    with pytest.raises(KeyFormatError):
        derive_key(b"short", info=b"")


def test_different_uses_get_unrelated_keys() -> None:
    keys = {derive_key(ZERO, info=info, salt=salt) for info in (b"a", b"b") for salt in (b"", b"s")}
    assert len(keys) == 4


def test_expansion_is_fast_enough_for_tables() -> None:
    started = time.process_time()
    words32(ZERO, 12_500_000)
    assert 50e6 / (time.process_time() - started) > 100e6
