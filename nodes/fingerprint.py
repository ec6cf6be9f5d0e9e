"""What two owners compare by telephone: one fingerprint for a party's name, kind and both keys."""

from __future__ import annotations

from crypto.canonical import canonical_bytes
from crypto.keys import fingerprint


def party_fingerprint(party_id: str, kind: str, sign_key: bytes, box_key: bytes) -> str:
    """``SHA256:`` and base64 over name, kind and keys.

    The box key is in it because a hub that swapped it could open what is sealed to the party; the kind, because a
    client enrolled as a bank could countersign for itself.
    """
    return fingerprint(
        canonical_bytes({"party_id": party_id, "kind": kind, "sign_key": sign_key.hex(), "box_key": box_key.hex()})
    )
