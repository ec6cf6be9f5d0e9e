"""The hash chain of an append-only record: no entry can be altered, left out or moved without breaking what follows."""

from __future__ import annotations

import hashlib

GENESIS = bytes(32)
"""Before the first entry."""


def chained(before: bytes, entry: bytes) -> bytes:
    """Return SHA-256(hash of the entry before ‖ entry), 32 bytes."""
    return hashlib.sha256(before + entry).digest()
