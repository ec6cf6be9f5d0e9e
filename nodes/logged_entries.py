"""Entries of the hub's audit log, proved under a checkpoint that hub and witness signed (docs/protocol.md, 8)."""

from __future__ import annotations

from functools import lru_cache

from pydantic import ValidationError

from crypto.checkpoint import Checkpoint, parse_note, verify_note
from crypto.errors import ProofError
from crypto.key_line import KeyLine
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.wire.audit import InclusionProof, LogEntry
from nodes.roster import RosterBook


def proved_entry(proof: InclusionProof, roster: RosterBook) -> LogEntry:
    """Check that an entry is in the log, and read it.

    Raises:
        ProofError: it is not included, or is no entry.
        CheckpointError, SignatureError: the checkpoint is not signed by hub and witness.
    """
    checkpoint = _cosigned(proof.checkpoint, roster.hub_keys, roster.witness_id, roster.witness_keys)
    leaf = proof.entry.encode()
    verify_inclusion(leaf_hash(leaf), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    try:
        return LogEntry.model_validate_json(leaf)
    except ValidationError as problem:
        raise ProofError(
            f"leaf {proof.index} of the log is no entry",
            field="entry",
            remedy="ask again; if it recurs, report it to the witness's owner",
        ) from problem


@lru_cache(maxsize=64)
def _cosigned(note: str, hub_keys: KeyLine, witness: str, witness_keys: KeyLine) -> Checkpoint:
    """Verify a checkpoint; queries of one moment share it. Other bytes, and other keys, are verified anew."""
    hub = parse_note(note)[0].origin
    return verify_note(note, {hub: hub_keys, witness: witness_keys}, required={hub, witness})
