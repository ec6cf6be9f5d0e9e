"""Key derivation (HKDF-SHA256, RFC 5869) and the pseudorandom stream (ChaCha20, RFC 8439) behind every mask.

A stream's key serves one stream: keys come out of `derive_key` with an ``info`` that names the one use, so the nonce is
zero. Words are little-endian, so that all machines expand a seed to the same integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from crypto.errors import KeyFormatError, RangeError

KEY_BYTES = 32
BLOCK_BYTES = 64
MAX_BLOCKS = 1 << 32
_NONCE_TAIL = bytes(12)
# One block of zeros is encrypted again and again: output is written in place, memory stays small.
_ZEROS = memoryview(bytes(1 << 18))


def derive_key(secret: bytes, *, info: bytes, salt: bytes = b"") -> bytes:
    """Derive a 32-byte key from a secret of high entropy (a shared X25519 secret, a seed).

    Args:
        secret: input keying material, at least 16 bytes.
        info: names the one use of the key; see `crypto.sealed.context_bytes`.
        salt: optional, public.

    Raises:
        KeyFormatError: the secret is too short to be one.
    """
    if len(secret) < 16:
        raise KeyFormatError(
            "A secret to derive from has at least 16 bytes.",
            field="secret",
            remedy="Pass a shared secret or a seed.",
        )
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt or None, info=info).derive(secret)


def _expand(key: bytes, first_block: int, out: NDArray[np.uint8]) -> None:
    """Fill ``out`` with the stream from ``first_block`` on (RFC 8439, nonce zero)."""
    if len(key) != KEY_BYTES:
        raise KeyFormatError(
            f"A stream key has {KEY_BYTES} bytes, not {len(key)}.",
            field="key",
            remedy="Derive it with derive_key.",
        )
    blocks = -(-out.size // BLOCK_BYTES)
    if first_block + blocks > MAX_BLOCKS:
        # Past 2^32 blocks the counter would wrap and repeat the stream.
        raise RangeError("A stream has at most 2^32 blocks (256 GiB).", field="offset", remedy="Derive a further key.")
    encryptor = Cipher(algorithms.ChaCha20(key, first_block.to_bytes(4, "little") + _NONCE_TAIL), mode=None).encryptor()
    target = memoryview(out.data)
    for start in range(0, out.size, len(_ZEROS)):
        part = target[start : start + len(_ZEROS)]
        encryptor.update_into(_ZEROS[: len(part)], part)


def _check_extent(count: int, offset: int, field: str) -> None:
    if count < 0 or offset < 0:
        raise RangeError("Lengths and offsets of a stream are not negative.", field=field, remedy="Pass zero or more.")


def keystream(key: bytes, nbytes: int, *, offset: int = 0) -> bytes:
    """Return ``nbytes`` of the key's stream from byte ``offset`` (a multiple of 64) on.

    Raises:
        RangeError: an offset inside a block, a negative length, or more than 2^32 blocks.
        KeyFormatError: the key is not 32 bytes.
    """
    _check_extent(nbytes, offset, "nbytes")
    if offset % BLOCK_BYTES:
        raise RangeError(
            "A stream's byte offset is a multiple of 64.", field="offset", remedy="Start at a block's first byte."
        )
    out = np.empty(nbytes, dtype=np.uint8)
    _expand(key, offset // BLOCK_BYTES, out)
    return out.tobytes()


def _words(key: bytes, n: int, offset: int, dtype: str) -> NDArray[Any]:
    _check_extent(n, offset, "n")
    size = np.dtype(dtype).itemsize
    first_block, skip = divmod(offset * size, BLOCK_BYTES)
    out = np.empty(skip + n * size, dtype=np.uint8)
    _expand(key, first_block, out)
    return out[skip:].view(dtype)


def words32(key: bytes, n: int, *, offset: int = 0) -> NDArray[np.uint32]:
    """Return words ``offset … offset + n − 1`` of the key's stream, uniform in Z_2^32, shape (n,).

    Raises:
        RangeError: a negative argument, or beyond 2^32 blocks (2^36 words).
        KeyFormatError: the key is not 32 bytes.
    """
    return _words(key, n, offset, "<u4").astype(np.uint32, copy=False)


def words64(key: bytes, n: int, *, offset: int = 0) -> NDArray[np.uint64]:
    """Return words ``offset … offset + n − 1`` of the key's stream, uniform in Z_2^64, shape (n,).

    Raises:
        RangeError: a negative argument, or beyond 2^32 blocks (2^35 words).
        KeyFormatError: the key is not 32 bytes.
    """
    return _words(key, n, offset, "<u8").astype(np.uint64, copy=False)
