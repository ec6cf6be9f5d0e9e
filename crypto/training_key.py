"""A node's key for Flower's deployment engine: ECDSA on P-384, kept in OpenSSH's format as that engine reads it.

It opens the door to the SuperLink and signs no statement of the protocol: what anybody believes is signed with identity
keys alone. Still it is enrolled and on the cosigned roster, so that the hub's grid is known node by node.
"""

from __future__ import annotations

from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crypto.errors import KeyFormatError

POINT_BYTES = 97
"""An uncompressed point of P-384 (SEC 1, 2.3.3)."""


class TrainingKey:
    """An ECDSA private key on P-384."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Make a fresh key from the system's randomness."""
        return cls(ec.generate_private_key(ec.SECP384R1()))

    @classmethod
    def from_openssh(cls, data: bytes) -> Self:
        """Decode an unencrypted OpenSSH private key file; KeyFormatError for anything else or another curve."""
        try:
            key = serialization.load_ssh_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError) as error:  # the last: a packed point
            raise KeyFormatError(
                "The training key file is not an unencrypted OpenSSH private key.",
                field="training_key",
                remedy="Restore the file from its backup.",
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
            raise KeyFormatError(
                "The training key is not an ECDSA key on P-384.",
                field="training_key",
                remedy="Restore the file from its backup.",
            )
        return cls(key)

    @property
    def public(self) -> bytes:
        """The public key: an uncompressed point, 97 bytes."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The key as the `cryptography` library knows it."""
        return self._key

    def encode_openssh(self) -> bytes:
        """Encode it as an unencrypted OpenSSH private key. The caller guards the file."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )


def public_pem(public: bytes) -> bytes:
    """Return a public key as the SuperLink knows it: PEM of a SubjectPublicKeyInfo.

    Args:
        public: an uncompressed point, 97 bytes.

    Raises:
        KeyFormatError: it is no point of P-384.
    """
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), public)
    except ValueError as error:
        raise KeyFormatError(
            "The training key is not a point of P-384.",
            field="training_key",
            remedy="Check the party's enrolment; its key is not an honest one.",
        ) from error
    return point.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
