"""The scorecard stage at a node: T1 accept, T2 exchange, T3 share, T4 outcome (docs/protocol.md, 4).

Each step takes the message's parcel and gives the reply's. What a reply permits is durable before it is returned; a
step asked again repeats its answer or refuses. Refusals are raised as typed errors; `nodes.training` signs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.attempts import NodeAttempt
from crypto.dated import verify_bytes, verify_dated
from crypto.errors import AttemptError, ManifestError
from crypto.jws import sign_model
from crypto.keys import BoxKey
from crypto.manifest import NodeSlice
from crypto.parcel import Array, Parcel, as_array
from crypto.sealed import context_bytes, open_sealed
from crypto.secure_tables import (
    ReceivedRows,
    check_inbox,
    mask_rows,
    masked_for,
    node_cells,
    rows_sha256,
    stream_key,
)
from crypto.slices import read_block, read_slice
from crypto.wire.base import SUITE
from crypto.wire.campaign import Acceptance, Cosignature, Decision, Receipt
from nodes.acceptance import (
    check_consents,
    check_encoders,
    check_manifest,
    check_merchants,
    own_rows,
    read_cosignature,
    rules_of,
)
from nodes.acceptance_record import record_acceptance
from nodes.bins_check import check_settled
from nodes.frozen import FrozenRows
from nodes.frozen_counts import BinCounts
from nodes.masked_rows import RowsTrip, not_due, open_rows, seal_rows
from nodes.masked_term import record_term
from nodes.rounds_check import check_device, check_rounds_privacy
from nodes.statistics_check import STATISTICS, check_statistics
from nodes.terms_check import CheckedTerms, check_terms, contradiction, read_acceptances, read_terms, seed_context
from nodes.training_context import TrainingContext

_SEED_BYTES = 32


@dataclass(frozen=True)
class _Open:
    """An attempt between its steps: what was agreed, what the store holds of it, how far it has gone."""

    checked: CheckedTerms
    state: NodeAttempt
    frozen: FrozenRows


def take_piece(context: TrainingContext, parcel: Parcel) -> Parcel:
    """Before T1, where the cohort has more than one block: the slice's piece of a block that is not the last.

    It is only kept: T1 checks it, under the manifest that the witness cosigned.

    Raises:
        CryptoError, NodeError: not the hub's terms, or no such block.
    """
    checked = read_terms(parcel.text("terms"), context.roster)
    block = read_block(parcel)
    if context.attempts.load(checked.terms.attempt) is None:
        piece = read_slice(parcel, context.kind, [each.kind for each in checked.terms.kinds])
        FrozenRows(context.attempts, context.party_id, context.kind, checked).keep_piece(piece, block)
    return Parcel({"block": str(block)})


def accept(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T1: checks everything that can be known before masking, freezes the matrix, answers with an acceptance.

    Raises:
        CryptoError, ModelsError, NodeError: whatever contradicts roster, schema, consents, ledger or own rules.
    """
    checked = read_terms(parcel.text("terms"), context.roster)
    terms = checked.terms
    cosignature = read_cosignature(parcel.text("cosignature"), context, terms)
    recorded = context.attempts.load(terms.attempt)
    if recorded is not None:
        return accepted_before(context, recorded, cosignature)
    if terms.stage in ("evaluation", "bins"):
        raise contradiction("stage", f"terms of stage {terms.stage} come with another message")
    check_terms(checked, context.roster, rules_of(context), context.clock())
    check_settled(checked, context.roster, parcel, context.clock())
    if terms.stage == "encoder":
        check_rounds_privacy(checked)
        check_device(context.device)
    elif terms.stage == STATISTICS:
        check_statistics(checked)
    frozen = FrozenRows(context.attempts, context.party_id, context.kind, checked)
    last = read_slice(parcel, context.kind, [each.kind for each in terms.kinds])
    check_manifest(context, checked, (piece for _, piece in frozen.pieces(last)), cosignature.h, parcel)
    check_encoders(context, checked, parcel)
    # Before the rows are touched; the charge itself is made with the bytes that are sent (T3).
    context.ledger.check(
        terms.campaign_id, terms.privacy.mechanisms, stage=terms.stage, delta_sum=terms.privacy.delta_sum
    )
    hashes, counts = _freeze(context, checked, frozen, last, parcel)
    context.campaigns.settle(terms)
    if context.counts is not None:
        context.counts.keep(terms.schema_sha256, terms.campaign_id, context.clock(), counts)

    matrix = frozen.seal(hashes)
    return record_acceptance(
        context,
        terms,
        cosignature,
        matrix,
        {"terms": parcel.text("terms").encode()},
        sort="round" if terms.stage == "encoder" else "tables",
        blocks=frozen.blocks.count,
    )


