"""Receipts for consents and their events: what a hub cannot take back afterwards (docs/protocol.md, 2 and 8).

A receipt is the hub's signed promise that an artefact is in its log, as a certain leaf, and in the feeds of all parties
that its consent names. The leaf says nothing of the artefact by itself; the opening that comes along shows that it is
about this very one, so that one leaf cannot stand for two of them.

*Assumption.* Whoever keeps a receipt with its opening can link the artefact with its entry, and must forget it when the
merchant is erased.
"""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from crypto.dated import verify_dated
from crypto.errors import ProofError
from crypto.key_line import KeyLine
from crypto.merkle import leaf_hash
from crypto.wire.audit import LogEntry
from crypto.wire.consent import Acknowledgement, ConsentReceipt

RECEIPT_TYPE = "consent-receipt"


def check_acknowledgement(
    acknowledged: Acknowledgement, hub_keys: KeyLine, *, hub_id: str | None = None
) -> ConsentReceipt:
    """Verify a receipt and that its leaf is about its artefact.

    Args:
        acknowledged: as the hub gave it.
        hub_keys: the hub's public signing keys.
        hub_id: the key id that its signature must name; any where it is None.

    Raises:
        SignatureError: the hub did not sign it.
        ProofError: the leaf is another, or about another artefact.
    """
    receipt = verify_dated(
        acknowledged.receipt, hub_keys, ConsentReceipt, typ=RECEIPT_TYPE, kid=hub_id, date=lambda signed: signed.time
    )
    leaf = acknowledged.entry.encode()
    try:
        entry = LogEntry.model_validate_json(leaf)
    except ValidationError as problem:
        raise _refused("The receipt's entry is no entry of a log.") from problem
    if leaf_hash(leaf) != receipt.leaf:
        raise _refused("The receipt promises another entry than the one that came with it.")
    committed = hashlib.sha256(acknowledged.salt + receipt.sha256).hexdigest()
    if entry.type != receipt.kind or entry.facts.get("artefact") != committed:
        raise _refused("The receipt's entry is about another artefact.")
    return receipt


def _refused(message: str) -> ProofError:
    return ProofError(message, field="receipts", remedy="Keep it, and report the hub to the witness's owner.")
