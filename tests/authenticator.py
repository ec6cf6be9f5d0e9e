"""A software authenticator: makes passkeys and answers challenges as a device does (WebAuthn level 2, ES256)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Authenticator:
    """One device with one key; what it says of itself can be falsified for attacks.

    Attributes:
        origin: of the page that asks it, as its browser sees it.
        rp_id: of the site for which it answers.
        flags: user present and verified.
    """

    origin: str
    rp_id: str
    flags: int = PRESENT | VERIFIED
    count: int = 0
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))

    def make(self, options: dict[str, Any]) -> str:
        """The answer to options of registration, JSON."""
        data = self._client_data("webauthn.create", options["challenge"])
        numbers = self.key.public_key().public_numbers()
        public = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + public
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._data(self.flags | ATTESTED) + attested}
        made = b64(cbor2.dumps(attestation))
        return self._answer({"clientDataJSON": b64(data), "attestationObject": made, "transports": ["internal"]})

    def sign(self, options: dict[str, Any], *, user: str = "") -> str:
        """The answer to options of authentication, JSON."""
        self.count += 1
        data, own = self._client_data("webauthn.get", options["challenge"]), self._data(self.flags)
        signature = self.key.sign(own + hashlib.sha256(data).digest(), ECDSA(SHA256()))
        return self._answer(
            {
                "clientDataJSON": b64(data),
                "authenticatorData": b64(own),
                "signature": b64(signature),
                "userHandle": b64(user.encode()),
            }
        )

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said).encode()

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _answer(self, response: dict[str, Any]) -> str:
        handle = b64(self.credential_id)
        return json.dumps({"id": handle, "rawId": handle, "type": "public-key", "response": response})
