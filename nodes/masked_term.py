"""A node's term of a secure sum: masked, and recorded with its charge before it may leave (docs/protocol.md, 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypto.attempts import NodeAttempt
from crypto.keys import BoxKey
from crypto.secure_sum import mask_vector
from crypto.wire.campaign import Acceptance, Terms
from nodes.training_context import TrainingContext


def record_term(
    context: TrainingContext,
    state: NodeAttempt,
    terms: Terms,
    counts: NDArray[Any],
    noise: NDArray[np.int64] | None,
    *,
    accepted: Mapping[str, Acceptance],
    key: BoxKey,
    bound: int,
) -> bytes:
    """Masks counts with their noise, and writes bytes and charge in one transaction.

    Args:
        context: the node's.
        state: of the attempt.
        terms: the attempt's.
        counts: (n,) on the grid of the noise.
        noise: (n,) this node's share; None where noise is off.
        accepted: party → its acceptance of this attempt, this node's too.
        key: this node's of the attempt.
        bound: as of `crypto.secure_sum.mask_vector`.

    Returns:
        The bytes to send: after a crash the ledger's, not those made here.

    Raises:
        CryptoError, NodeError: the vector could wrap, or the ledger refuses.
    """
    term = mask_vector(
        counts,
        noise,
        me=context.party_id,
        box=key,
        peers={party: each.key for party, each in accepted.items() if party != context.party_id},
        witness_public=state.witness_key,
        h=state.h,
        attempt=state.attempt,
        width=32,
        bound=bound,
    )
    return context.ledger.record_send(
        campaign_id=terms.campaign_id,
        attempt=state.attempt,
        h=state.h,
        payload=term.astype("<u4", copy=False).tobytes(),
        mechanisms=terms.privacy.mechanisms,
        delta_sum=terms.privacy.delta_sum,
    )
