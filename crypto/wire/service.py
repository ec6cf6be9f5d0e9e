"""What the hub says about itself over HTTP, and how a party signs a plain request to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.base import Hash, Key, Moment, Nonce, PartyId, Suite, WireModel

SIGNED_REQUEST_SECONDS = 300
"""How far `issued_at` may lie from the hub's clock."""


class SignedRequest(WireModel):
    """JWS type `request`, by a party, in `Authorization: Digua <JWS>`: this method on this path, once.

    `path` is the path with its query string, exactly as requested.
    """

    suite: Suite
    party_id: PartyId
    method: Literal["GET", "POST", "DELETE"]
    path: Annotated[str, Field(min_length=1, max_length=2048)]
    nonce: Nonce
    issued_at: Moment


class WitnessInfo(WireModel):
    """The witness's public keys as the hub knows them; nodes pin theirs out of band and compare."""

    party_id: PartyId
    sign_key: Key
    voprf_key: Key


class HubInfo(WireModel):
    """Body of GET /v1/info. `origin` is the audit log's name in checkpoints."""

    suite: Suite
    hub_id: PartyId
    software: str
    origin: str
    sign_key: Key
    voprf_key: Key
    witness: WitnessInfo | None


class EnrolmentReceipt(WireModel):
    """Reply to an enrolment or key rotation. `approved`: the cosigned roster already holds these keys."""

    party_id: PartyId
    approved: bool


class MerchantKeysReceipt(WireModel):
    """Reply to POST /v1/merchant-keys."""

    batch_id: str
    stored: int


class LogPage(WireModel):
    """Body of GET /v1/log/entries: exact leaves from index `start`; `size` is the log's present size."""

    start: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]
    entries: tuple[str, ...]


class LogProof(WireModel):
    """Body of GET /v1/log/inclusion and /v1/log/consistency: the hashes of RFC 9162, bottom up."""

    hashes: tuple[Hash, ...]
