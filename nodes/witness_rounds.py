"""The witness in encoder rounds: its term of a try, in the same trip as the nodes' (docs/protocol.md, 3 and 5).

It waits for no receipts and there is no void: a try's term counts as released when it is sent, and all charged tries
are paid for by the first. A try is opened on the parameters that its order names: they enter the masks, so that only
terms of nodes which took their gradients at these very parameters open with this one.
"""

from __future__ import annotations

import numpy as np

from crypto.attempts import WitnessAttempt
from crypto.canonical import digest
from crypto.parcel import Parcel
from crypto.round_grid import encoder_terms, mask_id, try_id
from crypto.secure_sum import witness_term
from crypto.wire.campaign import Acceptance, RoundOrder
from nodes.rounds_check import check_tries, is_try_of, read_order, unpaid_mechanisms
from nodes.terms_check import CheckedTerms, read_acceptances, read_terms
from nodes.witness_attempts import WitnessRecord
from nodes.witness_stage import WitnessContext, key_of, load_record


def release_round(context: WitnessContext, parcel: Parcel) -> Parcel:
    """E2: minus the witness's masks with every node, for one try; the same bytes when it is asked again.

    Raises:
        CryptoError, NodeError: the order is not the hub's, acceptances are not all of this run, all charged tries are
            used, or the programme's budget is.
    """
    record = load_record(context, parcel.text("attempt"))
    checked = read_terms(record.terms, context.roster)
    order = read_order(parcel.text("order"), context.roster, checked, record.state.h, context.clock())
    attempt = try_id(order)
    known = context.attempts.load(attempt)
    recorded = None if known is None else known.state
    state = record.state
    if recorded is None or recorded.term is None:
        accepted, state = _accepted(context, record, checked, parcel.text("acceptances").split())
    opened = WitnessAttempt.open_round(state, attempt, order.parameters_sha256, recorded=recorded)
    if recorded is None:
        _check_tries(context, checked, order)
        context.attempts.create(WitnessRecord(opened, record.campaign_id, record.terms, (), None))
    if opened.term is None:
        opened = opened.release(_pay(context, checked, record, attempt, _term(record, checked, order, accepted)))
        context.attempts.save(opened)
    return Parcel(arrays={"term": np.frombuffer(opened.term or b"", dtype="<u8").astype(np.uint64, copy=False)})


def finish(context: WitnessContext, parcel: Parcel) -> Parcel:
    """E3: forgets the run's key."""
    attempt = parcel.text("attempt")
    record = context.attempts.load(attempt)
    if record is not None and record.state.sort == "round":
        context.attempts.save(record.state, forget_key=True)
    return Parcel({"attempt": attempt})


def _accepted(
    context: WitnessContext, record: WitnessRecord, checked: CheckedTerms, tokens: list[str]
) -> tuple[dict[str, Acceptance], WitnessAttempt]:
    """Every node's acceptance: recorded with the first try, the same ones in all others."""
    accepted = read_acceptances(tokens, checked, record.state.h)
    run = record.state
    for token, party in zip(tokens, accepted, strict=True):
        run = run.accept(party, run.h, digest(token.encode()))
    if run != record.state:
        context.attempts.save(run)
    return accepted, run


def _check_tries(context: WitnessContext, checked: CheckedTerms, order: RoundOrder) -> None:
    campaign = context.attempts.attempts(checked.terms.campaign_id)
    check_tries(sum(is_try_of(order.attempt, each) for each in campaign), order, checked)


def _term(record: WitnessRecord, checked: CheckedTerms, order: RoundOrder, accepted: dict[str, Acceptance]) -> bytes:
    term = witness_term(
        None,
        box=key_of(record),
        nodes={party: each.key for party, each in accepted.items()},
        h=record.state.h,
        attempt=mask_id(order),
        n=encoder_terms(checked.terms).parameters,
        width=64,
    )
    return term.astype("<u8", copy=False).tobytes()


def _pay(context: WitnessContext, checked: CheckedTerms, record: WitnessRecord, attempt: str, term: bytes) -> bytes:
    """The term as the ledger has it: bytes and charge in one transaction, before they leave."""
    terms = checked.terms
    mechanisms = unpaid_mechanisms(context.ledger, terms.campaign_id, terms.attempt, terms.privacy.mechanisms)
    return context.ledger.record_send(
        campaign_id=terms.campaign_id,
        attempt=attempt,
        h=record.state.h,
        payload=term,
        mechanisms=mechanisms,
        delta_sum=terms.privacy.delta_sum if mechanisms else 0.0,
    )
