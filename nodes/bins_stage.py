"""The bins stage at a node: Q1 accept, Q2 tally (docs/protocol.md, 6a).

What is frozen at the acceptance are the node's own counts, not its rows: they are all that this stage needs. As in
every stage, bytes and charge are durable before the bytes leave, and a step asked again repeats its answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import digest
from crypto.count_trees import plain_sum
from crypto.errors import AttemptError, ManifestError
from crypto.manifest import NodeSlice
from crypto.parcel import Parcel
from crypto.slices import read_slice
from models.quantile_bins import tree_counts
from nodes.acceptance import (
    check_consents,
    check_manifest,
    check_merchants,
    own_rows,
    read_cosignature,
    rules_of,
)
from nodes.acceptance_record import record_acceptance
from nodes.bins_check import check_bins
from nodes.frozen import FrozenRows
from nodes.masked_term import record_term
from nodes.table_stage import accepted_before, keep_once, load_state, out_of_order, shared
from nodes.terms_check import CheckedTerms, check_terms, contradiction, read_acceptances, read_terms
from nodes.training_context import TrainingContext

_COUNTS = "trees"


def accept(context: TrainingContext, parcel: Parcel) -> Parcel:
    """Q1: checks everything that can be known before masking, freezes the counts, answers with an acceptance.

    Raises:
        CryptoError, ModelsError, NodeError: whatever contradicts roster, schema, consents, ledger or own rules.
    """
    checked = read_terms(parcel.text("terms"), context.roster)
    terms = checked.terms
    cosignature = read_cosignature(parcel.text("cosignature"), context, terms)
    recorded = context.attempts.load(terms.attempt)
    if recorded is not None:
        return accepted_before(context, recorded, cosignature)
    if terms.stage != "bins":
        raise contradiction("stage", f"terms of stage {terms.stage} come with another message")
    check_terms(checked, context.roster, rules_of(context), context.clock())
    check_bins(checked)
    frozen = FrozenRows(context.attempts, context.party_id, context.kind, checked)
    last = read_slice(parcel, context.kind, [each.kind for each in terms.kinds])
    check_manifest(context, checked, (piece for _, piece in frozen.pieces(last)), cosignature.h, parcel)
    counts = _counted(context, checked, frozen, last, parcel).astype("<i8", copy=False).tobytes()
    context.ledger.check(
        terms.campaign_id, terms.privacy.mechanisms, stage=terms.stage, delta_sum=terms.privacy.delta_sum
    )
    context.campaigns.settle(terms)

    frozen.drop_pieces()
    kept = {"terms": parcel.text("terms").encode(), _COUNTS: counts}
    return record_acceptance(context, terms, cosignature, digest(counts), kept, sort="sum")


def tally(context: TrainingContext, parcel: Parcel) -> Parcel:
    """Q2: the frozen counts plus noise, masked, recorded with their charge, then sent.

    Raises:
        CryptoError, NodeError: acceptances are not all of this manifest, the attempt is not at this step, or the ledger
            refuses.
    """
    attempt = parcel.text("attempt")
    state = load_state(context, attempt)
    if state.sent is not None:
        return shared(context, state)
    token, stored = (context.attempts.blob(attempt, name) for name in ("terms", _COUNTS))
    if state.sort != "sum" or state.phase != "accepted" or token is None or stored is None:
        raise out_of_order(state, "a tally")
    if digest(stored) != state.matrix_sha256:
        raise AttemptError(
            f"the counts of attempt {attempt} are not those frozen at acceptance",
            field="matrix_sha256",
            remedy="refuse this attempt; the next one counts anew",
        )
    checked = read_terms(token.decode(), context.roster)
    terms = checked.terms
    tokens = parcel.text("acceptances").split()
    accepted = read_acceptances(tokens, checked, state.h)
    key = context.attempts.key(attempt)
    if accepted[context.party_id].key != key.public:
        raise ManifestError(
            "the acceptances hold another key of this node", field=context.party_id, remedy="start a new attempt"
        )
    keep_once(context, attempt, "acceptances", " ".join(tokens).encode())
    n_counts, grid = plain_sum(terms)
    payload = record_term(
        context,
        state,
        terms,
        np.frombuffer(stored, dtype="<i8").astype(np.int64) * grid.scale,
        grid.noise(n_counts),
        accepted=accepted,
        key=key,
        bound=grid.bound,
    )
    sent = state.send(payload)
    context.attempts.save(sent)
    return shared(context, sent)


def _counted(
    context: TrainingContext, checked: CheckedTerms, frozen: FrozenRows, last: NodeSlice, parcel: Parcel
) -> NDArray[np.int64]:
    """Q1: checks every block's merchants and consents, and counts its rows."""
    counts = np.zeros(plain_sum(checked.terms)[0], dtype=np.int64)
    merchant = b""
    for block, piece in frozen.pieces(last):
        merchant = check_merchants(checked, piece, block, merchant)
        check_consents(context, checked, piece)
        codes, _ = own_rows(context, checked, piece, parcel)
        counts += tree_counts(checked.schema, context.kind, codes)
    return counts
