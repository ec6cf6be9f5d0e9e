"""A consent's receipt for people and other systems: names and parts of ISO/IEC TS 27560:2023, and what proves it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crypto.wire.audit import InclusionProof
from crypto.wire.base import Hash, KindName, Moment, PartyId, Pseudonym, Sha256Hex, Suite, Token, WireModel
from crypto.wire.consent import Acknowledgement, ConsentTerms, EventType
from crypto.wire.party import MerchantKeyStatement

PartyRole = Literal["pii-source", "pii-recipient"]


class ReceiptParty(WireModel):
    """A party that the consent names (TS 27560, 6.3.6)."""

    party_id: PartyId
    party_name: str
    party_type: KindName
    party_role: tuple[PartyRole, ...]


class ReceiptEvent(WireModel):
    """A change of the consent's state, or its giving (TS 27560, 6.3.7)."""

    event_time: Moment
    event_type: EventType
    event_state: EventType


class RecordReceipt(WireModel):
    """Receipt metadata, PII processing, party identification and events (TS 27560, 6.4).

    `receipt_id` is the SHA-256 of the record's exact bytes; `privacy_notice` inside has the hash of the notice.
    """

    suite: Suite
    schema_version: Literal["27560-1"]
    receipt_id: Sha256Hex
    record_id: Annotated[str, Field(pattern=r"^[a-f0-9]{32}$")]
    pii_principal_id: Pseudonym
    pii_processing: ConsentTerms
    party_identification: tuple[ReceiptParty, ...]
    events: Annotated[tuple[ReceiptEvent, ...], Field(min_length=1)]
    issued_at: Moment


class SignedByMerchant(WireModel):
    """An artefact of the merchant, with what is needed to trust the key that signed it."""

    token: Token
    merchant_key: MerchantKeyStatement


class ReceiptProof(WireModel):
    """What the receipt follows from: the signed record and events, the roster, and the record's entry in the log."""

    record: SignedByMerchant
    events: tuple[SignedByMerchant, ...]
    roster: Token
    acknowledgement: Acknowledgement
    inclusion: InclusionProof


class ReceiptSeal(WireModel):
    """JWS type `receipt-seal`, by the hub, over the SHA-256 of the canonical receipt and proof."""

    suite: Suite
    receipt_sha256: Hash
    proof_sha256: Hash


class ReceiptFile(WireModel):
    """A receipt as a file that verifies offline, under the hub's and the witness's keys alone.

    `successions` lead from the keys that its reader knows to those that signed it; each is signed for itself.
    """

    receipt: RecordReceipt
    proof: ReceiptProof
    seal: Token
    successions: tuple[Token, ...] = ()


class ReceiptFiles(WireModel):
    """Reply to POST /v1/merchants/receipts; `waiting`: consents whose entries no cosigned checkpoint covers yet."""

    receipts: tuple[ReceiptFile, ...]
    waiting: tuple[str, ...]
