"""Receipts of consents after ISO/IEC TS 27560, made by the hub and verified offline by anybody (docs/protocol.md, 2).

F1  The hub sealed receipt and proof.
F2  The roster is signed by the witness and names this hub's key.
F3  Record and events are the merchant's, under keys that platform and bank of that roster both signed for.
F4  Every word of the receipt follows from them: it is made anew from the signed record, and compared.
F5  The record's entry, opened by its salt, is in the log under a checkpoint that hub and witness both signed.

*Not claimed.* That no later event exists: a receipt says how things stood when it was made. Ask for a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from crypto.canonical import canonical_bytes, digest
from crypto.checkpoint import parse_note, verify_note
from crypto.consent_receipts import check_acknowledgement
from crypto.dated import verify_dated
from crypto.errors import ProofError
from crypto.jws import parse_canonical, peek_kid, sign_model, verify, verify_merchant
from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.succession import line_of
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentEvent, ConsentRecord, ConsentTerms
from crypto.wire.party import MerchantKeyBatch, MerchantKeyStatement, Party, Roster
from crypto.wire.receipt import (
    PartyRole,
    ReceiptEvent,
    ReceiptFile,
    ReceiptParty,
    ReceiptProof,
    ReceiptSeal,
    RecordReceipt,
    SignedByMerchant,
)

SEAL_TYPE = "receipt-seal"


def receipt_of(
    record: ConsentRecord, events: Sequence[ConsentEvent], parties: Mapping[str, Party], issued_at: datetime
) -> RecordReceipt:
    """Make a receipt.

    Args:
        record: as it was signed, in canonical form.
        events: of the record, in order.
        parties: of the cosigned roster, by id.
        issued_at: when the receipt is made.

    Raises:
        ProofError: the roster lacks a party that the record names.
    """
    named = sorted({*record.sources.values(), *record.recipients})
    given = ReceiptEvent(event_time=record.event_time, event_type="given", event_state="given")
    return RecordReceipt(
        suite=SUITE,
        schema_version=record.schema_version,
        receipt_id=digest(canonical_bytes(record)).hex(),
        record_id=record.record_id,
        pii_principal_id=record.pii_principal_id,
        pii_processing=ConsentTerms.model_validate({name: getattr(record, name) for name in ConsentTerms.model_fields}),
        party_identification=tuple(_party(parties, party_id, record) for party_id in named),
        events=(given, *map(_event, events)),
        issued_at=issued_at,
    )


def _event(event: ConsentEvent) -> ReceiptEvent:
    state = "given" if event.event == "resumed" else event.event
    return ReceiptEvent(event_time=event.event_time, event_type=event.event, event_state=state)


def _party(parties: Mapping[str, Party], party_id: str, record: ConsentRecord) -> ReceiptParty:
    party = parties.get(party_id)
    if party is None:
        raise _refused(f"The roster lacks {party_id}, which the consent names.", "proof.roster")
    roles: list[PartyRole] = []
    if party_id in record.sources.values():
        roles.append("pii-source")
    if party_id in record.recipients:
        roles.append("pii-recipient")
    return ReceiptParty(party_id=party_id, party_name=party.title, party_type=party.kind, party_role=tuple(roles))


def seal_receipt(
    receipt: RecordReceipt, proof: ReceiptProof, key: Signer, *, hub_id: str, successions: Sequence[str] = ()
) -> ReceiptFile:
    """F1: seal a receipt with the hub's key; `successions` lead to it from keys that its reader may know."""
    seal = ReceiptSeal(
        suite=SUITE,
        receipt_sha256=digest(canonical_bytes(receipt)),
        proof_sha256=digest(canonical_bytes(proof)),
    )
    token = sign_model(seal, key, typ=SEAL_TYPE, kid=hub_id)
    return ReceiptFile(receipt=receipt, proof=proof, seal=token, successions=tuple(successions))