def exchange(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T2: masks the frozen matrix's first block under the witness's seed; for every counterpart the rows both hold.

    Raises:
        CryptoError, NodeError: acceptances are not all of this manifest, the seed does not open or is not signed by
            the witness, or the attempt is not at this step.
    """
    attempt = _open(context, parcel.text("attempt"))
    checked, state = attempt.checked, attempt.state
    tokens = parcel.text("acceptances").split()
    accepted = read_acceptances(tokens, checked, state.h)
    key = context.attempts.key(state.attempt)
    if accepted[context.party_id].key != key.public:
        raise ManifestError(
            "the acceptances hold another key of this node", field=context.party_id, remedy="start a new attempt"
        )
    keep_once(context, state.attempt, "acceptances", " ".join(tokens).encode())
    seed = _open_seed(context, state, key, parcel.blob("seed"))
    exchanged, boxes = _mask(context, attempt, accepted, state, seed, 0)
    context.attempts.save(exchanged, seed=seed)
    return Parcel(arrays=boxes)


def share(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T3, T2: checks a block's inbox and adds its cells to those of the blocks before; then the next block's rows.

    After the last block it adds noise and masks instead, records bytes and charge, and answers with its term.

    Raises:
        ExchangeError: the inbox is not exactly what the slice implies; `field` is the sender.
        CryptoError, NodeError: the attempt or the block is not at this step, or the ledger refuses.
    """
    state = load_state(context, parcel.text("attempt"))
    if state.sent is not None:
        return shared(context, state)
    if state.phase != "exchanged":
        raise out_of_order(state, "a share")
    attempt = _open(context, state.attempt)
    block = read_block(parcel)
    seed = context.attempts.blob(state.attempt, "seed")
    tokens = context.attempts.blob(state.attempt, "acceptances")
    if seed is None or tokens is None:
        raise out_of_order(state, "a share")
    accepted = read_acceptances(tokens.decode().split(), attempt.checked, state.h)
    if block + 1 == state.counted:  # counted before, and the next block's rows were lost on their way
        _, boxes = _mask(context, attempt, accepted, state, seed, block + 1)
        return Parcel(arrays=boxes)
    counted = state.count(block)
    cells = _count(context, attempt, parcel, seed, block)
    if counted.counted < counted.blocks:
        exchanged, boxes = _mask(context, attempt, accepted, counted, seed, block + 1)
        context.attempts.save(exchanged, cells=cells.astype("<u4", copy=False).tobytes())
        return Parcel(arrays=boxes)
    sent = counted.send(_term(context, attempt, accepted, cells))
    context.attempts.save(sent)
    return shared(context, sent)


def outcome(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T4: the witness's decision: keeps the charge, or takes it back on a void of the node's own manifest.

    Raises:
        SignatureError: not signed by the key of the witness that holds now; the hub has it signed anew.
        AttemptError: it names another manifest, or contradicts an earlier decision.
    """
    now = context.clock()
    decision = verify_dated(
        parcel.text("decision"),
        context.roster.witness_keys,
        Decision,
        typ="decision",
        kid=context.roster.witness_id,
        date=lambda _decision: now,
    )
    state = context.attempts.load(decision.attempt)
    if state is None:
        context.attempts.forget_key(decision.attempt)  # pieces of a slice that it never accepted
        return Parcel({"attempt": decision.attempt})
    if decision.decision == "released":
        context.attempts.save(state.release(decision.h))
    else:
        voided = state.void(decision.h)
        standing = {each.attempt for each in context.ledger.charges() if not each.refunded}
        if decision.attempt in standing:
            context.ledger.refund(decision.attempt, decision.h)
        context.attempts.save(voided)
    context.attempts.forget_key(decision.attempt)
    return Parcel({"attempt": decision.attempt})


def accepted_before(context: TrainingContext, recorded: NodeAttempt, cosignature: Cosignature) -> Parcel:
    """T1 asked again: the same acceptance, as long as the attempt has not gone on; AttemptError otherwise."""
    token = context.attempts.blob(recorded.attempt, "acceptance")
    if recorded.h != cosignature.h or recorded.phase != "accepted" or token is None:
        raise AttemptError(
            f"attempt {recorded.attempt} was accepted before under another manifest, or has gone on",
            field="attempt",
            remedy="an attempt's id is never used twice; start a new attempt",
        )
    return Parcel({"acceptance": token.decode()})


def load_state(context: TrainingContext, attempt: str) -> NodeAttempt:
    """The attempt's state; AttemptError where it was never accepted here."""
    state = context.attempts.load(attempt)
    if state is None:
        raise AttemptError(
            f"attempt {attempt} was not accepted here", field="attempt", remedy="begin with T1 of a new attempt"
        )
    return state


def _open(context: TrainingContext, attempt: str) -> _Open:
    """State and terms of an attempt, as T1 stored them."""
    state = load_state(context, attempt)
    token = context.attempts.blob(attempt, "terms")
    if token is None:
        raise out_of_order(state, "this step")
    checked = read_terms(token.decode(), context.roster)
    return _Open(checked, state, FrozenRows(context.attempts, context.party_id, context.kind, checked))


def _freeze(
    context: TrainingContext, checked: CheckedTerms, frozen: FrozenRows, last: NodeSlice, parcel: Parcel
) -> tuple[list[bytes], BinCounts]:
    """T1: checks every block's merchants and consents, and keeps its rows; the hash of each block, and rows per bin."""
    hashes: list[bytes] = []
    counts = BinCounts(checked.schema.widths(context.kind))
    merchant, row = b"", 0
    for block, piece in frozen.pieces(last):
        merchant = check_merchants(checked, piece, block, merchant)
        check_consents(context, checked, piece)
        codes, outcome = own_rows(context, checked, piece, parcel)
        hashes.append(frozen.freeze(block, piece, row, codes, outcome))
        counts.add(codes)
        row += len(piece.positions)
    return hashes, counts


def _mask(
    context: TrainingContext,
    attempt: _Open,
    accepted: Mapping[str, Acceptance],
    state: NodeAttempt,
    seed: bytes,
    block: int,
) -> tuple[NodeAttempt, dict[str, Array]]:
    """T2: the state after a block's rows, and the boxes with them; the state is durable before they leave."""
    frozen = attempt.frozen.load(block)
    X, matrix = attempt.frozen.matrix(state, block, frozen)
    key = stream_key(seed, h=state.h, attempt=state.attempt, node=context.party_id)
    M = mask_rows(X, key, first_row=frozen.first_row)
    exchanged = state.exchange(seed, matrix_sha256=matrix, rows_sha256=rows_sha256(M), block=block)
    party, identity = context.party_id, context.identity
    boxes = {
        f"to.{peer}": as_array(
            seal_rows(
                RowsTrip(state.attempt, state.h, party, peer, block, state.blocks, due.positions),
                masked_for(M, frozen.positions, due.positions),
                identity,
                accepted[peer].key,
            )
        )
        for peer, due in frozen.expected.items()
    }
    return exchanged, boxes


def _count(context: TrainingContext, attempt: _Open, parcel: Parcel, seed: bytes, block: int) -> NDArray[np.uint32]:
    """T3: the cells of all blocks up to this one, whose inbox is exactly what the slice implies."""
    state, checked = attempt.state, attempt.checked
    frozen = attempt.frozen.load(block)
    X, _ = attempt.frozen.matrix(state, block, frozen)
    key = context.attempts.key(state.attempt)
    received: dict[str, ReceivedRows] = {}
    for sender, name in parcel.names("from.").items():
        due = frozen.expected.get(sender)
        if due is None:
            raise not_due(sender)
        trip = RowsTrip(state.attempt, state.h, sender, context.party_id, block, state.blocks, due.positions)
        sign_key = checked.terms.roster[checked.index_of(sender)].sign_key
        received[sender] = open_rows(trip, parcel.blob(name), key, sign_key)
    inbox = check_inbox(received, frozen.expected, checked.layout)
    stream = stream_key(seed, h=state.h, attempt=state.attempt, node=context.party_id)
    cells = node_cells(checked.layout, context.kind, X, stream, inbox, frozen.positions, first_row=frozen.first_row)
    before = context.attempts.blob(state.attempt, "cells") if block else None
    return cells if before is None else cells + _words(before)


def _term(
    context: TrainingContext, attempt: _Open, accepted: Mapping[str, Acceptance], cells: NDArray[np.uint32]
) -> bytes:
    """T3: the node's term of the sum, recorded with its charge."""
    state, checked, terms = attempt.state, attempt.checked, attempt.checked.terms
    grid = checked.grid
    return record_term(
        context,
        state,
        terms,
        cells * grid.scales(checked.layout),
        grid.share(checked.layout),
        accepted=accepted,
        key=context.attempts.key(state.attempt),
        bound=grid.bound,
    )


def _open_seed(context: TrainingContext, state: NodeAttempt, key: BoxKey, sealed: bytes) -> bytes:
    """The witness's seed. Whoever chose it, and has a counterpart's masked rows, has the rows: so it must be signed."""
    roster = context.roster
    bound = context_bytes(**seed_context(state.h, state.attempt, roster.witness_id, context.party_id))
    token = open_sealed(sealed, key, context=bound).decode("ascii", "replace")
    signed = verify_bytes(token, roster.witness_keys, typ="seed", kid=roster.witness_id, moment=context.clock())
    if len(signed) != len(bound) + _SEED_BYTES or not signed.startswith(bound):
        raise ManifestError(
            "the seed is of another attempt, manifest or node", field="seed", remedy="refuse the attempt"
        )
    return signed[len(bound) :]


def shared(context: TrainingContext, state: NodeAttempt) -> Parcel:
    """The recorded term and its receipt; the same however often it is asked for."""
    term = state.repeat(state.h)
    receipt = Receipt(
        suite=SUITE, attempt=state.attempt, h=state.h, party_id=context.party_id, sha256=state.receipt_sha256()
    )
    token = sign_model(receipt, context.identity, typ="receipt", kid=context.party_id)
    return Parcel({"receipt": token}, {"term": _words(term)})


def keep_once(context: TrainingContext, attempt: str, name: str, data: bytes) -> None:
    """Stores a message's part once; another one later is refused."""
    known = context.attempts.blob(attempt, name)
    if known is not None and known != data:
        raise AttemptError(f"other {name} than before", field=name, remedy="start a new attempt")
    if known is None:
        context.attempts.save_blob(attempt, name, data)


def _words(data: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)


def out_of_order(state: NodeAttempt, step: str) -> AttemptError:
    """The refusal of a step that is not the next one."""
    return AttemptError(
        f"{step} is not possible: attempt {state.attempt} is {state.phase}",
        field="phase",
        remedy="follow the order of the protocol, or start a new attempt",
    )
