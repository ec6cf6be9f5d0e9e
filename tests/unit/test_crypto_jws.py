"""Signed artefacts: what verifies, and each way in which it must not."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import BaseModel, ConfigDict

from crypto import jws
from crypto.canonical import canonical_bytes
from crypto.errors import KeyFormatError, SignatureError
from crypto.keys import IdentityKey

KEY, OTHER = IdentityKey.from_bytes(bytes(range(32))), IdentityKey.from_bytes(bytes(32))
PAYLOAD = b'{"a":1}'
TOKEN = jws.sign(PAYLOAD, KEY, typ="acceptance", kid="bank-01")


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int
    b: int = 0


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def handmade(header: object, payload: bytes = PAYLOAD) -> str:
    """A token whose signature is right, whatever its header says."""
    text = header if isinstance(header, str) else json.dumps(header)
    signed = f"{encode(text.encode())}.{encode(payload)}"
    return f"{signed}.{encode(KEY.sign(signed.encode()))}"


HEADER = {"alg": "Ed25519", "kid": "bank-01", "typ": "digua/acceptance+json"}


def test_exact_bytes_come_back() -> None:
    assert jws.verify(TOKEN, KEY.public, typ="acceptance") == PAYLOAD
    assert jws.verify(TOKEN, KEY.public, typ="acceptance", kid="bank-01") == PAYLOAD
    assert jws.verify(handmade(HEADER), KEY.public, typ="acceptance") == PAYLOAD
    assert jws.peek_kid(TOKEN, typ="acceptance") == "bank-01"
    header = TOKEN.split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == HEADER
    spaced = b' { "a" : 1 } '
    assert jws.verify(jws.sign(spaced, KEY, typ="x", kid="k"), KEY.public, typ="x") == spaced


def test_large_payloads_are_signed() -> None:
    payload = bytes(1_000_000)
    assert jws.verify(jws.sign(payload, KEY, typ="slice", kid="hub"), KEY.public, typ="slice") == payload


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "HS256"},
        HEADER | {"alg": "EdDSA"},
        HEADER | {"alg": "ES256"},
        HEADER | {"typ": "digua/receipt+json"},
        HEADER | {"typ": "acceptance"},
        HEADER | {"typ": 7},
        HEADER | {"kid": 7},
        HEADER | {"kid": ""},
        HEADER | {"crit": ["b64"], "b64": False},
        HEADER | {"crit": []},
        HEADER | {"b64": False},
        HEADER | {"jwk": {"kty": "OKP"}},
        HEADER | {"cty": "x"},
        {"alg": "Ed25519", "kid": "bank-01"},
        {"alg": "Ed25519", "typ": "digua/acceptance+json"},
        [],
        "null",
        "not json",
        '{"alg":"Ed25519","kid":"bank-02","kid":"bank-01","typ":"digua/acceptance+json"}',
    ],
)
def test_other_headers_are_refused_though_signed(header: object) -> None:
    token = handmade(header)
    with pytest.raises(SignatureError):
        jws.verify(token, KEY.public, typ="acceptance")


def test_another_key_kid_type_or_byte_is_refused() -> None:
    head, payload, signature = TOKEN.split(".")
    for token, public, typ, kid in (
        (TOKEN, OTHER.public, "acceptance", None),
        (TOKEN, KEY.public, "receipt", None),
        (TOKEN, KEY.public, "acceptance", "bank-02"),
        (f"{head}.{encode(b'{}')}.{signature}", KEY.public, "acceptance", None),
        (f"{head}.{payload}.{encode(bytes(64))}", KEY.public, "acceptance", None),
        (f"{head}.{payload}.", KEY.public, "acceptance", None),
        (f"{head}.{payload}", KEY.public, "acceptance", None),
        (f"{TOKEN}.x", KEY.public, "acceptance", None),
        (f"{TOKEN}=", KEY.public, "acceptance", None),
        (f" {TOKEN}", KEY.public, "acceptance", None),
        (f"{TOKEN}\n", KEY.public, "acceptance", None),
        ("", KEY.public, "acceptance", None),
        ("地.瓜.x", KEY.public, "acceptance", None),
    ):
        with pytest.raises(SignatureError) as caught:
            jws.verify(token, public, typ=typ, kid=kid)
        assert caught.value.remedy
    with pytest.raises(KeyFormatError):
        jws.verify(TOKEN, KEY.public[:-1], typ="acceptance")


def test_malformed_kids_are_not_signed() -> None:
    for kid in ("", 'a"b', "a b", "a\n", "x" * 201):
        with pytest.raises(SignatureError):
            jws.sign(PAYLOAD, KEY, typ="acceptance", kid=kid)


def test_models_are_verified_then_parsed() -> None:
    token = jws.sign_model(Record(a=1), KEY, typ="record", kid="k")
    assert jws.verify_model(token, KEY.public, Record, typ="record") == Record(a=1)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"b":0,"a":1}',
        b'{"a": 1,"b":0}',
        b'{"a":1}',
        b'{"a":1,"a":1,"b":0}',
        b'{"a":"1","b":0}',
        b'{"a":1,"b":0,"c":2}',
        b'{"a":1,"b":0}\n',
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_other_spellings_of_a_model_are_refused(payload: bytes) -> None:
    token = jws.sign(payload, KEY, typ="record", kid="k")
    with pytest.raises(SignatureError):
        jws.verify_model(token, KEY.public, Record, typ="record")


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_merchants_sign_with_either_kind_of_key(alg: jws.MerchantAlg) -> None:
    private = jws.generate_merchant_key(alg)
    public = jws.merchant_public(private)
    assert "d" not in public
    token = jws.sign_merchant(PAYLOAD, private, typ="consent", kid="m-1")
    browser = {**public, "key_ops": ["verify"], "ext": True, "alg": "whatever"}
    assert jws.verify_merchant(token, browser, typ="consent", kid="m-1") == PAYLOAD
    stranger = jws.merchant_public(jws.generate_merchant_key(alg))
    for jwk, typ, kid in ((stranger, "consent", None), (public, "event", None), (public, "consent", "m-2")):
        with pytest.raises(SignatureError):
            jws.verify_merchant(token, jwk, typ=typ, kid=kid)
    with pytest.raises(KeyFormatError, match="private"):
        jws.verify_merchant(token, private, typ="consent")


def test_the_key_decides_the_algorithm() -> None:
    ed, ec = (jws.generate_merchant_key(alg) for alg in ("Ed25519", "ES256"))
    token = jws.sign_merchant(PAYLOAD, ed, typ="consent", kid="m")
    with pytest.raises(SignatureError, match="algorithm"):
        jws.verify_merchant(token, jws.merchant_public(ec), typ="consent")


def test_a_party_key_and_a_merchant_key_of_one_kind_agree() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(KEY.public)}
    assert jws.verify_merchant(TOKEN, jwk, typ="acceptance") == PAYLOAD


EC = jws.merchant_public(jws.generate_merchant_key("ES256"))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "!"},
        EC | {"y": EC["x"]},
        {"kty": "EC", "crv": "P-256", "x": EC["x"]},
    ],
)
def test_other_merchant_keys_are_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(KeyFormatError):
        jws.merchant_public(jwk)
    with pytest.raises(KeyFormatError):
        jws.verify_merchant(TOKEN, jwk, typ="acceptance")


def test_canonical_payloads_of_nested_models_hold() -> None:
    class Outer(BaseModel):
        items: list[Record]

    outer = Outer(items=[Record(a=1), Record(a=2, b=3)])
    token = jws.sign(canonical_bytes(outer), KEY, typ="outer", kid="k")
    assert jws.verify_model(token, KEY.public, Outer, typ="outer", kid="k") == outer
