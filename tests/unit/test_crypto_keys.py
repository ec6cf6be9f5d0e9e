"""Keys: standard vectors, encodings, and refusals."""

from __future__ import annotations

import pytest

from crypto.errors import KeyFormatError, SignatureError
from crypto.keys import (
    BoxKey,
    IdentityKey,
    encode_pem,
    fingerprint,
    verify_signature,
)


def test_ed25519_is_that_of_rfc_8032() -> None:
    key = IdentityKey.from_bytes(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595b"
        "be24655141438e7a100b"
    )


def test_a_signature_is_of_one_key_over_one_message() -> None:
    key, other = IdentityKey.generate(), IdentityKey.generate()
    signature = key.sign(b"message")
    verify_signature(key.public, signature, b"message")
    for public, value, message in (
        (other.public, signature, b"message"),
        (key.public, signature, b"Message"),
        (key.public, signature[:-1], b"message"),
        (key.public, bytes(64), b"message"),
    ):
        with pytest.raises(SignatureError):
            verify_signature(public, value, message)
    with pytest.raises(KeyFormatError):
        verify_signature(key.public[:31], signature, b"message")


def test_both_sides_agree_on_one_secret() -> None:
    ours, theirs = BoxKey.generate(), BoxKey.generate()
    assert ours.exchange(theirs.public) == theirs.exchange(ours.public)
    assert ours.exchange(theirs.public) != ours.exchange(BoxKey.generate().public)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_points_of_small_order_are_refused(point: bytes) -> None:
    with pytest.raises(KeyFormatError):
        BoxKey.generate().exchange(point)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_raw_keys_have_32_bytes(length: int) -> None:
    for make in (IdentityKey.from_bytes, BoxKey.from_bytes):
        with pytest.raises(KeyFormatError):
            make(bytes(length))
    with pytest.raises(KeyFormatError):
        BoxKey.generate().exchange(bytes(length))


def test_pem_round_trip_and_kinds_are_not_mixed_up() -> None:
    identity, box = IdentityKey.generate(), BoxKey.generate()
    assert IdentityKey.from_pem(encode_pem(identity)).raw == identity.raw
    assert BoxKey.from_pem(encode_pem(box)).raw == box.raw
    assert encode_pem(box).startswith(b"-----BEGIN PRIVATE KEY-----")
    for decode, data in (
        (IdentityKey.from_pem, encode_pem(box)),
        (BoxKey.from_pem, encode_pem(identity)),
        (IdentityKey.from_pem, b"not a key"),
        (BoxKey.from_pem, encode_pem(box)[:-40]),
    ):
        with pytest.raises(KeyFormatError) as caught:
            decode(data)
        assert caught.value.remedy


def test_fingerprints_and_repr_show_the_public_key_only() -> None:
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
    for key in (IdentityKey.generate(), BoxKey.generate()):
        assert fingerprint(key.public) in repr(key)
        assert key.raw.hex() not in repr(key)
