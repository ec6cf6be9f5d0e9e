"""The encoder stage at the hub: DP-SGD over a Flower grid, one trip a round (docs/protocol.md, 5).

E1  T0 and T1 once: manifest, cosignature, acceptances with the run's keys.
E2  Each round: parameters and a signed order to all nodes and the witness, in one trip; every node's masked term and
    the witness's add up to the noisy sum of clipped gradients; one step on it; a checkpoint, and with it the shares
    and receipts from which the witness makes the encoder again.
E3  The run is over: keys are forgotten.

A node that is lost in a round is asked once more for the same try, whose bytes it has on record. Then, once it is back,
the round is tried again under the next number: a further charged try. When these are used up the run ends.

No torch here: the step is post-processing of integers.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from crypto.canonical import digest
from crypto.dated import verify_any
from crypto.errors import CryptoError, SignatureError
from crypto.jws import sign_model, verify_model
from crypto.parcel import Parcel
from crypto.round_grid import RoundGrid, terms_rounds, try_id
from crypto.secure_sum import open_sum
from crypto.wire.base import SUITE
from crypto.wire.campaign import RosterEntry, RoundOrder, RoundReceipt, Terms
from crypto.wire.link import RoundShares
from hub.attempt_run import (
    AttemptRun,
    LostNodesError,
    check_quorum,
    obtain_acceptances,
    obtain_cosignature,
    refusers,
)
from hub.campaign_errors import EncoderTriesUsedError
from hub.campaign_plan import (
    CampaignPlan,
    CampaignStore,
    EncoderCheckpoint,
    Progress,
    ProgressCallback,
    TrainedEncoder,
)
from hub.cohort_course import CohortCourse
from hub.encoder_terms import EncoderBudget, encoder_attempt_terms
from hub.errors import HubError
from hub.grids.channel import Channel, Lost, Reply
from hub.manifests import build_manifest
from models.encoder_spec import EncoderSpec
from models.encoder_start import first_parameters
from models.encoder_step import apply_step, final_parameters, initial_state, parameter_bytes

Term = NDArray[np.uint64]


def run_encoder_stage(
    channel: Channel,
    plan: CampaignPlan,
    spec: EncoderSpec,
    budget: EncoderBudget,
    progress: ProgressCallback,
    store: CampaignStore,
    *,
    resume: EncoderCheckpoint | None = None,
) -> TrainedEncoder:
    """Trains the encoder of the label kind's nodes.

    Args:
        channel: the grid and who is behind it; the witness too.
        plan: the campaign.
        spec: the encoder.
        budget: from `hub.encoder_terms.encoder_budget`.
        progress: told every step.
        store: told the manifest and, after every round, where the run stands.
        resume: go on from here instead of beginning anew.

    Raises:
        QuorumError: too few nodes accept.
        EncoderTriesUsedError: nodes stay away until no further charged try is left.
        CampaignError: the witness refuses or is lost, or attempts are used up.
        NoiseError, RangeError: the terms cannot be made.
    """
    began = time.monotonic()
    seconds: dict[str, float] = {}
    checkpoint = resume or _begin(channel, plan, spec, budget, progress, store, began, seconds)
    rounds = _Rounds(channel, plan, spec, checkpoint, progress, began)
    start = time.monotonic()
    try:
        while checkpoint.state.step < spec.rounds:
            checkpoint, opened = rounds.advance(checkpoint, store)
            store.round_opened(checkpoint, opened)
    except HubError:  # the run ends for good: its keys need not be kept
        rounds.finish()
        raise
    seconds["round"] = time.monotonic() - start
    rounds.finish()
    return TrainedEncoder(
        terms=rounds.terms,
        h=checkpoint.h,
        parameters=final_parameters(spec, checkpoint.parameters, checkpoint.state),
        rounds=checkpoint.state.step,
        retries=checkpoint.retries,
        attempts=int(checkpoint.attempt.rpartition("/")[2]),
        seconds=seconds,
        lost={party: why for party, why in checkpoint.lost.items() if party not in rounds.nodes},
    )


def _begin(
    channel: Channel,
    plan: CampaignPlan,
    spec: EncoderSpec,
    budget: EncoderBudget,
    progress: ProgressCallback,
    store: CampaignStore,
    began: float,
    seconds: dict[str, float],
) -> EncoderCheckpoint:
    """E1: attempts until all nodes of one accept; nothing has been sent by then, so there is nothing to void."""
    kind = plan.schema.label.kind
    course = CohortCourse(channel, plan, "encoder", kind=kind)
    for number in course.numbers():
        cohort = course.cohort
        check_quorum(plan, cohort, course.lost, kinds=(kind,))
        terms = encoder_attempt_terms(plan, cohort, f"{plan.campaign_id}/encoder/{number}", spec, budget)
        run = AttemptRun(channel, plan, progress, build_manifest(terms, cohort, plan), began, seconds)
        try:
            cosignature = obtain_cosignature(run)
            store.manifest(run.attempt, run.manifest.h, run.manifest.token)
            acceptances = obtain_acceptances(run, cosignature)
        except LostNodesError as ended:
            store.lost(run.attempt, ended.lost)
            course.go_on(ended)
            continue
        checkpoint = EncoderCheckpoint(
            attempt=run.attempt,
            terms=run.manifest.token,
            h=run.manifest.h,
            acceptances=acceptances,
            parameters=first_parameters(spec, plan.schema, plan.start),
            state=initial_state(spec),
            retries=0,
            lost=course.lost,
        )
        store.round_opened(checkpoint, None)
        return checkpoint
    raise course.used_up()


class _Rounds:
    """E2 and E3 of one run."""

    def __init__(
        self,
        channel: Channel,
        plan: CampaignPlan,
        spec: EncoderSpec,
        checkpoint: EncoderCheckpoint,
        progress: ProgressCallback,
        began: float,
    ) -> None:
        self.terms = verify_any(checkpoint.terms, plan.identity.line, Terms, typ="terms", kid=plan.hub_id)
        self._channel = channel
        self._plan = plan
        self._spec = spec
        self._progress = progress
        self._began = began
        self.nodes = {entry.party_id for entry in self.terms.roster}
        self._grid: RoundGrid = terms_rounds(self.terms)

    def advance(self, checkpoint: EncoderCheckpoint, store: CampaignStore) -> tuple[EncoderCheckpoint, RoundShares]:
        """One round: tries until every term is there, then one step; with what it was opened from."""
        number, step = 0, checkpoint.state.step
        while True:
            self._tell(step, f"try {number}" if number else "")
            order = self._order(checkpoint, number)
            terms, receipts, lost = self._try(checkpoint, order)
            if not lost:
                break
            retries = checkpoint.retries + number + 1
            why = "; ".join(f"{party}: {reason}" for party, reason in lost.items())
            self._tell(step, why)
            if retries > self._spec.retries:
                store.lost(self.terms.attempt, lost)
                raise EncoderTriesUsedError(
                    f"round {step + 1} of {self._spec.rounds} lacks nodes, and all {self._spec.charged_attempts} "
                    f"charged tries but those of the missing rounds are used ({why})",
                    field="encoder.retries",
                    remedy="bring the lost nodes back, then start a new campaign; what was sent stays charged",
                )
            number += 1
            self._channel.wait_for(list(lost))
        opened = open_sum(list(terms.values()), bound=self._grid.bound)
        parameters, state = apply_step(
            checkpoint.parameters,
            opened,
            n_public=self.terms.cohort_size,
            spec=self._spec,
            state=checkpoint.state,
        )
        self._tell(state.step, "")
        shares = {party: _bytes(term) for party, term in terms.items() if party in self.nodes}
        taken_at = parameter_bytes(checkpoint.parameters)
        kept = RoundShares(attempt=try_id(order), parameters=taken_at, shares=shares, receipts=receipts)
        return replace(checkpoint, parameters=parameters, state=state, retries=checkpoint.retries + number), kept

    def finish(self) -> None:
        """E3: to all; who is away keeps an old key, which opens nothing by itself."""
        parcel = Parcel({"attempt": self.terms.attempt})
        nodes = [entry.party_id for entry in self.terms.roster]
        self._channel.ask("train.finish", dict.fromkeys(nodes, parcel), self.terms.attempt)
        self._channel.ask_one("query.finish", self._plan.witness.party_id, parcel, self.terms.attempt)

    def _order(self, checkpoint: EncoderCheckpoint, number: int) -> RoundOrder:
        return RoundOrder(
            suite=SUITE,
            attempt=self.terms.attempt,
            h=checkpoint.h,
            round=checkpoint.state.step,
            number=number,
            parameters_sha256=digest(parameter_bytes(checkpoint.parameters)),
        )

    def _try(
        self, checkpoint: EncoderCheckpoint, order: RoundOrder
    ) -> tuple[dict[str, Term], dict[str, str], dict[str, str]]:
        """One trip to nodes and witness together: their terms and receipts, and who is lost and why."""
        parameters = checkpoint.parameters
        texts = {
            "attempt": self.terms.attempt,
            "order": sign_model(order, self._plan.identity, typ="round", kid=self._plan.hub_id),
            "acceptances": checkpoint.acceptances,
        }
        for_nodes, for_witness = Parcel(texts, {"parameters": parameters}), Parcel(texts)
        parties = [*self.terms.roster, self._plan.seat.now()]
        witness = self._plan.witness.party_id
        parcels = {each.party_id: for_witness if each.party_id == witness else for_nodes for each in parties}
        steps = {each.party_id: "query.round" if each.party_id == witness else "train.round" for each in parties}
        replies = self._channel.ask_each(steps, parcels, self.terms.attempt)
        again = [party for party, reply in replies.items() if isinstance(reply, Lost)]
        if again:
            replies |= self._channel.ask_each(steps, {party: parcels[party] for party in again}, self.terms.attempt)
        return self._terms(parties, replies, order)

    def _terms(
        self, parties: list[RosterEntry], replies: dict[str, Reply], order: RoundOrder
    ) -> tuple[dict[str, Term], dict[str, str], dict[str, str]]:
        lost = refusers(parties, replies)
        terms: dict[str, Term] = {}
        receipts: dict[str, str] = {}
        for entry in parties:
            reply = replies[entry.party_id]
            if entry.party_id in lost or not isinstance(reply, Parcel):
                continue
            term = reply.arrays.get("term")
            if term is None or term.dtype != np.uint64 or term.shape != (self._spec.n_parameters,):
                lost[entry.party_id] = "no valid term"
                continue
            if entry.party_id in self.nodes:
                try:
                    receipts[entry.party_id] = _receipt(reply, entry, order, term)
                except (CryptoError, ValidationError):
                    lost[entry.party_id] = "no valid receipt"
                    continue
            terms[entry.party_id] = term
        return terms, receipts, lost

    def _tell(self, done: int, detail: str) -> None:
        elapsed = time.monotonic() - self._began
        self._progress(Progress("encoder", self.terms.attempt, "round", done, self._spec.rounds, elapsed, detail))


def _receipt(reply: Parcel, entry: RosterEntry, order: RoundOrder, term: Term) -> str:
    """A node's signed receipt of exactly this term of this order; CryptoError where it is none."""
    token = reply.text("receipt")
    receipt = verify_model(token, entry.sign_key, RoundReceipt, typ="round-receipt", kid=entry.party_id)
    named = (receipt.party_id, receipt.attempt, receipt.h, receipt.sha256, receipt.parameters_sha256)
    if named != (entry.party_id, try_id(order), order.h, digest(_bytes(term)), order.parameters_sha256):
        raise SignatureError("a receipt of other bytes", field=entry.party_id, remedy="try the round again")
    return token


def _bytes(term: Term) -> bytes:
    return term.astype("<u8", copy=False).tobytes()
