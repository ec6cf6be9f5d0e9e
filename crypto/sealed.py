"""Sealed boxes: HPKE base mode (RFC 9180) with X25519, HKDF-SHA256, ChaCha20-Poly1305.

The context (who, to whom, for what) is HPKE's ``info``: a box opens under the very context it was sealed under. A box
says nothing about its sender; where that matters, the plaintext or the frame around the box is signed.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from pydantic import JsonValue

from crypto.canonical import canonical_bytes
from crypto.errors import SealError
from crypto.keys import KEY_BYTES, BoxKey

SUITE_ID = "digua-1"
OVERHEAD_BYTES = 48  # encapsulated key (32) and tag (16)

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def context_bytes(**fields: JsonValue | bytes) -> bytes:
    """Encode a context: canonical JSON of the fields and the suite id; bytes are written as lower-case hex.

    Raises:
        CanonicalFormError: a field is not JSON.
        SealError: a field is called ``suite``.
    """
    if "suite" in fields:
        raise SealError("The suite of a context is fixed.", field="suite", remedy="Leave the suite out.")
    members: dict[str, JsonValue] = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }
    return canonical_bytes({**members, "suite": SUITE_ID})


def seal(plaintext: bytes, recipient_public: bytes, *, context: bytes) -> bytes:
    """Seal ``plaintext`` to a recipient's X25519 key.

    Args:
        plaintext: any bytes; its length shows, so pad where length would tell something.
        recipient_public: 32 bytes, from the roster or a signed message.
        context: bound to the box as HPKE info; see `context_bytes`.

    Returns:
        Encapsulated key ‖ ciphertext: 48 bytes longer than the plaintext.

    Raises:
        SealError: the recipient's key is no X25519 key or of small order.
    """
    if len(recipient_public) != KEY_BYTES:
        raise SealError(
            f"A recipient's key has {KEY_BYTES} bytes, not {len(recipient_public)}.",
            field="recipient_public",
            remedy="Take the recipient's X25519 key from the roster.",
        )
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(recipient_public), info=context)
    except ValueError as error:
        raise SealError(
            "The recipient's key cannot be sealed to.",
            field="recipient_public",
            remedy="Check the recipient's enrolment; its key is not an honest one.",
        ) from error


def open_sealed(ciphertext: bytes, key: BoxKey, *, context: bytes) -> bytes:
    """Open a sealed box.

    Args:
        ciphertext: what `seal` returned.
        key: the recipient's X25519 key.
        context: the very bytes the box was sealed under.

    Raises:
        SealError: another key, another context, or altered bytes (which of them cannot be told).
    """
    try:
        return _SUITE.decrypt(ciphertext, key.private_key, info=context)
    except (InvalidTag, ValueError) as error:
        raise SealError(
            "The sealed box does not open: another key, another context, or altered bytes.",
            field="ciphertext",
            remedy="Have it sealed again to the current key, under the context of this exchange.",
        ) from error
