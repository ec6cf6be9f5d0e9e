"""The witness in a campaign: T0 cosign, T1′ seeds, T3′ release, T4 void (docs/protocol.md, 3 and 4).

It sees which node holds which pseudonym, seeds and the noisy table; never a row. Its state is durable before anything
that it permits leaves: one h per attempt, one set of seeds, one term or one void.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.attempts import Sort, WitnessAttempt
from crypto.blocks import terms_blocks
from crypto.canonical import digest
from crypto.count_trees import plain_sum
from crypto.errors import AttemptError
from crypto.jws import sign, sign_model, verify_model
from crypto.keys import BoxKey, Signer
from crypto.manifest import NodeSlice, manifest_root, salted_slice_hash
from crypto.parcel import Array, Parcel, as_array
from crypto.sealed import context_bytes, seal
from crypto.secure_sum import open_sum, witness_term
from crypto.secure_tables import SeededNode, stream_key, witness_cells
from crypto.slices import read_block, read_slice, slice_bytes
from crypto.wire.base import SUITE
from crypto.wire.campaign import Cosignature, Decision, Receipt, Stage
from nodes.bins_check import check_bins, check_settled
from nodes.campaign_rules import CampaignRules
from nodes.clock import Clock, system_clock
from nodes.evaluation_check import check_evaluation
from nodes.ledger import Ledger
from nodes.rounds_check import check_rounds_privacy
from nodes.statistics_check import STATISTICS, check_statistics
from nodes.terms_check import CheckedTerms, OwnRules, check_terms, read_acceptances, read_terms, seed_context
from nodes.training_context import RosterLookup
from nodes.witness.budget import check_stage_unreleased
from nodes.witness_attempts import WitnessAttemptStore, WitnessRecord
from nodes.witness_slices import check_block, check_cohort

_SEED_BYTES = 32
_SORTS: dict[Stage, Sort] = {
    "bins": "sum",
    "encoder": "round",
    "scorecard": "tables",
    "evaluation": "sum",
    "statistics": "tables",
}


@dataclass(frozen=True)
class WitnessContext:
    """The witness in training.

    Attributes:
        ledger: programme-wide: every campaign that it released, over all nodes (a merchant who changes banks would
            escape the nodes' own ledgers).
        campaigns: what must stay the same in all attempts of a campaign.
        min_t_collude, insecure_noise_off: its owner's rules, as at a node.
    """

    party_id: str
    identity: Signer
    ledger: Ledger
    attempts: WitnessAttemptStore
    campaigns: CampaignRules
    roster: RosterLookup
    clock: Clock = system_clock
    min_t_collude: int = 1
    insecure_noise_off: bool = False


@dataclass(frozen=True)
class OpenedAttempt:
    """A released attempt, opened again from its shares: what the model is to be re-fitted from.

    Attributes:
        checked: the terms.
        counts: (n_cells,) noisy counts in the order of the layout.
    """

    checked: CheckedTerms
    counts: NDArray[np.float64]


def take_pieces(context: WitnessContext, parcel: Parcel) -> Parcel:
    """Before T0, where the cohort has more than one block: all nodes' slices of a block that is not the last.

    Raises:
        CryptoError, NodeError: not the hub's terms, or the pieces contradict each other.
    """
    checked = read_terms(parcel.text("terms"), context.roster)
    block = read_block(parcel)
    if context.attempts.load(checked.terms.attempt) is None:
        context.attempts.keep_block(checked.terms.attempt, block, check_block(checked, _pieces(checked, parcel), block))
    return Parcel({"block": str(block)})


def cosign(context: WitnessContext, parcel: Parcel) -> Parcel:
    """T0: checks terms and all slices, records and cosigns one h for this attempt.

    Raises:
        CryptoError, ModelsError, NodeError: whatever contradicts roster, terms, programme ledger or an earlier h.
    """
    checked = read_terms(parcel.text("terms"), context.roster)
    terms = checked.terms
    check_terms(checked, context.roster, OwnRules(context.min_t_collude, context.insecure_noise_off), context.clock())
    if terms.stage == "encoder":
        check_rounds_privacy(checked)
    elif terms.stage == "evaluation":
        check_evaluation(checked)
    elif terms.stage == "bins":
        check_bins(checked)
    elif terms.stage == STATISTICS:
        check_statistics(checked)
    check_settled(checked, context.roster, parcel, context.clock())
    last = terms_blocks(terms).count - 1
    kept = context.attempts.blocks(terms.attempt)
    blocks = check_cohort(checked, {**kept, last: check_block(checked, _pieces(checked, parcel), last)})
    salts = parcel.array("salts", np.uint8, 2)
    hashes = [
        salted_slice_hash(salts[index].tobytes(), slice_bytes(party, kind, [block.hashes[index] for block in blocks]))
        for index, (party, kind) in enumerate(checked.roster)
    ]
    h = manifest_root(checked.payload, hashes)
    recorded = context.attempts.load(terms.attempt)
    state = WitnessAttempt.cosign(
        terms.attempt,
        h,
        [party for party, _ in checked.roster],
        sort=_SORTS[terms.stage],
        recorded=None if recorded is None else recorded.state,
    )
    if recorded is None:
        check_stage_unreleased(context.ledger, terms)
        context.ledger.check(
            terms.campaign_id, terms.privacy.mechanisms, stage=terms.stage, delta_sum=terms.privacy.delta_sum
        )
        context.campaigns.settle(terms)
        positions = tuple(
            np.concatenate([block.positions[index] for block in blocks]) for index in range(len(checked.roster))
        )
        recorded = WitnessRecord(state, terms.campaign_id, parcel.text("terms"), positions, BoxKey.generate())
        context.attempts.create(recorded)
    cosignature = Cosignature(suite=SUITE, attempt=terms.attempt, h=h, witness_key=key_of(recorded).public)
    return Parcel({"cosignature": sign_model(cosignature, context.identity, typ="cosignature", kid=context.party_id)})


def seed(context: WitnessContext, parcel: Parcel) -> Parcel:
    """T1′: with every node's acceptance, one fresh seed per node, signed, and sealed to the node's key of this attempt.

    Raises:
        CryptoError, NodeError: acceptances are not all of this manifest, or the attempt is not at this step.
    """
    record = load_record(context, parcel.text("attempt"))
    state = record.state
    checked = read_terms(record.terms, context.roster)
    tokens = parcel.text("acceptances").split()
    accepted = read_acceptances(tokens, checked, state.h)
    for token, party in zip(tokens, accepted, strict=True):
        state = state.accept(party, state.h, digest(token.encode()))
    seeds = state.seeds or {party: secrets.token_bytes(_SEED_BYTES) for party in accepted}
    state = state.seed(seeds)
    context.attempts.save(state)
    sealed: dict[str, Array] = {}
    for party, each in accepted.items():
        bound = context_bytes(**seed_context(state.h, state.attempt, context.party_id, party))
        # A box says nothing about its sender: signed inside it, the seed cannot be the hub's own choice.
        token = sign(bound + seeds[party], context.identity, typ="seed", kid=context.party_id)
        sealed[f"seed.{party}"] = as_array(seal(token.encode(), each.key, context=bound))
    return Parcel(arrays=sealed)


def release(context: WitnessContext, parcel: Parcel) -> Parcel:
    """T3′: with every node's receipt, its own term of the sum and the signed `released`; charged to the programme.

    Raises:
        CryptoError, NodeError: a receipt is missing or of another manifest, the attempt is void, or the budget is
            spent.
    """
    record = load_record(context, parcel.text("attempt"))
    state = record.state
    if state.term is not None:
        return _released(context, state)
    checked = read_terms(record.terms, context.roster)
    terms = checked.terms
    receipts = parcel.text("receipts").split()
    if len(receipts) != len(terms.roster):
        raise AttemptError(
            f"{len(receipts)} receipts for {len(terms.roster)} nodes",
            field="receipts",
            remedy="a term is released only with every node's receipt; otherwise have the attempt voided",
        )
    if state.sort == "sum":  # without seeds, acceptances come with the receipts
        state = _accept_all(state, checked, parcel.text("acceptances").split())
    for token, entry in zip(receipts, terms.roster, strict=True):
        receipt = verify_model(token, entry.sign_key, Receipt, typ="receipt", kid=entry.party_id)
        if receipt.party_id != entry.party_id or receipt.attempt != state.attempt:
            raise AttemptError(
                f"a receipt of {entry.party_id} for another attempt", field=entry.party_id, remedy="void the attempt"
            )
        state = state.receive(entry.party_id, receipt.h, receipt.sha256)
    term = _term(context, record, checked, parcel)
    state = state.release(term)
    context.ledger.record_send(
        campaign_id=terms.campaign_id,
        attempt=state.attempt,
        h=state.h,
        payload=term,
        mechanisms=terms.privacy.mechanisms,
        delta_sum=terms.privacy.delta_sum,
    )
    context.attempts.save(state, forget_key=True)
    return _released(context, state)


def abort(context: WitnessContext, parcel: Parcel) -> Parcel:
    """T4: never a term for this attempt: the signed `void`, on which nodes take their charge back.

    Raises:
        AttemptError: it was released, or never cosigned here.
    """
    record = load_record(context, parcel.text("attempt"))
    state = record.state.void()
    context.attempts.save(state, forget_key=True)
    # Killed between its charge and its release, it has released nothing; a void attempt costs the programme nothing.
    if any(each.attempt == state.attempt and not each.refunded for each in context.ledger.charges()):
        context.ledger.refund(state.attempt, state.h)
    decision = Decision(suite=SUITE, attempt=state.attempt, h=state.h, decision="void")
    return Parcel({"decision": sign_model(decision, context.identity, typ="decision", kid=context.party_id)})


def open_attempt(context: WitnessContext, attempt: str, shares: Mapping[str, bytes]) -> OpenedAttempt:
    """Opens a released attempt again from the nodes' shares, checked against their receipts.

    Args:
        attempt: a released attempt.
        shares: party id → the exact bytes that it sent.

    Raises:
        AttemptError: not released here, or the shares are not those that the nodes' receipts name.
    """
    checked, _, terms = released_terms(context, attempt, shares)
    opened = open_sum(terms, bound=checked.grid.bound)
    return OpenedAttempt(checked, checked.grid.counts(checked.layout, opened))


def released_terms(
    context: WitnessContext, attempt: str, shares: Mapping[str, bytes]
) -> tuple[CheckedTerms, bytes, list[NDArray[np.uint32]]]:
    """Terms and root of a released attempt, and all parts of its sum, the witness's own among them.

    Args:
        attempt, shares: as in `open_attempt`, which raises likewise.
    """
    record = load_record(context, attempt)
    state = record.state
    named = {party: digest(data) for party, data in shares.items()}
    if state.term is None or named != state.receipts:
        raise AttemptError(
            f"the shares of attempt {attempt} are not those that its receipts name, or it was not released",
            field="shares",
            remedy="hand over the shares of a released attempt exactly as the nodes sent them",
        )
    parts = [np.frombuffer(data, dtype="<u4").astype(np.uint32) for data in (*shares.values(), state.term)]
    return read_terms(record.terms, context.roster), state.h, parts


def _pieces(checked: CheckedTerms, parcel: Parcel) -> dict[str, NodeSlice]:
    kinds = [each.kind for each in checked.terms.kinds]
    return {
        party: read_slice(parcel, kind, kinds, f"slice.{index}.") for index, (party, kind) in enumerate(checked.roster)
    }


def _accept_all(state: WitnessAttempt, checked: CheckedTerms, tokens: list[str]) -> WitnessAttempt:
    for token, party in zip(tokens, read_acceptances(tokens, checked, state.h), strict=True):
        state = state.accept(party, state.h, digest(token.encode()))
    return state


def _term(context: WitnessContext, record: WitnessRecord, checked: CheckedTerms, parcel: Parcel) -> bytes:
    """`A_kᵀA_l` of all pairs, scaled, minus the witness's mask with every node; of a plain sum these masks alone."""
    state = record.state
    accepted = read_acceptances(parcel.text("acceptances").split(), checked, state.h)
    for token, party in zip(parcel.text("acceptances").split(), accepted, strict=True):
        state.accept(party, state.h, digest(token.encode()))
    if state.sort == "sum":
        term = witness_term(
            None,
            box=key_of(record),
            nodes={party: each.key for party, each in accepted.items()},
            h=state.h,
            attempt=state.attempt,
            n=plain_sum(checked.terms)[0],
            width=32,
        )
        return term.astype("<u4", copy=False).tobytes()
    nodes = {
        party: SeededNode(kind, positions, stream_key(state.seeds[party], h=state.h, attempt=state.attempt, node=party))
        for (party, kind), positions in zip(checked.roster, record.positions, strict=True)
    }
    cells = witness_cells(checked.layout, nodes)
    cells *= checked.grid.scales(checked.layout)
    term = witness_term(
        cells,
        box=key_of(record),
        nodes={party: each.key for party, each in accepted.items()},
        h=state.h,
        attempt=state.attempt,
        n=checked.layout.n_cells,
        width=32,
    )
    return term.astype("<u4", copy=False).tobytes()


def _released(context: WitnessContext, state: WitnessAttempt) -> Parcel:
    term = state.term or b""
    decision = Decision(suite=SUITE, attempt=state.attempt, h=state.h, decision="released", term_sha256=digest(term))
    token = sign_model(decision, context.identity, typ="decision", kid=context.party_id)
    return Parcel({"decision": token}, {"term": np.frombuffer(term, dtype="<u4").astype(np.uint32, copy=False)})


def load_record(context: WitnessContext, attempt: str) -> WitnessRecord:
    """The witness's record of an attempt.

    Raises:
        AttemptError: it was never cosigned here.
    """
    record = context.attempts.load(attempt)
    if record is None:
        raise AttemptError(
            f"attempt {attempt} was not cosigned here", field="attempt", remedy="begin with T0 of a new attempt"
        )
    return record


def key_of(record: WitnessRecord) -> BoxKey:
    """The X25519 key of an attempt that has not ended.

    Raises:
        AttemptError: it has ended.
    """
    if record.key is None:
        raise AttemptError(f"attempt {record.state.attempt} has ended", field="attempt", remedy="start a new attempt")
    return record.key