def check_receipt(file: ReceiptFile, *, hub_key: bytes, witness_key: bytes) -> RecordReceipt:
    """F1 to F5: verify a receipt.

    Args:
        file: as the hub gave it.
        hub_key, witness_key: public signing keys of theirs, 32 bytes, learned out of band: those of now or of any time
            that the file's successions lead to and from.

    Returns:
        The receipt.

    Raises:
        SignatureError, KeyFormatError: a signature is wrong, or by a key that did not hold then.
        SuccessionError: the file's successions contradict each other.
        ProofError: the receipt says other things than what was signed, or the log's proof does not hold.
    """
    hubs = line_of(hub_key, file.successions, peek_kid(file.seal, typ=SEAL_TYPE))
    witnesses = line_of(witness_key, file.successions, peek_kid(file.proof.roster, typ="roster"))
    seal = verify_dated(file.seal, hubs, ReceiptSeal, typ=SEAL_TYPE, date=lambda _seal: file.receipt.issued_at)
    hashes = (digest(canonical_bytes(file.receipt)), digest(canonical_bytes(file.proof)))
    if hashes != (seal.receipt_sha256, seal.proof_sha256):
        raise _refused("The hub sealed another receipt than this one.", "seal")
    roster = verify_dated(file.proof.roster, witnesses, Roster, typ="roster")
    parties = {party.party_id: party for party in roster.parties}
    witness = next((party for party in roster.parties if party.kind == "witness"), None)
    if roster.hub_sign_key not in hubs.publics or witness is None or witness.sign_key not in witnesses.publics:
        raise _refused("The roster names another hub or witness.", "proof.roster")
    pseudonym = file.receipt.pii_principal_id
    payload = _merchants(file.proof.record, pseudonym, parties, "consent")
    record = parse_canonical(payload, ConsentRecord)
    events = [
        parse_canonical(_merchants(each, pseudonym, parties, "consent-event"), ConsentEvent)
        for each in file.proof.events
    ]
    artefacts: list[ConsentRecord | ConsentEvent] = [record, *events]
    for artefact in artefacts:
        if (artefact.pii_principal_id, artefact.record_id) != (pseudonym, file.receipt.record_id):
            raise _refused("The receipt brings what was signed about something else.", "proof")
    if receipt_of(record, events, parties, file.receipt.issued_at) != file.receipt:
        raise _refused("The receipt says other things than the merchant signed.", "receipt")
    _check_log(file.proof, payload, hubs, witness.party_id, witnesses)
    return file.receipt


def _merchants(signed: SignedByMerchant, pseudonym: bytes, parties: Mapping[str, Party], typ: str) -> bytes:
    """F3: the payload, under a key of this merchant's own."""
    statement = signed.merchant_key
    batch = _batch(statement, parties)
    leaf = leaf_hash(canonical_bytes(statement.leaf))
    verify_inclusion(leaf, statement.index, batch.size, statement.proof, batch.root)
    if statement.leaf.pseudonym != pseudonym:
        raise _refused("The key is another merchant's.", "proof.record.merchant_key")
    return verify_merchant(signed.token, statement.leaf.jwk, typ=typ, kid=pseudonym.hex())


def _batch(statement: MerchantKeyStatement, parties: Mapping[str, Party]) -> MerchantKeyBatch:
    platform = _signer(parties, peek_kid(statement.batch, typ="merchant-keys"))
    signer = _signer(parties, peek_kid(statement.countersignature, typ="merchant-keys-countersignature"))
    payload = verify(statement.batch, platform.sign_key, typ="merchant-keys", kid=platform.party_id)
    other = verify(
        statement.countersignature, signer.sign_key, typ="merchant-keys-countersignature", kid=signer.party_id
    )
    batch = parse_canonical(payload, MerchantKeyBatch)
    named = (batch.platform, batch.countersigner) == (platform.party_id, signer.party_id)
    if payload != other or not named or platform.kind != "client" or signer.kind in ("client", "witness"):
        raise _refused("The key was not enrolled by a platform and a bank together.", "proof.record.merchant_key")
    return batch


def _signer(parties: Mapping[str, Party], party_id: str) -> Party:
    party = parties.get(party_id)
    if party is None:
        raise _refused(f"The roster lacks {party_id}, which signed for the key.", "proof.roster")
    return party


def _check_log(proof: ReceiptProof, payload: bytes, hubs: KeyLine, witness: str, witnesses: KeyLine) -> None:
    """F5."""
    receipt = check_acknowledgement(proof.acknowledgement, hubs)
    if (receipt.kind, receipt.sha256) != ("consent", hashlib.sha256(payload).digest()):
        raise _refused("The hub acknowledged another consent.", "proof.acknowledgement")
    inclusion = proof.inclusion
    if inclusion.entry != proof.acknowledgement.entry:
        raise _refused("The log's proof is of another entry.", "proof.inclusion")
    checkpoint, _ = parse_note(inclusion.checkpoint)
    verifiers = {checkpoint.origin: hubs, witness: witnesses}
    verify_note(inclusion.checkpoint, verifiers, required=set(verifiers))
    leaf = leaf_hash(inclusion.entry.encode())
    verify_inclusion(leaf, inclusion.index, checkpoint.size, inclusion.hashes, checkpoint.root)


def _refused(message: str, field: str) -> ProofError:
    return ProofError(message, field=field, remedy="Ask the hub for the receipt again; if it recurs, report it.")
