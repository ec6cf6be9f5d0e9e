"""A party's key followed by another one: what the hub and the witness sign when they change theirs (0)."""

from __future__ import annotations

from crypto.wire.base import Key, Moment, PartyId, Suite, Token, WireModel


class Succession(WireModel):
    """JWS type `succeeding-key`, signed by the new key: whom it follows, and from when it holds."""

    suite: Suite
    party_id: PartyId
    old_key: Key
    new_key: Key
    holds_from: Moment
    issued_at: Moment


class SignedSuccession(WireModel):
    """JWS type `key-succession`, signed by the old key around the new one's own statement."""

    suite: Suite
    succession: Token
    """JWS type `succeeding-key`."""
