"""Sealed boxes open for one key under one context only."""

from __future__ import annotations

import pytest

from crypto.errors import CanonicalFormError, SealError
from crypto.keys import BoxKey
from crypto.sealed import OVERHEAD_BYTES, context_bytes, open_sealed, seal

KEY = BoxKey.generate()
CONTEXT = context_bytes(use="rows", h=b"\x01\x02", attempt=1)


def test_a_box_opens_for_its_recipient() -> None:
    box = seal(b"rows", KEY.public, context=CONTEXT)
    assert open_sealed(box, KEY, context=CONTEXT) == b"rows"
    assert len(box) == 4 + OVERHEAD_BYTES
    assert seal(b"rows", KEY.public, context=CONTEXT) != box
    assert open_sealed(seal(b"", KEY.public, context=b""), KEY, context=b"") == b""


def test_a_box_stays_shut_for_others() -> None:
    box = seal(b"rows", KEY.public, context=CONTEXT)
    altered = [bytes([box[0] ^ 1]) + box[1:], box[:-1] + bytes([box[-1] ^ 1]), box[:-1], box[:10], b""]
    for data, key, context in (
        (box, BoxKey.generate(), CONTEXT),
        (box, KEY, context_bytes(use="rows", h=b"\x01\x02", attempt=2)),
        (box, KEY, b""),
        *((data, KEY, CONTEXT) for data in altered),
    ):
        with pytest.raises(SealError):
            open_sealed(data, key, context=context)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32)])
def test_what_is_no_key_is_not_sealed_to(public: bytes) -> None:
    with pytest.raises(SealError):
        seal(b"rows", public, context=CONTEXT)


def test_context_is_canonical_and_names_the_suite() -> None:
    assert CONTEXT == b'{"attempt":1,"h":"0102","suite":"digua-1","use":"rows"}'
    assert context_bytes(attempt=1, h=b"\x01\x02", use="rows") == CONTEXT
    with pytest.raises(SealError):
        context_bytes(suite="digua-0")
    with pytest.raises(CanonicalFormError):
        context_bytes(position=2**60)
