"""A party's two keys: Ed25519 to sign (identity), X25519 to agree and to open sealed boxes.

Only encodings here; files are written and read by the callers (mode 0600).
"""

from __future__ import annotations

import base64
import hashlib
from typing import ClassVar, Generic, Protocol, Self, TypeVar, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.errors import KeyFormatError, SignatureError
from crypto.key_line import KeyLine

KEY_BYTES = 32

Private = TypeVar("Private", bound=Ed25519PrivateKey | X25519PrivateKey)


def _check_length(raw: bytes, field: str) -> None:
    if len(raw) != KEY_BYTES:
        raise KeyFormatError(
            f"A key has {KEY_BYTES} bytes, not {len(raw)}.",
            field=field,
            remedy="Pass the raw 32 bytes of the key.",
        )


class _SecretKey(Generic[Private]):
    """What both keys are: 32 secret bytes with a public half of 32 bytes.

    Attributes:
        sort: the class of the `cryptography` library that holds it.
        use: what its file is called in messages.
        algorithm: what its file must hold.
    """

    sort: ClassVar[type[Ed25519PrivateKey | X25519PrivateKey]]
    use: ClassVar[str]
    algorithm: ClassVar[str]

    def __init__(self, key: Private) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Make a fresh key from the system's randomness."""
        return cls(cast("Private", cls.sort.generate()))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Take the 32 secret bytes of a key; KeyFormatError for another length."""
        _check_length(raw, "raw")
        return cls(cast("Private", cls.sort.from_private_bytes(raw)))

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Decode an unencrypted PKCS #8 PEM with a key of this sort; KeyFormatError for anything else."""
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFormatError(
                "The key file is not an unencrypted PKCS #8 PEM file.",
                field="pem",
                remedy="Make a key with `digua-node init`, or restore the file from its backup.",
            ) from error
        if not isinstance(key, cls.sort):
            raise KeyFormatError(
                f"The {cls.use} key file holds a key of another kind.",
                field="pem",
                remedy=f"Name the file with the {cls.algorithm} key here.",
            )
        return cls(cast("Private", key))

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def raw(self) -> bytes:
        """The secret key, 32 bytes."""
        return self._key.private_bytes_raw()

    @property
    def private_key(self) -> Private:
        """The key as the `cryptography` library knows it."""
        return self._key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({fingerprint(self.public)})"


class Signer(Protocol):
    """What signs for a party: an identity key, or whichever of several holds at the moment."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key as the `cryptography` library knows it."""

    @property
    def line(self) -> KeyLine:
        """The keys that it ever signed with, as far as they are known now."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""


class IdentityKey(_SecretKey[Ed25519PrivateKey]):
    """An Ed25519 private key (RFC 8032): a party's identity."""

    sort = Ed25519PrivateKey
    use = "identity"
    algorithm = "Ed25519"

    @property
    def line(self) -> KeyLine:
        """The line of a party that never changed its key."""
        return KeyLine.of(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``. Callers separate their domains (JWS, signed note)."""
        return self._key.sign(message)


class BoxKey(_SecretKey[X25519PrivateKey]):
    """An X25519 private key (RFC 7748): key agreement and HPKE."""

    sort = X25519PrivateKey
    use = "box"
    algorithm = "X25519"

    def exchange(self, peer_public: bytes) -> bytes:
        """Agree on a 32-byte secret with a peer. Never use it as a key itself: derive with `crypto.prg`.

        Raises:
            KeyFormatError: wrong length, or a peer's point of small order (the secret would be all zero).
        """
        _check_length(peer_public, "peer_public")
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError as error:
            raise KeyFormatError(
                "The peer's X25519 key gives no secret (a point of small order).",
                field="peer_public",
                remedy="Check the peer's enrolment; its key is not an honest one.",
            ) from error


def verify_signature(public: bytes, signature: bytes, message: bytes) -> None:
    """Check a bare Ed25519 signature.

    Raises:
        KeyFormatError: the public key has another length.
        SignatureError: the signature is not this key's over this message.
    """
    _check_length(public, "public")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(
            "The signature does not verify.",
            field="signature",
            remedy="Check that the bytes are unaltered and the key is the signer's on the roster.",
        ) from error


def fingerprint(public: bytes) -> str:
    """Name a public key for people to compare: ``SHA256:`` and base64 without padding, as OpenSSH does."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def encode_pem(key: IdentityKey | BoxKey) -> bytes:
    """Encode a private key as unencrypted PKCS #8 PEM (RFC 8410). The caller guards the file."""
    return key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
