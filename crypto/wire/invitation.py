"""How a merchant's own key gets in: invited by a party, made in the browser, collected by the inviter (0)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import Hash, Moment, PartyId, Pseudonym, Suite, Token, WireModel

PublicJwk = Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=4)]
InvitationState = Literal["open", "offered", "enrolled"]


class Invitation(WireModel):
    """JWS type `invitation`, by a bank or a client. The token itself goes from the inviter to the merchant alone.

    `replaces`: the merchant has a key, and lost it; the newer one supersedes it once it is enrolled.
    """

    suite: Suite
    party_id: PartyId
    pii_principal_id: Pseudonym
    token_sha256: Hash
    replaces: bool
    issued_at: Moment
    expires_at: Moment


class InvitationReceipt(WireModel):
    """Reply to POST /v1/invitations. The merchant's link is `join_url`, `#` and the token."""

    token_sha256: Hash
    join_url: str
    expires_at: Moment


class KeyOffer(WireModel):
    """JWS type `merchant-key-offer`, by the very key it brings; its key id is `token_sha256` in hexadecimal.

    `proof` is HMAC-SHA256 under the token (its ASCII text) over the canonical JSON of `jwk`: only the inviter, who
    made the token, can check it, so that the hub cannot put a key of its own in the merchant's place.
    """

    suite: Suite
    token_sha256: Hash
    jwk: PublicJwk
    proof: Hash
    time: Moment


class KeyOfferReceipt(WireModel):
    """Reply to POST /v1/invitations/key: under which pseudonym the merchant signs from now on, and who invited it."""

    pii_principal_id: Pseudonym
    inviter: PartyId
    inviter_title: str
    replaces: bool


class InvitationQuestion(WireModel):
    """Body of POST /v1/invitations/state."""

    token_sha256: Hash


class InvitationStanding(WireModel):
    """Reply to it: open until a key is offered, offered until platform and bank have enrolled it."""

    state: InvitationState
    pii_principal_id: Pseudonym
    inviter: PartyId
    inviter_title: str
    replaces: bool
    expires_at: Moment


class OfferedKey(WireModel):
    """A key that waits to be enrolled, as its merchant offered it."""

    pii_principal_id: Pseudonym
    replaces: bool
    offer: Token


class OfferedKeys(WireModel):
    """Reply to GET /v1/invitations/pending: what the asking party's own invitations brought."""

    keys: tuple[OfferedKey, ...]
