"""Consents and events brought to the hub, with receipts that the submitter keeps (docs/protocol.md, 2 and 8).

A receipt is verified before it counts: the hub's signature, that it is about the artefact that was sent, and that the
log entry it promises is about the same. Receipts are kept in a file of their own, a line each, so that they can be
forgotten with their merchants; `digua-hub audit reconcile --receipts` reads it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from crypto.consent_receipts import check_acknowledgement
from crypto.errors import ProofError
from crypto.jws import peek_payload
from crypto.wire.consent import Acknowledgement, ArtefactKind, ConsentSubmission, SubmissionReceipt
from nodes.errors import ConfigError, PeerError
from nodes.hub_client import HUB, HubClient
from nodes.roster import RosterBook

PATHS: dict[ArtefactKind, str] = {"consent": "/v1/consents", "consent-event": "/v1/consent-events"}


def submit_artefacts(
    hub: HubClient, roster: RosterBook, kind: ArtefactKind, submission: ConsentSubmission
) -> SubmissionReceipt:
    """Bring what merchants signed to the hub, and verify its receipts.

    Args:
        hub, roster: the node's.
        kind: of all tokens.
        submission: up to 1,000 of them; all are taken, or none. It may be brought again: that changes nothing.

    Raises:
        PeerError: the hub refused, or is out of reach; its `field` names the token.
        SignatureError, ProofError: a receipt does not verify. The hub may have taken the artefacts all the same.
    """
    body = hub.request("POST", PATHS[kind], submission.model_dump_json().encode())
    try:
        receipt = SubmissionReceipt.model_validate_json(body)
    except ValidationError as problem:
        raise PeerError(
            HUB,
            "the hub's answer is no SubmissionReceipt",
            peer_code="hub-answer-malformed",
            remedy="check that hub.url is a digua hub of this version",
        ) from problem
    if len(receipt.receipts) != len(submission.tokens):
        raise _unacknowledged(len(receipt.receipts))
    for place, (token, acknowledged) in enumerate(zip(submission.tokens, receipt.receipts, strict=True)):
        if acknowledged is None:
            continue  # stored earlier, and its merchant is erased: there is nothing to promise any more
        given = check_acknowledgement(acknowledged, roster.hub_keys, hub_id=roster.hub_id)
        if (given.kind, given.sha256) != (kind, hashlib.sha256(peek_payload(token)).digest()):
            raise _unacknowledged(place)
    return receipt


def keep_receipts(receipts: Sequence[Acknowledgement | None], path: Path) -> int:
    """Append receipts to a file (mode 0600), a JSON line each; returns how many.

    Raises:
        ConfigError: it cannot be written.
    """
    lines = [each.model_dump_json() + "\n" for each in receipts if each is not None]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise ConfigError(
            f"{path} cannot be written: {problem.strerror}",
            field="receipts",
            remedy="give another path, and submit again: what is known already gets its receipts again",
        ) from problem
    return len(lines)


def _unacknowledged(place: int) -> ProofError:
    return ProofError(
        f"the hub's receipt {place} is missing, or about another artefact",
        field=f"receipts.{place}",
        remedy="submit again; if it recurs, report the hub to the witness's owner",
    )
