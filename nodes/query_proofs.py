"""A4 of a scoring query: its log entry, proved under a checkpoint that hub and witness signed (docs/protocol.md, 7)."""

from __future__ import annotations

from crypto.errors import ProofError
from crypto.wire.audit import InclusionProof
from crypto.wire.scoring import ScoreRequest
from nodes.logged_entries import proved_entry
from nodes.roster import RosterBook


def check_query_proof(
    proof: InclusionProof, request: ScoreRequest, place: int, request_hash: bytes, roster: RosterBook
) -> None:
    """Check that one item of a request is in the log.

    Raises:
        ProofError: the entry is another's, or is not included.
        CheckpointError, SignatureError: the checkpoint is not signed by hub and witness.
    """
    entry = proved_entry(proof, roster)
    facts = entry.facts
    if (entry.type, entry.actor) != ("query", request.requester) or (
        facts.get("request_hash"),
        facts.get("item"),
    ) != (request_hash.hex(), place):
        raise ProofError(
            f"the proof of item {place} is of another log entry",
            field=f"proofs.{place}",
            remedy="ask again; if it recurs, report it to the witness's owner",
        )
