"""The encoder stage at a node: one try of a round of DP-SGD (docs/protocol.md, 5).

E1  T0 and T1 are those of the scorecard stage, once for the whole run: `nodes.table_stage.accept` freezes the rows.
E2  The hub's signed order and the parameters → clipped, rounded gradients of the frozen rows, summed; the noise share;
    masks under the run's key, bound to this try. Recorded with its charge, then sent.
E3  The run is over: its key and rows are forgotten.

attempt = (round, try). A try has one order: asked again it gives the same bytes, other parameters are refused. Masks
and receipt name the parameters by their hash, so that nobody can have gradients taken elsewhere and count them here.
The first send pays for all charged tries; a try beyond them is refused. The witness's term of a try counts as released
when it is sent, so nothing is ever refunded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypto.attempts import NodeAttempt
from crypto.canonical import digest
from crypto.errors import AttemptError, ManifestError
from crypto.jws import sign_model
from crypto.parcel import Parcel
from crypto.round_grid import mask_id, terms_rounds, try_id
from crypto.secure_sum import mask_vector
from crypto.wire.base import SUITE
from crypto.wire.campaign import Acceptance, RoundOrder, RoundReceipt
from models.codes import ABSENT
from models.encoder_step import parameter_bytes
from models.sampling import poisson_sample
from nodes.frozen import all_rows
from nodes.rounds_check import check_tries, is_try_of, read_order, read_spec, unpaid_mechanisms
from nodes.table_stage import keep_once
from nodes.terms_check import CheckedTerms, read_acceptances, read_terms
from nodes.training_context import TrainingContext

_ACCEPTANCES = "acceptances"


def train_round(context: TrainingContext, parcel: Parcel) -> Parcel:
    """E2: this node's term of one try, and its receipt, with which the witness makes the encoder again.

    Raises:
        AttemptError: the run was not accepted here, the try had other parameters, or all tries are used.
        CryptoError, ModelsError, NodeError: the order is not the hub's, or rows or sums are out of range.
    """
    run, checked = _run(context, parcel.text("attempt"))
    order = read_order(parcel.text("order"), context.roster, checked, run.h, context.clock())
    parameters = parcel.array("parameters", np.float64, 1)
    if order.parameters_sha256 != digest(parameter_bytes(parameters)):
        raise ManifestError("the parameters are not those of the order", field="parameters", remedy="refuse the round")
    accepted = _peers(context, run, checked, parcel.text(_ACCEPTANCES).split())
    opened = _open(context, run, order, checked)
    if opened.phase == "accepted":
        opened = _send(context, run, checked, order, opened, _gradient(context, run, checked, parameters), accepted)
    receipt = RoundReceipt(
        suite=SUITE,
        attempt=opened.attempt,
        h=run.h,
        party_id=context.party_id,
        sha256=opened.receipt_sha256(),
        parameters_sha256=order.parameters_sha256,
    )
    token = sign_model(receipt, context.identity, typ="round-receipt", kid=context.party_id)
    term = np.frombuffer(opened.repeat(run.h), dtype="<u8").astype(np.uint64, copy=False)
    return Parcel({"receipt": token}, {"term": term})


def finish(context: TrainingContext, parcel: Parcel) -> Parcel:
    """E3: forgets the run's key and rows. A hub that says so too early only ends its own training."""
    attempt = parcel.text("attempt")
    state = context.attempts.load(attempt)
    if state is not None and state.sort == "round":
        context.attempts.forget_key(attempt)
    return Parcel({"attempt": attempt})


def _run(context: TrainingContext, attempt: str) -> tuple[NodeAttempt, CheckedTerms]:
    run = context.attempts.load(attempt)
    terms = context.attempts.blob(attempt, "terms")
    if run is None or run.sort != "round" or terms is None:
        raise AttemptError(
            f"no encoder run {attempt} is open here",
            field="attempt",
            remedy="begin with T1 of a new attempt; a run that has ended is not taken up again",
        )
    return run, read_terms(terms.decode(), context.roster)


def _peers(
    context: TrainingContext, run: NodeAttempt, checked: CheckedTerms, tokens: list[str]
) -> dict[str, Acceptance]:
    """All acceptances of the run: the same ones in every round, and this node's own key among them."""
    accepted = read_acceptances(tokens, checked, run.h)
    if accepted[context.party_id].key != context.attempts.key(run.attempt).public:
        raise ManifestError(
            "the acceptances hold another key of this node", field=context.party_id, remedy="start a new attempt"
        )
    keep_once(context, run.attempt, _ACCEPTANCES, " ".join(tokens).encode())
    return accepted


def _open(context: TrainingContext, run: NodeAttempt, order: RoundOrder, checked: CheckedTerms) -> NodeAttempt:
    """The try's state. What was asked is durable before any noise is drawn: one order per try, whatever follows."""
    attempt = try_id(order)
    recorded = context.attempts.load(attempt)
    opened = NodeAttempt.open_round(run, attempt, order.parameters_sha256, recorded=recorded)
    if recorded is None:
        check_tries(sum(is_try_of(run.attempt, each) for each in context.attempts.tries(run.attempt)), order, checked)
        context.attempts.save(opened)
    return opened


def _gradient(
    context: TrainingContext, run: NodeAttempt, checked: CheckedTerms, parameters: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(P,) sum of clipped gradients of the frozen rows, in grid units."""
    # Torch is loaded by the first round: nodes that train no encoder never do.
    from models.dpsgd import clipped_gradient_sum  # noqa: PLC0415
    from models.encoder import build, choose_device, set_parameters  # noqa: PLC0415

    (codes, outcome), spec = all_rows(context.attempts, checked), read_spec(checked)
    module = build(spec)
    set_parameters(module, parameters)
    # Coins are tossed anew until the try is sent, and never leave: who took part is nobody's to know.
    taking_part = poisson_sample(len(codes), spec.sampling_rate, context.coins)
    # An absent merchant has no label and weighs nothing, but keeps its place: see `models.dpsgd`.
    codes = np.where(codes == ABSENT, np.uint8(0), codes)
    return clipped_gradient_sum(
        module,
        codes,
        outcome,
        clip=spec.clip,
        grid=spec.grid,
        taking_part=taking_part,
        device=choose_device(context.device),
    )


def _send(
    context: TrainingContext,
    run: NodeAttempt,
    checked: CheckedTerms,
    order: RoundOrder,
    opened: NodeAttempt,
    values: NDArray[np.int64],
    accepted: dict[str, Acceptance],
) -> NodeAttempt:
    grid, terms = terms_rounds(checked.terms), checked.terms
    term = mask_vector(
        values,
        grid.share(),
        me=context.party_id,
        box=context.attempts.key(run.attempt),
        peers={party: each.key for party, each in accepted.items() if party != context.party_id},
        witness_public=run.witness_key,
        h=run.h,
        attempt=mask_id(order),
        width=64,
        bound=grid.bound,
    )
    mechanisms = unpaid_mechanisms(context.ledger, terms.campaign_id, run.attempt, terms.privacy.mechanisms)
    # Write before send, as in T3: after a crash the ledger's bytes count, not these.
    payload = context.ledger.record_send(
        campaign_id=terms.campaign_id,
        attempt=opened.attempt,
        h=run.h,
        payload=term.astype("<u8", copy=False).tobytes(),
        mechanisms=mechanisms,
        delta_sum=terms.privacy.delta_sum if mechanisms else 0.0,
    )
    sent = opened.send(payload)
    context.attempts.save(sent)
    return sent
