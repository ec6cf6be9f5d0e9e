"""Statements of deletion, made and verified alike by nodes, hub and merchants (docs/consent.md, 2).

*What it proves.* The node signed that data of these kinds under this very consent are gone, and when: it cannot deny it
afterwards. *What it does not prove* is that no copy is left: nobody can prove that to another. A node that states a
deletion and keeps a copy has put its signature under a lie, which an inspection on the spot finds.
"""

from __future__ import annotations

import hashlib

from crypto.errors import ProofError
from crypto.jws import verify_model
from crypto.wire.deletion import DeletionReport, DeletionStatement

DELETION_TYPE = "deletion"
SALT_BYTES = 16


def commit_record(salt: bytes, record_id: str) -> bytes:
    """SHA-256(salt ‖ consent id), 32 bytes; without the salt it says nothing about the consent."""
    return hashlib.sha256(salt + record_id.encode()).digest()


def check_deletion(report: DeletionReport, party_key: bytes, *, party_id: str) -> DeletionStatement:
    """Verify a statement and that it is about the consent that came with it.

    Args:
        report: the statement with its opening.
        party_key: the node's public signing key, 32 bytes.
        party_id: who must have signed it, about itself.

    Raises:
        SignatureError: the node did not sign it.
        ProofError: it is about another consent, or about another party's data.
    """
    statement = verify_model(report.statement, party_key, DeletionStatement, typ=DELETION_TYPE, kid=party_id)
    if statement.party_id != party_id:
        raise _refused("The statement is about another party's data than its signer's.", "party_id")
    if commit_record(report.salt, report.record_id) != statement.record:
        raise _refused("The statement is about another consent than the one that came with it.", "record_id")
    return statement


def _refused(message: str, field: str) -> ProofError:
    return ProofError(message, field=field, remedy="Ask the node for the statement and its salt again.")
