"""Canonical bytes of what is signed, hashed or bound: JSON after RFC 8785, and SHA-256 over bytes."""

from __future__ import annotations

import hashlib

import rfc8785
from pydantic import BaseModel, JsonValue

from crypto.errors import CanonicalFormError


def canonical_bytes(obj: BaseModel | JsonValue) -> bytes:
    """Encode a wire model or a JSON value as canonical JSON (RFC 8785).

    Args:
        obj: a pydantic model (dumped with ``mode="json"``) or JSON of str, int, float, bool, None, list, dict.

    Returns:
        UTF-8 bytes, the same for every implementation of RFC 8785.

    Raises:
        CanonicalFormError: an integer beyond ±(2^53 − 1), a NaN or infinity, a lone surrogate, a non-JSON type.
    """
    value = obj.model_dump(mode="json") if isinstance(obj, BaseModel) else obj
    try:
        encoded: bytes = rfc8785.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise CanonicalFormError(
            "The value has no canonical JSON form.",
            field=type(obj).__name__,
            remedy="Carry integers beyond 2^53 - 1 and bytes as strings; leave out NaN and infinities.",
        ) from error
    return encoded


def digest(data: bytes) -> bytes:
    """Return SHA-256 of ``data``: 32 bytes."""
    return hashlib.sha256(data).digest()
