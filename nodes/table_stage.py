"""The scorecard stage at a node: T1 accept, T2 exchange, T3 share, T4 outcome (docs/protocol.md, 4).

Each step takes the message's parcel and gives the reply's. What a reply permits is durable before it is returned; a
step asked again repeats its answer or refuses. Refusals are raised as typed errors; `nodes.training` signs them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import numpy as np
from numpy.typing import NDArray

from crypto.attempts import NodeAttempt
from crypto.canonical import digest
from crypto.errors import AttemptError, CryptoError, ExchangeError, ManifestError
from crypto.jws import sign_model, verify, verify_model
from crypto.keys import BoxKey
from crypto.manifest import (
    SALT_BYTES,
    NodeSlice,
    expected_inbox,
)
from crypto.parcel import Array, Parcel, array_fields, array_from_fields, as_array
from crypto.sealed import context_bytes, open_sealed, seal
from crypto.secure_sum import mask_vector
from crypto.secure_tables import (
    Expected,
    ReceivedRows,
    check_inbox,
    check_one_hot,
    mask_rows,
    masked_for,
    matrix_sha256,
    node_cells,
    positions_sha256,
    rows_sha256,
    stream_key,
)
from crypto.slices import read_slice
from crypto.wire.base import SUITE
from crypto.wire.campaign import Acceptance, Cosignature, Decision, Receipt, RowsHeader
from models.bins import one_hot
from nodes.acceptance import (
    attempt_key,
    check_consents,
    check_encoders,
    check_manifest,
    check_merchants,
    own_rows,
    read_cosignature,
    rules_of,
)
from nodes.rounds_check import check_rounds_privacy
from nodes.terms_check import CheckedTerms, check_terms, read_acceptances, read_terms, seed_context
from nodes.training_context import Codes, TrainingContext

_LENGTH = 4
_SEED_BYTES = 32
_COUNTERPART = "counterpart."


@dataclass(frozen=True)
class _Frozen:
    """What a node keeps of an attempt between its steps."""

    checked: CheckedTerms
    state: NodeAttempt
    positions: NDArray[np.uint32]
    expected: Mapping[str, Expected]
    X: Codes


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
        return _accepted_before(context, recorded, cosignature)
    check_terms(checked, context.roster, rules_of(context), context.clock())
    if terms.stage == "encoder":
        check_rounds_privacy(checked)
    own = read_slice(parcel, context.kind, [each.kind for each in terms.kinds])
    check_manifest(context, checked, own, cosignature.h, parcel)
    check_merchants(checked, own)
    check_consents(context, checked, own)
    check_encoders(context, checked, parcel)
    codes, outcome = own_rows(context, checked, own, parcel)
    X = one_hot(codes, checked.layout.blocks(context.kind).widths, outcome)
    context.ledger.check(
        terms.campaign_id, terms.privacy.mechanisms, stage=terms.stage, delta_sum=terms.privacy.delta_sum
    )
    context.campaigns.settle(terms)

    frozen = matrix_sha256(X, own.positions)
    key = attempt_key(context, terms.attempt)
    # A node with few merchants could be guessed from an unsalted hash.
    salt = secrets.token_bytes(SALT_BYTES)
    acceptance = Acceptance(
        suite=SUITE,
        attempt=terms.attempt,
        h=cosignature.h,
        party_id=context.party_id,
        key=key.public,
        matrix_hash=digest(salt + frozen),
    )
    token = sign_model(acceptance, context.identity, typ="acceptance", kid=context.party_id)
    arrays: dict[str, Array] = {"positions": own.positions, "codes": codes}
    if outcome is not None:
        arrays["outcome"] = outcome
    arrays |= {f"{_COUNTERPART}{kind}": index for kind, index in own.counterparts.items()}
    context.attempts.save_blob(terms.attempt, "frozen", _pack(arrays))
    context.attempts.save_blob(terms.attempt, "terms", parcel.text("terms").encode())
    context.attempts.save_blob(terms.attempt, "salt", salt)
    context.attempts.save_blob(terms.attempt, "acceptance", token.encode())
    context.attempts.save(
        NodeAttempt.accept(
            terms.attempt,
            cosignature.h,
            matrix_sha256=frozen,
            charge=terms.privacy.epsilon,
            witness_key=cosignature.witness_key,
            sort="round" if terms.stage == "encoder" else "tables",
        )
    )
    return Parcel({"acceptance": token})


def exchange(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T2: masks the frozen matrix under the witness's seed and seals to every counterpart the rows both hold.

    Raises:
        CryptoError, NodeError: acceptances are not all of this manifest, the seed does not open or is not signed by
            the witness, or the attempt is not at this step.
    """
    frozen = _load(context, parcel.text("attempt"))
    checked, state = frozen.checked, frozen.state
    tokens = parcel.text("acceptances").split()
    accepted = read_acceptances(tokens, checked, state.h)
    key = context.attempts.key(state.attempt)
    if accepted[context.party_id].key != key.public:
        raise ManifestError(
            "the acceptances hold another key of this node", field=context.party_id, remedy="start a new attempt"
        )
    keep_once(context, state.attempt, "acceptances", " ".join(tokens).encode())
    seed = _open_seed(context, state, key, parcel.blob("seed"))
    M = mask_rows(frozen.X, stream_key(seed, h=state.h, attempt=state.attempt, node=context.party_id))
    exchanged = state.exchange(
        seed, matrix_sha256=matrix_sha256(frozen.X, frozen.positions), rows_sha256=rows_sha256(M)
    )
    context.attempts.save_blob(state.attempt, "seed", seed)
    context.attempts.save(exchanged)

    sealed: dict[str, Array] = {}
    for peer, due in frozen.expected.items():
        rows = masked_for(M, frozen.positions, due.positions)
        header = RowsHeader(
            suite=SUITE,
            attempt=state.attempt,
            h=state.h,
            sender=context.party_id,
            receiver=peer,
            positions_sha256=positions_sha256(due.positions),
            rows_sha256=rows_sha256(rows),
            rows=rows.shape[0],
            columns=rows.shape[1],
        )
        token = sign_model(header, context.identity, typ="rows", kid=context.party_id).encode()
        plain = b"".join([len(token).to_bytes(_LENGTH, "little"), token, rows.astype("<u4", copy=False).tobytes()])
        bound = _rows_context(state, context.party_id, peer, due)
        sealed[f"to.{peer}"] = as_array(seal(plain, accepted[peer].key, context=bound))
    return Parcel(arrays=sealed)


