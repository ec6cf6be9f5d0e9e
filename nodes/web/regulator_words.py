"""Words of the log as the regulator's pages say them; all are message ids."""

from __future__ import annotations

from collections.abc import Mapping

from nodes.witness.mirror_index import UNREADABLE

TYPES: Mapping[str, str] = {
    "hub-initialised": "Hub set up",
    "enrolment-token": "Enrolment token issued",
    "enrolment": "Party enrolled",
    "key-rotation": "Keys rotated",
    "party-revoked": "Party revoked",
    "hub-restored": "Hub restored from a backup",
    "feed-moved": "Feed renumbered after a restoration",
    "roster": "Roster adopted",
    "merchant-keys": "Merchants' keys enrolled",
    "consent": "Consent given",
    "consent-event": "Consent changed",
    "invitation": "Merchant invited",
    "key-offer": "Key offered by a merchant",
    "consent-request": "Consent asked for",
    "consent-request-ended": "Request for a consent ended",
    "notice": "Privacy notice registered",
    "ticket": "Ticket opened by a merchant",
    "ticket-answer": "Ticket answered",
    "ticket-closed": "Ticket closed",
    "voprf": "Pseudonyms evaluated",
    "campaign-started": "Campaign started",
    "manifest": "Attempt begun",
    "attempt-decision": "Attempt decided",
    "encoder-round": "Encoder round opened",
    "table-opened": "Noisy table opened",
    "evaluation-points": "Evaluation points passed on",
    "histogram-opened": "Noisy histogram opened",
    "bins-opened": "Noisy counts for bins opened",
    "campaign-ended": "Campaign ended",
    "model-registered": "Model registered",
    "model-evaluated": "Model evaluated",
    "model-proposed": "Model waits for approval",
    "model-rollback": "Model rolled back",
    "model-release": "Model released",
    "model-withdrawal": "Model withdrawn",
    "query": "Query",
    "query-result": "Query answered",
    "erasure": "Salts erased",
}
FACTS: Mapping[str, str] = {
    "campaign_id": "Campaign",
    "model_id": "Model",
    "request_hash": "Request hash",
    "item": "Item",
    "sources": "Sources",
    "purpose": "Purpose",
    "consent": "Commitment to the consent",
    "artefact": "Commitment to the signed text",
    "event": "Event",
    "party_id": "Party",
    "kind": "Kind",
    "stages": "Stages",
    "status": "State",
    "decision": "Decision",
    "attempt": "Attempt",
    "epsilon": "ε",
    "delta": "δ",
    "name": "Name",
}
EVENTS: Mapping[str, str] = {
    "given": "Consent given",
    "paused": "Consent paused",
    "resumed": "Consent resumed",
    "revoked": "Consent revoked",
    "refused": "Consent refused",
    "expired": "Consent expired",
}
EVENT_TONES: Mapping[str, str] = {
    "given": "good",
    "resumed": "good",
    "paused": "warn",
    "revoked": "bad",
    "refused": "bad",
    "expired": "warn",
}
PLACES: Mapping[str, str] = {
    "verified": "in the verified log",
    "not-yet": "newer than the verified log",
    "absent": "not in the log",
    "foreign": "not about this merchant",
}
PLACE_TONES: Mapping[str, str] = {"verified": "good", "not-yet": "info", "absent": "bad", "foreign": "warn"}
MODEL_STATES: Mapping[str, str] = {
    "pending": "waits for your word",
    "approved": "approved by you",
    "refused": "refused by you",
    "evaluation": "released for evaluation",
    "release": "released for scoring",
    "withdrawn": "withdrawn for good",
}
MODEL_TONES: Mapping[str, str] = {
    "pending": "warn",
    "approved": "good",
    "refused": "bad",
    "evaluation": "info",
    "release": "good",
    "withdrawn": "bad",
}


def type_text(name: str | None) -> str:
    """What an entry's type is called: its own name where there is no word for it; None is an unreadable one."""
    if name is None or name == UNREADABLE:
        return "Not an entry of this version"
    return TYPES.get(name, name)
