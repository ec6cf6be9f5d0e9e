"""Sealed texts: as long for every text, for one reader, one ticket and one direction."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from crypto.errors import SealError
from crypto.keys import BoxKey
from crypto.ticket_boxes import open_text, seal_text, ticket_context
from crypto.wire.ticket import PADDED_BYTES, SEALED_BYTES

KEY = BoxKey.generate()
CONTEXT = ticket_context("a" * 32, b"p" * 32, "bank-01", "question")


@pytest.mark.parametrize("text", ["不同意该评分，请人工复核。", "a", "𠮷" * 2000, " two\nlines "])
def test_a_text_opens_as_it_was_and_its_length_does_not_show(text: str) -> None:
    sealed = seal_text(text, KEY.public, context=CONTEXT)
    assert len(sealed) == SEALED_BYTES
    assert open_text(sealed, KEY, context=CONTEXT) == text


@pytest.mark.parametrize("text", ["", "  \n", "a" * 2001])
def test_no_text_and_too_long_a_text_are_refused(text: str) -> None:
    with pytest.raises(SealError) as refused:
        seal_text(text, KEY.public, context=CONTEXT)
    assert refused.value.field == "text"


def test_no_other_reader_ticket_party_or_direction_opens_it() -> None:
    sealed = seal_text("text", KEY.public, context=CONTEXT)
    others = (
        ticket_context("b" * 32, b"p" * 32, "bank-01", "question"),
        ticket_context("a" * 32, b"q" * 32, "bank-01", "question"),
        ticket_context("a" * 32, b"p" * 32, "bank-02", "question"),
        ticket_context("a" * 32, b"p" * 32, "bank-01", "answer"),
    )
    for context in others:
        with pytest.raises(SealError):
            open_text(sealed, KEY, context=context)
    with pytest.raises(SealError):
        open_text(sealed, BoxKey.generate(), context=CONTEXT)
    with pytest.raises(SealError):
        open_text(sealed[:-1] + bytes([sealed[-1] ^ 1]), KEY, context=CONTEXT)


@pytest.mark.parametrize(
    "inside",
    [b"\x00\x00" + bytes(PADDED_BYTES - 2), b"\xff\xff" + b"a" * 100, b"\x00\x01a" + b"b" * 100, b"\x00\x01\xff"],
)
def test_a_box_without_a_proper_text_is_refused(inside: bytes) -> None:
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    sealed = suite.encrypt(inside, X25519PublicKey.from_public_bytes(KEY.public), info=CONTEXT)
    with pytest.raises(SealError):
        open_text(sealed, KEY, context=CONTEXT)


def test_keys_that_cannot_be_sealed_to_are_refused() -> None:
    for key in (bytes(32), b"short"):
        with pytest.raises(SealError):
            seal_text("text", key, context=CONTEXT)