def share(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T3: checks the inbox, computes own cells, adds noise and masks; records bytes and charge, then answers.

    Raises:
        ExchangeError: the inbox is not exactly what the slice implies; `field` is the sender.
        CryptoError, NodeError: the attempt is not at this step, or the ledger refuses.
    """
    attempt = parcel.text("attempt")
    state = _state(context, attempt)
    if state.sent is not None:
        return _shared(context, state)
    if state.phase != "exchanged":
        raise _out_of_order(state, "a share")
    frozen = _load(context, attempt)
    checked, terms = frozen.checked, frozen.checked.terms
    key = context.attempts.key(attempt)
    seed = context.attempts.blob(attempt, "seed")
    tokens = context.attempts.blob(attempt, "acceptances")
    if seed is None or tokens is None:
        raise _out_of_order(state, "a share")
    accepted = read_acceptances(tokens.decode().split(), checked, state.h)
    received = {
        sender: _open_rows(context, frozen, key, sender, parcel.blob(name))
        for sender, name in parcel.names("from.").items()
    }
    inbox = check_inbox(received, frozen.expected, checked.layout)
    stream = stream_key(seed, h=state.h, attempt=attempt, node=context.party_id)
    cells = node_cells(checked.layout, context.kind, frozen.X, stream, inbox, frozen.positions)
    grid = checked.grid
    cells *= grid.scales(checked.layout)
    term = mask_vector(
        cells,
        grid.share(checked.layout),
        me=context.party_id,
        box=key,
        peers={party: each.key for party, each in accepted.items() if party != context.party_id},
        witness_public=state.witness_key,
        h=state.h,
        attempt=attempt,
        width=32,
        bound=grid.bound,
    )
    # Write before send: bytes and charge in one transaction. After a crash the ledger's bytes count, not these.
    payload = context.ledger.record_send(
        campaign_id=terms.campaign_id,
        attempt=attempt,
        h=state.h,
        payload=term.astype("<u4", copy=False).tobytes(),
        mechanisms=terms.privacy.mechanisms,
        delta_sum=terms.privacy.delta_sum,
    )
    sent = state.send(payload)
    context.attempts.save(sent)
    return _shared(context, sent)


def outcome(context: TrainingContext, parcel: Parcel) -> Parcel:
    """T4: the witness's decision: keeps the charge, or takes it back on a void of the node's own manifest.

    Raises:
        SignatureError: not signed by the witness.
        AttemptError: it names another manifest, or contradicts an earlier decision.
    """
    decision = verify_model(
        parcel.text("decision"),
        context.roster.witness_sign_key,
        Decision,
        typ="decision",
        kid=context.roster.witness_id,
    )
    state = context.attempts.load(decision.attempt)
    if state is None:
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


def _accepted_before(context: TrainingContext, recorded: NodeAttempt, cosignature: Cosignature) -> Parcel:
    token = context.attempts.blob(recorded.attempt, "acceptance")
    if recorded.h != cosignature.h or recorded.phase != "accepted" or token is None:
        raise AttemptError(
            f"attempt {recorded.attempt} was accepted before under another manifest, or has gone on",
            field="attempt",
            remedy="an attempt's id is never used twice; start a new attempt",
        )
    return Parcel({"acceptance": token.decode()})


def _state(context: TrainingContext, attempt: str) -> NodeAttempt:
    state = context.attempts.load(attempt)
    if state is None:
        raise AttemptError(
            f"attempt {attempt} was not accepted here", field="attempt", remedy="begin with T1 of a new attempt"
        )
    return state


def _load(context: TrainingContext, attempt: str) -> _Frozen:
    """State and frozen inputs of an attempt, as T1 stored them."""
    state = _state(context, attempt)
    token, packed = context.attempts.blob(attempt, "terms"), context.attempts.blob(attempt, "frozen")
    if token is None or packed is None:
        raise _out_of_order(state, "this step")
    checked = read_terms(token.decode(), context.roster)
    arrays = unpack_arrays(packed)
    own = NodeSlice(
        kind=context.kind,
        positions=arrays["positions"],
        pseudonyms=np.zeros((0, 32), dtype=np.uint8),
        counterparts={
            name.removeprefix("counterpart."): index
            for name, index in arrays.items()
            if name.startswith("counterpart.")
        },
    )
    widths = checked.layout.blocks(context.kind).widths
    X = one_hot(arrays["codes"], widths, arrays.get("outcome"))
    check_one_hot(X, widths, outcomes="outcome" in arrays)
    expected = expected_inbox(context.party_id, own, checked.roster)
    return _Frozen(checked, state, own.positions, expected, X)


def _open_seed(context: TrainingContext, state: NodeAttempt, key: BoxKey, sealed: bytes) -> bytes:
    """The witness's seed. Whoever chose it, and has a counterpart's masked rows, has the rows: so it must be signed."""
    roster = context.roster
    bound = context_bytes(**seed_context(state.h, state.attempt, roster.witness_id, context.party_id))
    token = open_sealed(sealed, key, context=bound).decode("ascii", "replace")
    signed = verify(token, roster.witness_sign_key, typ="seed", kid=roster.witness_id)
    if len(signed) != len(bound) + _SEED_BYTES or not signed.startswith(bound):
        raise ManifestError(
            "the seed is of another attempt, manifest or node", field="seed", remedy="refuse the attempt"
        )
    return signed[len(bound) :]


def _open_rows(context: TrainingContext, frozen: _Frozen, key: BoxKey, sender: str, sealed: bytes) -> ReceivedRows:
    """Opens one sender's box and verifies its signed header; `check_inbox` compares hashes and shapes."""
    due = frozen.expected.get(sender)
    state = frozen.state
    try:
        if due is None:
            raise ExchangeError("superfluous rows", field=sender)
        plain = open_sealed(sealed, key, context=_rows_context(state, sender, context.party_id, due))
        end = _LENGTH + int.from_bytes(plain[:_LENGTH], "little")
        entry = frozen.checked.terms.roster[frozen.checked.index_of(sender)]
        header = verify_model(plain[_LENGTH:end].decode("ascii"), entry.sign_key, RowsHeader, typ="rows", kid=sender)
        rows = (
            np.frombuffer(plain[end:], dtype="<u4").astype(np.uint32, copy=False).reshape(header.rows, header.columns)
        )
        named = (header.attempt, header.h, header.sender, header.receiver)
        if named != (state.attempt, state.h, sender, context.party_id):
            raise ExchangeError("a header of another exchange", field=sender)
    except (CryptoError, ValueError) as refused:
        raise ExchangeError(
            f"the rows of {sender} do not open, are not signed by it, or were not due",
            field=sender,
            remedy="refuse the attempt; an inexact inbox would disclose rows",
        ) from refused
    return ReceivedRows(due.positions, rows, header.positions_sha256, header.rows_sha256)


def _rows_context(state: NodeAttempt, sender: str, receiver: str, due: Expected) -> bytes:
    fields = {"step": "rows", "attempt": state.attempt, "from": sender, "to": receiver}
    return context_bytes(**fields, h=state.h, positions=positions_sha256(due.positions))


def _shared(context: TrainingContext, state: NodeAttempt) -> Parcel:
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


def _out_of_order(state: NodeAttempt, step: str) -> AttemptError:
    return AttemptError(
        f"{step} is not possible: attempt {state.attempt} is {state.phase}",
        field="phase",
        remedy="follow the order of the protocol, or start a new attempt",
    )


def _pack(arrays: Mapping[str, Array]) -> bytes:
    packed: bytes = msgpack.packb({name: array_fields(array) for name, array in arrays.items()})
    return packed


def unpack_arrays(data: bytes) -> dict[str, Array]:
    """Arrays as they were frozen at acceptance."""
    stored = msgpack.unpackb(data)
    return {name: array_from_fields(*fields) for name, fields in stored.items()}
