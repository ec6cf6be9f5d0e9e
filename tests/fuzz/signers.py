"""Fixed keys, and what they signed: the vectors that fuzzers start from."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.deletions import DELETION_TYPE, commit_record
from crypto.jws import sign, sign_merchant, sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.merkle import inclusion_proof, leaf_hash, root
from crypto.pseudonym import PseudonymKey
from crypto.wire.audit import LogEntry
from crypto.wire.base import SUITE
from crypto.wire.consent import Acknowledgement, ConsentReceipt
from crypto.wire.deletion import DeletionReport, DeletionStatement

PARTY, WITNESS = (IdentityKey.from_bytes(bytes([n]) * 32) for n in (1, 2))
BOX = BoxKey.from_bytes(bytes([3]) * 32)
EVALUATOR = PseudonymKey.from_seed(bytes([4]) * 32)
MERCHANT = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
}
"""RFC 8037, appendix A."""
MERCHANT_EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
"""RFC 7515, appendix A.3."""
TIME = datetime(2026, 1, 31, 8, tzinfo=UTC)
TYP, KID = "acceptance", "bank-1"
ORIGIN, WITNESS_NAME = "hub.example/log", "witness"
VERIFIERS = {ORIGIN: PARTY.public, WITNESS_NAME: WITNESS.public}
LEAVES = [b"entry %d" % number for number in range(7)]
HASHES = [leaf_hash(each) for each in LEAVES]


def token() -> str:
    """A party's."""
    return sign(b'{"a":1}', PARTY, typ=TYP, kid=KID)


def merchant_tokens() -> list[str]:
    """One of each algorithm that merchants may use."""
    return [sign_merchant(b'{"a":1}', jwk, typ="consent", kid="m") for jwk in (MERCHANT, MERCHANT_EC)]


def note() -> str:
    """A cosigned checkpoint over `LEAVES`."""
    body = Checkpoint(ORIGIN, len(HASHES), root(HASHES)).body()
    witness = sign_note(body, WITNESS_NAME, WITNESS, cosignature_time=1_790_000_000)
    return assemble(body, [sign_note(body, ORIGIN, PARTY), witness])


def proof(index: int) -> list[bytes]:
    """That of a leaf."""
    return inclusion_proof(index, HASHES)


def export() -> bytes:
    """A log's export: header, an entry a line, a checkpoint."""
    facts = {"request_hash": "0" * 64, "item": 0, "sources": "tax-1"}
    leaf = canonical_bytes(LogEntry(type="query", time=TIME, actor="bank-1", subject=None, facts=facts))
    body = Checkpoint(ORIGIN, 1, leaf_hash(leaf)).body()
    witness = sign_note(body, WITNESS_NAME, WITNESS, cosignature_time=1_790_000_000)
    signed = assemble(body, [sign_note(body, ORIGIN, PARTY), witness])
    lines = (
        {"format": "digua-log-export-1", "hub_id": "hub", "origin": ORIGIN, "witness": WITNESS_NAME, "size": 1},
        {"index": 0, "hash": leaf_hash(leaf).hex(), "entry": leaf.decode()},
        {"checkpoint": signed, "cosigned": True},
    )
    return b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in lines)


def acknowledgement() -> bytes:
    """The hub's receipt for a consent."""
    salt, sha256 = bytes(16), bytes(32)
    facts = {"artefact": hashlib.sha256(salt + sha256).hexdigest()}
    leaf = canonical_bytes(LogEntry(type="consent", time=TIME, actor="hub", subject=bytes(32), facts=facts))
    receipt = ConsentReceipt(
        suite=SUITE, kind="consent", sha256=sha256, leaf=leaf_hash(leaf), parties=("bank-1",), time=TIME
    )
    signed = sign_model(receipt, PARTY, typ="consent-receipt", kid="hub")
    return Acknowledgement(receipt=signed, entry=leaf.decode(), salt=salt).model_dump_json().encode()


def deletion() -> bytes:
    """A node's statement that it deleted what it kept under a consent."""
    record_id, salt = "0" * 32, bytes(16)
    statement = DeletionStatement(
        suite=SUITE,
        deletion_id=record_id,
        party_id=KID,
        record=commit_record(salt, record_id),
        reason="consent-revoked",
        counts={"reasons": 1},
        deleted_at=TIME,
    )
    signed = sign_model(statement, PARTY, typ=DELETION_TYPE, kid=KID)
    return DeletionReport(statement=signed, record_id=record_id, salt=salt).model_dump_json().encode()
