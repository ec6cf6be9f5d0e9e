"""A4 of a scoring query: its log entry, proved under a checkpoint that hub and witness signed (docs/protocol.md, 7)."""

from __future__ import annotations

from pydantic import ValidationError

from crypto.checkpoint import parse_note, verify_note
from crypto.errors import ProofError
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.wire.audit import InclusionProof, LogEntry
from crypto.wire.scoring import ScoreRequest
from nodes.roster import RosterBook


def check_query_proof(
    proof: InclusionProof, request: ScoreRequest, place: int, request_hash: bytes, roster: RosterBook
) -> None:
    """Check that one item of a request is in the log.

    Raises:
        ProofError: the entry is another's, or is not included.
        CheckpointError, SignatureError: the checkpoint is not signed by hub and witness.
    """
    checkpoint, _ = parse_note(proof.checkpoint)
    hub, witness = checkpoint.origin, roster.witness_id
    verifiers = {hub: roster.hub_sign_key, witness: roster.witness_sign_key}
    verify_note(proof.checkpoint, verifiers, required={hub, witness})
    leaf = proof.entry.encode()
    verify_inclusion(leaf_hash(leaf), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    try:
        entry = LogEntry.model_validate_json(leaf)
    except ValidationError as problem:
        raise _unlogged(place) from problem
    facts = entry.facts
    if (entry.type, entry.actor) != ("query", request.requester) or (
        facts.get("request_hash"),
        facts.get("item"),
    ) != (request_hash.hex(), place):
        raise _unlogged(place)


def _unlogged(place: int) -> ProofError:
    return ProofError(
        f"the proof of item {place} is of another log entry",
        field=f"proofs.{place}",
        remedy="ask again; if it recurs, report it to the witness's owner",
    )
