"""Signed artefacts: compact JWS (RFC 7515), `alg: Ed25519` (RFC 9864); merchants' keys may be ES256 as well.

The protected header is exactly ``alg``, ``kid`` and ``typ``: nothing else is understood, so nothing else is
accepted (no ``crit``, ``jwk``, ``b64``; a key that came with a message is never trusted). The type separates the
artefacts of one key from each other. Exact bytes are verified first and parsed afterwards.

An ES256 signature can be altered by anyone into another valid one over the same bytes; so identify an artefact by
the hash of its payload, never by that of its token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from joserfc.util import urlsafe_b64decode
from pydantic import BaseModel, ValidationError

from crypto.canonical import canonical_bytes
from crypto.errors import KeyFormatError, SignatureError
from crypto.keys import KEY_BYTES, Signer

MerchantPublicKey: TypeAlias = dict[str, str]
MerchantAlg: TypeAlias = Literal["Ed25519", "ES256"]
M = TypeVar("M", bound=BaseModel)

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
_HEADER_MEMBERS = {"alg", "kid", "typ"}
_KID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,200}")
_JWK_MEMBERS = {"OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y")}
_JWK_ALG: dict[tuple[str, str], MerchantAlg] = {("OKP", "Ed25519"): "Ed25519", ("EC", "P-256"): "ES256"}


class _Registry(jws.JWSRegistry):
    """Our two algorithms, with room for a large cohort slice in the payload."""

    max_payload_length = MAX_PAYLOAD_BYTES * 4 // 3 + 4


_REGISTRY = _Registry(algorithms=["Ed25519", "ES256"])


def _refused(message: str, field: str) -> SignatureError:
    return SignatureError(message, field=field, remedy="Ask the signer for the artefact again; do not use it.")


def _media_type(typ: str) -> str:
    return f"digua/{typ}+json"


def _header(alg: str, kid: str, typ: str) -> dict[str, str]:
    if not _KID.fullmatch(kid):
        raise _refused("A key id is 1 to 200 letters, digits or . _ : / + = @ -", "kid")
    return {"alg": alg, "kid": kid, "typ": _media_type(typ)}


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _parse(token: str, typ: str) -> jws.CompactSignature:
    """Take a token apart and check the shape and type of its header; nothing is verified yet."""
    try:
        parsed = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header = json.loads(urlsafe_b64decode(parsed.segments["header"]), object_pairs_hook=_unique_members)
    except (JoseError, ValueError, RecursionError) as error:
        raise _refused("The artefact is not a compact JWS.", "token") from error
    if set(header) != _HEADER_MEMBERS:
        raise _refused("The protected header is not exactly alg, kid and typ.", "header")
    if header["typ"] != _media_type(typ):
        raise _refused(f"The artefact is not of type {typ}.", "typ")
    if not isinstance(header["kid"], str) or not _KID.fullmatch(header["kid"]):
        raise _refused("The key id is malformed.", "kid")
    return parsed


def _check(token: str, key: OKPKey | ECKey, alg: str, typ: str, kid: str | None) -> bytes:
    parsed = _parse(token, typ)
    header = parsed.headers()
    if header["alg"] != alg:
        raise _refused("The algorithm is not the one of the signer's key.", "alg")
    if kid is not None and header["kid"] != kid:
        raise _refused("The artefact names another key.", "kid")
    try:
        valid = jws.validate_compact(parsed, key, registry=_REGISTRY)
    except (JoseError, ValueError) as error:
        raise _refused("The signature cannot be checked.", "signature") from error
    if not valid:
        raise _refused("The signature does not verify.", "signature")
    return parsed.payload


@lru_cache(maxsize=4096)
def _public_key(public: bytes) -> OKPKey:
    if len(public) != KEY_BYTES:
        raise KeyFormatError(
            f"A public key has {KEY_BYTES} bytes, not {len(public)}.", field="public", remedy="Check the roster."
        )
    return OKPKey.import_key(Ed25519PublicKey.from_public_bytes(public))


def sign(payload: bytes, key: Signer, *, typ: str, kid: str) -> str:
    """Sign exact bytes with a party's identity key.

    Args:
        payload: what is signed, byte for byte.
        key: the signer's Ed25519 key.
        typ: kind of artefact, e.g. ``"acceptance"``; the header says ``digua/<typ>+json``.
        kid: under what name verifiers find the key on the roster.

    Returns:
        A compact JWS.

    Raises:
        SignatureError: the kid is malformed.
    """
    header = _header("Ed25519", kid, typ)
    return jws.serialize_compact(header, payload, OKPKey.import_key(key.private_key), registry=_REGISTRY)


def verify(token: str, public: bytes, *, typ: str, kid: str | None = None) -> bytes:
    """Verify a party's signature and return the exact payload bytes.

    Args:
        token: a compact JWS.
        public: the signer's Ed25519 key (32 bytes), from the cosigned roster.
        typ: the kind of artefact that is expected.
        kid: the key id that is expected, or ``None`` for any.

    Raises:
        SignatureError: another algorithm, type, kid or header member, or a signature that does not verify.
        KeyFormatError: ``public`` has another length.
    """
    return _check(token, _public_key(public), "Ed25519", typ, kid)


def peek_kid(token: str, *, typ: str) -> str:
    """Read the key id **without verifying anything**: only to look up the key for `verify`."""
    return str(_parse(token, typ).headers()["kid"])


def peek_payload(token: str) -> bytes:
    """The payload, **unverified**: of a token that was verified before it was stored, or to find its signer's key.

    Raises:
        SignatureError: it is no compact JWS.
    """
    try:
        return urlsafe_b64decode(token.split(".")[1].encode("ascii"))
    except (IndexError, ValueError) as error:
        raise _refused("The artefact is not a compact JWS.", "token") from error


def sign_model(model: BaseModel, key: Signer, *, typ: str, kid: str) -> str:
    """Sign the canonical bytes of a wire model; see `sign`."""
    return sign(canonical_bytes(model), key, typ=typ, kid=kid)


def verify_model(token: str, public: bytes, model: type[M], *, typ: str, kid: str | None = None) -> M:
    """Verify, then parse: the payload must be the canonical form of a valid ``model``.

    Canonical form is required so that one content has one hash: no second spelling of a signed artefact.

    Raises:
        SignatureError: as `verify`; or the verified payload is no such model or not in canonical form.
    """
    return parse_canonical(verify(token, public, typ=typ, kid=kid), model)


def parse_canonical(payload: bytes, model: type[M]) -> M:
    """Parse verified bytes as ``model``; SignatureError where they are not its canonical form."""
    try:
        parsed = model.model_validate_json(payload)
    except ValidationError as error:
        raise _refused(f"The signed payload is not a valid {model.__name__}.", "payload") from error
    if canonical_bytes(parsed) != payload:
        raise _refused(f"The signed payload is not the canonical form of {model.__name__}.", "payload")
    return parsed


def _merchant_alg(jwk: Mapping[str, object]) -> MerchantAlg:
    alg = _JWK_ALG.get((str(jwk.get("kty")), str(jwk.get("crv"))))
    if alg is None:
        raise KeyFormatError(
            "A merchant's key is Ed25519 (OKP) or P-256 (EC).",
            field="jwk",
            remedy="Enrol a key of one of these kinds.",
        )
    return alg


def _import_merchant(jwk: Mapping[str, object], *, private: bool) -> OKPKey | ECKey:
    # Only the members of RFC 7517/8037 that make the key: browsers add key_ops, ext and alg.
    _merchant_alg(jwk)
    names = (*_JWK_MEMBERS[str(jwk["kty"])], *(("d",) if private else ()))
    if not private and "d" in jwk:
        raise KeyFormatError(
            "A private key stands where a public key belongs.",
            field="jwk",
            remedy="Take the private member d out and consider the key disclosed.",
        )
    members: dict[str, str | list[str]] = {name: str(jwk.get(name, "")) for name in names}
    try:
        key = OKPKey.import_key(members) if jwk["kty"] == "OKP" else ECKey.import_key(members)
        # Decodes the numbers now (and checks that the point is on the curve), not at first use.
        key.get_op_key("sign" if private else "verify")
    except (JoseError, ValueError, TypeError) as error:
        raise KeyFormatError(
            "The merchant's JWK cannot be read.", field="jwk", remedy="Enrol the key again."
        ) from error
    return key


def generate_merchant_key(alg: MerchantAlg = "Ed25519") -> dict[str, str]:
    """Make a merchant's private JWK (members of RFC 8037 or RFC 7518 only)."""
    key = OKPKey.generate_key("Ed25519") if alg == "Ed25519" else ECKey.generate_key("P-256")
    names = (*_JWK_MEMBERS[key.key_type], "d")
    private = key.as_dict(private=True)
    return {name: str(private[name]) for name in names}


