"""Parties, their enrolment, and the roster that the witness cosigns (docs/protocol.md, 0)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import (
    Hash,
    Key,
    KindName,
    Moment,
    PartyId,
    Pseudonym,
    Suite,
    Token,
    TrainingPoint,
    WireModel,
)

RESERVED_KINDS = frozenset({"hub", "witness", "client"})


class Party(WireModel):
    """A party as enrolled. `kind` is a schema's kind, or `client`, or `witness`."""

    party_id: PartyId
    kind: KindName
    region: Annotated[str, Field(min_length=1, max_length=64)]
    title: Annotated[str, Field(max_length=120)] = ""
    sign_key: Key
    box_key: Key
    training_key: TrainingPoint | None = None
    """ECDSA on P-384, by which Flower's SuperLink lets it in; nothing of the protocol is believed because of it."""


class EnrolmentRequest(WireModel):
    """JWS type `enrolment`, signed by the very key it brings (proof of possession)."""

    suite: Suite
    token: Annotated[str, Field(min_length=16, max_length=128)]
    party: Party
    voprf_key: Key | None = None
    """The witness's VOPRF public key; only with kind `witness`."""
    issued_at: Moment


class KeyRotation(WireModel):
    """JWS type `key-rotation`, signed by the old key; the new key's own signature over the party is inside."""

    suite: Suite
    party_id: PartyId
    new_party: Token
    """JWS type `rotated-party` over the new `Party`, by its new key."""
    issued_at: Moment


class Roster(WireModel):
    """JWS type `roster`, signed by the witness, who approved each party by name. Nodes trust no other keys."""

    suite: Suite
    version: Annotated[int, Field(ge=1)]
    issued_at: Moment
    hub_id: PartyId
    hub_sign_key: Key
    hub_voprf_key: Key
    witness_voprf_key: Key
    parties: tuple[Party, ...]
    """In order of party_id; the witness itself is among them."""


class MerchantKeyLeaf(WireModel):
    """One merchant's public key; the leaf of a batch's Merkle tree (leaf hash over its canonical JSON)."""

    pseudonym: Pseudonym
    jwk: dict[str, str]
    """Public JWK: OKP/Ed25519 or EC/P-256."""


class MerchantKeyBatch(WireModel):
    """JWS types `merchant-keys` (by the platform) and `merchant-keys-countersignature` (by a bank), same bytes."""

    suite: Suite
    batch_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    platform: PartyId
    countersigner: PartyId
    size: Annotated[int, Field(ge=1, le=65536)]
    root: Hash
    issued_at: Moment


class MerchantKeySubmission(WireModel):
    """Body of POST /v1/merchant-keys."""

    batch: Token
    countersignature: Token
    leaves: tuple[MerchantKeyLeaf, ...]


class MerchantKeyStatement(WireModel):
    """What a node needs to trust one merchant's key: both signatures over the batch, and the leaf's proof."""

    batch: Token
    countersignature: Token
    leaf: MerchantKeyLeaf
    index: Annotated[int, Field(ge=0)]
    proof: tuple[Hash, ...]


class VoprfRequest(WireModel):
    """JWS type `voprf`, by an enrolled party. `target` says which key holder evaluates."""

    suite: Suite
    party_id: PartyId
    target: Literal["hub", "witness"]
    blinded: tuple[Key, ...]
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    issued_at: Moment


class VoprfAnswer(WireModel):
    """`evaluated` is the batch output with its DLEQ proof; `remaining` what is left of the party's quota."""

    evaluated: bytes
    remaining: Annotated[int, Field(ge=0)]
