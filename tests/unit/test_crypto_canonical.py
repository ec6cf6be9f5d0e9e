"""Canonical JSON: RFC 8785 by the library, our refusals."""

from __future__ import annotations

import hashlib

import pytest
from pydantic import BaseModel

from crypto.canonical import canonical_bytes, digest
from crypto.errors import CanonicalFormError


class Record(BaseModel):
    name: str
    count: int
    note: str | None = None


def test_models_and_values_give_the_same_bytes() -> None:
    expected = '{"count":3,"name":"地瓜","note":null}'.encode()
    assert canonical_bytes(Record(name="地瓜", count=3)) == expected
    assert canonical_bytes({"note": None, "name": "地瓜", "count": 3}) == expected


def test_example_of_rfc_8785() -> None:
    # Section 3.2.2 and 3.2.3: numbers, escapes and the order of members by UTF-16 code units.
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27], "literals": [None, True, False]}
    assert canonical_bytes(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    )
    assert canonical_bytes({"\U0001f600": 1, "\ufb33": 2}) == '{"\U0001f600":1,"\ufb33":2}'.encode()


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf"), "\ud800", {1: 2}, b"bytes", {"a": {3}}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(CanonicalFormError) as caught:
        canonical_bytes(value)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_digest_is_sha_256() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").digest()