def merchant_public(jwk: Mapping[str, object]) -> MerchantPublicKey:
    """Reduce a JWK to its public members; KeyFormatError where it is neither Ed25519 nor P-256."""
    public = {name: value for name, value in jwk.items() if name != "d"}
    _import_merchant(public, private=False)
    return {name: str(jwk[name]) for name in _JWK_MEMBERS[str(jwk["kty"])]}


def sign_merchant(payload: bytes, private_jwk: Mapping[str, object], *, typ: str, kid: str) -> str:
    """Sign exact bytes with a merchant's private JWK (Ed25519 or ES256); see `sign`.

    Raises:
        KeyFormatError: a JWK of another kind.
        SignatureError: the kid is malformed.
    """
    header = _header(_merchant_alg(private_jwk), kid, typ)
    return jws.serialize_compact(header, payload, _import_merchant(private_jwk, private=True), registry=_REGISTRY)


def verify_merchant(token: str, jwk: Mapping[str, object], *, typ: str, kid: str | None = None) -> bytes:
    """Verify a merchant's signature and return the exact payload bytes.

    Args:
        token: a compact JWS.
        jwk: the merchant's enrolled public JWK: Ed25519 (OKP) or P-256 (EC). The key decides the algorithm.
        typ: the kind of artefact that is expected.
        kid: the key id that is expected, or ``None`` for any.

    Raises:
        SignatureError: as `verify`.
        KeyFormatError: a JWK of another kind, malformed, or with its private member.
    """
    return _check(token, _import_merchant(jwk, private=False), _merchant_alg(jwk), typ, kid)
