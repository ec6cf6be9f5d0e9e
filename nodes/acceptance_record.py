"""The end of T1, Q1 and V1: what was frozen is recorded with the signed acceptance of it (docs/protocol.md, 4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from crypto.attempts import NodeAttempt, Sort
from crypto.canonical import digest
from crypto.jws import sign_model
from crypto.manifest import SALT_BYTES
from crypto.parcel import Parcel
from crypto.wire.base import SUITE
from crypto.wire.campaign import Acceptance, Cosignature, Terms
from nodes.acceptance import attempt_key
from nodes.training_context import TrainingContext


def record_acceptance(
    context: TrainingContext,
    terms: Terms,
    cosignature: Cosignature,
    matrix_sha256: bytes,
    kept: Mapping[str, bytes],
    *,
    sort: Sort,
    blocks: int = 1,
) -> Parcel:
    """Sign what was frozen under a fresh salt, and keep it all before it leaves.

    Args:
        matrix_sha256: of what was frozen, 32 bytes; it leaves salted, as a node with few merchants could be guessed
            from a plain hash.
        kept: stored beside the state, in the same transaction: the terms as they came, and what was frozen.
        sort, blocks: the attempt's.

    Raises:
        AttemptError: something else is recorded under the attempt's id.
    """
    key = attempt_key(context, terms.attempt)
    salt = secrets.token_bytes(SALT_BYTES)
    acceptance = Acceptance(
        suite=SUITE,
        attempt=terms.attempt,
        h=cosignature.h,
        party_id=context.party_id,
        key=key.public,
        matrix_hash=digest(salt + matrix_sha256),
    )
    token = sign_model(acceptance, context.identity, typ="acceptance", kid=context.party_id)
    accepted = NodeAttempt.accept(
        terms.attempt,
        cosignature.h,
        matrix_sha256=matrix_sha256,
        charge=terms.privacy.epsilon,
        witness_key=cosignature.witness_key,
        sort=sort,
        blocks=blocks,
    )
    context.attempts.save(accepted, salt=salt, acceptance=token.encode(), **kept)
    return Parcel({"acceptance": token})
