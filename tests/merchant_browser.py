"""What a merchant's browser does with an invitation, in Python: its own key, an offer of it, signed requests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, sign_merchant, sign_model
from crypto.wire.base import SUITE
from crypto.wire.invitation import Invitation, KeyOffer
from tests.hub_world import Member


@dataclass(frozen=True)
class Invited:
    """An invitation as its inviter holds it: the one-time token, and what it signed."""

    token: str
    signed: str

    @property
    def token_sha256(self) -> bytes:
        return hashlib.sha256(self.token.encode()).digest()


def invite(inviter: Member, pseudonym: bytes, now: datetime, *, token: str | None = None, **changes: object) -> Invited:
    """What an inviter signs; `changes` replaces fields."""
    token = token or secrets.token_urlsafe(32)
    fields: dict[str, object] = {
        "suite": SUITE,
        "party_id": inviter.party_id,
        "pii_principal_id": pseudonym,
        "token_sha256": hashlib.sha256(token.encode()).digest(),
        "replaces": False,
        "issued_at": now,
        "expires_at": now + timedelta(days=7),
    }
    body = Invitation.model_validate(fields | changes)
    return Invited(token, sign_model(body, inviter.identity, typ="invitation", kid=inviter.party_id))


def offer(
    token: str, now: datetime, *, key: dict[str, str] | None = None, alg: str = "ES256", **changes: object
) -> tuple[str, dict[str, str]]:
    """A fresh key offered under a token: the JWS, and the private JWK."""
    private = key or generate_merchant_key("ES256" if alg == "ES256" else "Ed25519")
    public = merchant_public(private)
    fields: dict[str, object] = {
        "suite": SUITE,
        "token_sha256": hashlib.sha256(token.encode()).digest(),
        "jwk": public,
        "proof": hmac.new(token.encode(), canonical_bytes(dict(public)), hashlib.sha256).digest(),
        "time": now,
    }
    body = KeyOffer.model_validate(fields | changes)
    kid = hashlib.sha256(token.encode()).hexdigest()
    return sign_merchant(canonical_bytes(body), private, typ="merchant-key-offer", kid=kid), private
