"""Canonical bytes of what is signed, hashed or bound: JSON after RFC 8785, and SHA-256 over bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import rfc8785
from pydantic import BaseModel, JsonValue

from crypto.errors import CanonicalFormError

_MAX_INTEGER = (1 << 53) - 1
_PLAIN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


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
        if _is_plain(value):
            return _PLAIN.encode(value).encode()
        encoded: bytes = rfc8785.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise CanonicalFormError(
            "The value has no canonical JSON form.",
            field=type(obj).__name__,
            remedy="Carry integers beyond 2^53 - 1 and bytes as strings; leave out NaN and infinities.",
        ) from error
    return encoded


def _is_plain(value: Any) -> bool:
    """Whether the standard library's encoder gives the canonical form, at a tenth of the time.

    It escapes strings as RFC 8785 does. It differs in floats, in the range of integers, and in the order of names that
    are not ASCII (code points instead of UTF-16 code units).
    """
    kind = type(value)
    if kind is dict:
        for name, each in value.items():  # loops, as a generator would take twice as long
            if type(name) is not str or not name.isascii() or not (type(each) is str or _is_plain(each)):
                return False
        return True
    if kind is list:
        return all(map(_is_plain, value))
    if kind is int:
        return bool(-_MAX_INTEGER <= value <= _MAX_INTEGER)
    return kind is str or kind is bool or value is None


def digest(data: bytes) -> bytes:
    """Return SHA-256 of ``data``: 32 bytes."""
    return hashlib.sha256(data).digest()
