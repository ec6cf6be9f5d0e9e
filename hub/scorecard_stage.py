"""The scorecard stage at the hub: attempts of the cross-source tables over a Flower grid (docs/protocol.md, 3 and 4).

The hub relays signed documents and sealed boxes; of all that passes it can read who holds which pseudonym, and in the
end the noisy table. All or nothing: a party that refuses or is lost ends the attempt with the witness's void, and the
next attempt has a new manifest without it, new keys, seeds and noise.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from crypto.canonical import digest
from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.parcel import Parcel
from crypto.secure_sum import open_sum
from crypto.table_grid import terms_grid, terms_layout
from crypto.wire.campaign import Acceptance, Cosignature, Decision, Receipt, Refusal, RosterEntry
from hub.campaign_plan import CampaignPlan, CampaignStore, Progress, ProgressCallback, ReleasedTable, Step
from hub.cohort import Cohort
from hub.errors import CampaignError, HubError, QuorumError
from hub.grids.channel import Channel, Lost, Reply
from hub.manifests import EncoderCharge, Manifest, build_manifest, table_terms

_WITNESS_TRIES = 3
_SENDER = "sender="


class _LostNodesError(Exception):
    """Parties that ended an attempt, and why."""

    def __init__(self, lost: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{party}: {why}" for party, why in lost.items()))
        self.lost = dict(lost)


@dataclass
class _Run:
    """One attempt under way."""

    channel: Channel
    plan: CampaignPlan
    progress: ProgressCallback
    manifest: Manifest
    began: float
    seconds: dict[str, float] = field(default_factory=dict)
    cosigned: bool = False

    @property
    def attempt(self) -> str:
        return self.manifest.terms.attempt

    @property
    def roster(self) -> tuple[RosterEntry, ...]:
        return self.manifest.terms.roster

    def tell(self, step: Step, done: int, total: int, detail: str = "") -> None:
        self.progress(Progress("scorecard", self.attempt, step, done, total, time.monotonic() - self.began, detail))

    def ask(self, message: str, step: Step, parcels: Mapping[str, Parcel]) -> dict[str, Reply]:
        """One trip, timed and reported."""
        self.tell(step, 0, len(parcels))
        start = time.monotonic()
        replies = self.channel.ask(message, parcels, self.attempt)
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - start
        self.tell(step, sum(isinstance(reply, Parcel) for reply in replies.values()), len(parcels))
        return replies


def run_scorecard_stage(
    channel: Channel,
    plan: CampaignPlan,
    progress: ProgressCallback,
    store: CampaignStore,
    *,
    encoder_widths: Mapping[str, int] | None = None,
    encoder: EncoderCharge | None = None,
) -> ReleasedTable:
    """Runs attempts until one is released.

    Args:
        channel: the grid and who is behind it; the witness too.
        plan: the campaign.
        progress: told every step.
        store: told manifests, decisions and the table.
        encoder_widths, encoder: as in `hub.manifests.table_terms`.

    Raises:
        QuorumError: too few nodes are left.
        CampaignError: the witness refuses or is lost, or attempts are used up.
        BudgetError, NoiseError: the terms cannot be made.
    """
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    lost: dict[str, str] = {}
    began = time.monotonic()
    for number in range(1, plan.max_attempts + 1):
        check_quorum(plan, cohort, lost)
        attempt = f"{plan.campaign_id}/scorecard/{number}"
        terms = table_terms(plan, cohort, attempt, encoder_widths=encoder_widths, encoder=encoder)
        run = _Run(channel, plan, progress, build_manifest(terms, cohort, plan), began)
        try:
            result = _run_attempt(run, store, number, lost)
        except _LostNodesError as ended:
            void_attempt(run.channel, plan, run.manifest, store, cosigned=run.cosigned)
            run.tell("void", 0, len(run.roster), str(ended))
            lost |= ended.lost
            cohort = cohort.without(ended.lost)
            continue
        except (HubError, CryptoError):
            with suppress(HubError, CryptoError):  # what ended the campaign is the error to report
                void_attempt(run.channel, plan, run.manifest, store, cosigned=run.cosigned)
            raise
        store.opened(result)
        return result
    raise CampaignError(
        f"campaign {plan.campaign_id} used up its {plan.max_attempts} attempts; lost: {', '.join(lost) or 'none'}",
        field="max_attempts",
        remedy="look at the lost nodes' own logs, then start a new campaign",
    )


def check_quorum(plan: CampaignPlan, cohort: Cohort, lost: Mapping[str, str]) -> None:
    """Refuses to go on with too few nodes.

    Raises:
        QuorumError: naming the kind, and which nodes were lost and why.
    """
    why = "; ".join(f"{party}: {reason}" for party, reason in lost.items())
    for kind in plan.schema.kinds_in_order():
        here, due = len(cohort.nodes_of(kind)), max(1, plan.quorum.get(kind, 1))
        if here < due:
            raise QuorumError(
                f"kind {kind} has {here} nodes of the {due} that the campaign needs" + (f" ({why})" if why else ""),
                field=f"quorum.{kind}",
                remedy="bring the lost nodes back, or lower the quorum, and start a new campaign",
            )
    if cohort.size == 0 or len(cohort.nodes) < plan.t_collude + 1:
        raise QuorumError(
            f"{len(cohort.nodes)} nodes with {cohort.size} merchants cannot withstand {plan.t_collude} colluding nodes"
            + (f" ({why})" if why else ""),
            field="t_collude",
            remedy="bring in more nodes or consents, or lower t_collude",
        )


def void_attempt(
    channel: Channel, plan: CampaignPlan, manifest: Manifest, store: CampaignStore, *, cosigned: bool = True
) -> None:
    """T4 of an attempt that cannot be released: the witness's void, told to every node, so that charges are refunded.

    Raises:
        CampaignError: the witness cannot be reached, or has released the attempt.
    """
    if not cosigned:
        return
    attempt = manifest.terms.attempt
    reply = ask_witness(channel, plan, "query.abort", Parcel({"attempt": attempt}), attempt)
    token = reply.text("decision")
    decision = verify_model(token, plan.witness.sign_key, Decision, typ="decision", kid=plan.witness.party_id)
    if (decision.attempt, decision.h, decision.decision) != (attempt, manifest.h, "void"):
        raise _witness_at_fault(plan, "signed another decision than the void that was asked")
    _announce(channel, manifest, token, store)


def ask_witness(channel: Channel, plan: CampaignPlan, step: str, parcel: Parcel, attempt: str) -> Parcel:
    """One trip to the witness, tried again when it is lost; its steps repeat their answers.

    Raises:
        CampaignError: it stays lost, or refuses.
    """
    reply: Reply = Lost("not asked")
    for _ in range(_WITNESS_TRIES):
        reply = channel.ask_one(step, plan.witness.party_id, parcel, attempt)
        if isinstance(reply, Parcel):
            break
    if isinstance(reply, Lost):
        raise _witness_at_fault(plan, f"gave no answer to {step}: {reply.reason}")
    refusal = read_refusal(reply, plan.witness)
    if refusal is not None:
        raise _witness_at_fault(plan, f"refused {step}: {refusal}")
    return reply


def read_refusal(reply: Parcel, entry: RosterEntry) -> str | None:
    """A party's signed refusal as `code` or `code: detail`, or None if the reply is none."""
    token = reply.texts.get("refusal")
    if token is None:
        return None
    try:
        refusal = verify_model(token, entry.sign_key, Refusal, typ="refusal", kid=entry.party_id)
    except CryptoError as forged:
        return forged.code
    return f"{refusal.code}: {refusal.detail}" if refusal.detail else refusal.code


def _run_attempt(run: _Run, store: CampaignStore, number: int, lost: Mapping[str, str]) -> ReleasedTable:
    """T0 to T4 of one attempt; `_LostNodesError` where nodes end it."""
    plan, manifest = run.plan, run.manifest
    cosignature = _cosign(run)
    store.manifest(run.attempt, manifest.h, manifest.token)
    acceptances = _accept(run, cosignature)
    seeds = _witness(run, "query.seeds", "seeds", {"acceptances": acceptances})
    boxes = _exchange(run, acceptances, seeds)
    shares, receipts = _share(run, boxes)
    ordered = " ".join(receipts[entry.party_id] for entry in run.roster)
    final = _witness(run, "query.release", "release", {"acceptances": acceptances, "receipts": ordered})
    token, term = final.text("decision"), final.array("term", np.uint32, 1)
    decision = verify_model(token, plan.witness.sign_key, Decision, typ="decision", kid=plan.witness.party_id)
    if (decision.attempt, decision.h, decision.decision) != (run.attempt, manifest.h, "released"):
        raise _witness_at_fault(plan, "signed another decision than a release")
    if decision.term_sha256 != digest(term.astype("<u4", copy=False).tobytes()):
        raise _witness_at_fault(plan, "sent a term that its decision does not name")
    start = time.monotonic()
    _announce(run.channel, manifest, token, store)
    run.seconds["outcome"] = time.monotonic() - start
    grid, layout = terms_grid(manifest.terms), terms_layout(manifest.terms)
    opened = open_sum([*shares.values(), term], bound=grid.bound)
    run.tell("open", 1, 1)
    return ReleasedTable(
        terms=manifest.terms,
        h=manifest.h,
        counts=grid.counts(layout, opened),
        shares={party: share.astype("<u4", copy=False).tobytes() for party, share in shares.items()},
        receipts=receipts,
        decision=token,
        attempts=number,
        seconds=dict(run.seconds),
        lost=dict(lost),
    )


def _witness(run: _Run, message: str, step: Step, texts: Mapping[str, str]) -> Parcel:
    run.tell(step, 0, 1)
    start = time.monotonic()
    parcel = Parcel({"attempt": run.attempt, **texts})
    reply = ask_witness(run.channel, run.plan, message, parcel, run.attempt)
    run.seconds[step] = time.monotonic() - start
    run.tell(step, 1, 1)
    return reply


def _cosign(run: _Run) -> str:
    """T0."""
    run.tell("cosign", 0, 1)
    start = time.monotonic()
    reply = ask_witness(run.channel, run.plan, "query.cosign", run.manifest.for_witness(), run.attempt)
    token = reply.text("cosignature")
    witness = run.plan.witness
    cosignature = verify_model(token, witness.sign_key, Cosignature, typ="cosignature", kid=witness.party_id)
    if (cosignature.attempt, cosignature.h) != (run.attempt, run.manifest.h):
        raise _witness_at_fault(run.plan, "cosigned another manifest than the one it was given")
    run.cosigned = True
    run.seconds["cosign"] = time.monotonic() - start
    run.tell("cosign", 1, 1)
    return token


def _accept(run: _Run, cosignature: str) -> str:
    """T1: all acceptances, in order of the roster, separated by spaces."""
    parcels = {entry.party_id: run.manifest.for_node(index, cosignature) for index, entry in enumerate(run.roster)}
    replies = run.ask("train.accept", "accept", parcels)
    tokens: dict[str, str] = {}
    lost = _refusers(run, replies)
    for entry in run.roster:
        reply = replies[entry.party_id]
        if entry.party_id in lost or not isinstance(reply, Parcel):
            continue
        try:
            token = reply.text("acceptance")
            acceptance = verify_model(token, entry.sign_key, Acceptance, typ="acceptance", kid=entry.party_id)
        except (CryptoError, ValidationError):
            lost[entry.party_id] = "no valid acceptance"
            continue
        named = (acceptance.party_id, acceptance.attempt, acceptance.h)
        if named != (entry.party_id, run.attempt, run.manifest.h):
            lost[entry.party_id] = "accepted another manifest"
        tokens[entry.party_id] = token
    if lost:
        raise _LostNodesError(lost)
    return " ".join(tokens[entry.party_id] for entry in run.roster)


def _exchange(run: _Run, acceptances: str, seeds: Parcel) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """T2: receiver → sender → sealed rows."""
    parcels = {
        entry.party_id: Parcel(
            {"attempt": run.attempt, "acceptances": acceptances},
            {"seed": seeds.array(f"seed.{entry.party_id}", np.uint8, 1)},
        )
        for entry in run.roster
    }
    replies = run.ask("train.exchange", "exchange", parcels)
    lost = _refusers(run, replies)
    if lost:
        raise _LostNodesError(lost)
    boxes: dict[str, dict[str, NDArray[np.uint8]]] = {entry.party_id: {} for entry in run.roster}
    for sender, reply in replies.items():
        if isinstance(reply, Parcel):
            for receiver, name in reply.names("to.").items():
                if receiver in boxes:
                    boxes[receiver][sender] = reply.array(name, np.uint8, 1)
    return boxes


def _share(
    run: _Run, boxes: dict[str, dict[str, NDArray[np.uint8]]]
) -> tuple[dict[str, NDArray[np.uint32]], dict[str, str]]:
    """T3: every node's term and receipt, in order of the roster."""
    parcels = {
        receiver: Parcel({"attempt": run.attempt}, {f"from.{sender}": box for sender, box in inbox.items()})
        for receiver, inbox in boxes.items()
    }
    boxes.clear()
    replies = run.ask("train.share", "share", parcels)
    lost = _refusers(run, replies)
    shares: dict[str, NDArray[np.uint32]] = {}
    receipts: dict[str, str] = {}
    for entry in run.roster:
        reply = replies[entry.party_id]
        if entry.party_id in lost or not isinstance(reply, Parcel):
            continue
        try:
            token, term = reply.text("receipt"), reply.array("term", np.uint32, 1)
            receipt = verify_model(token, entry.sign_key, Receipt, typ="receipt", kid=entry.party_id)
        except (CryptoError, ValidationError):
            lost[entry.party_id] = "no valid receipt"
            continue
        sent = (receipt.party_id, receipt.attempt, receipt.h, receipt.sha256)
        if sent != (entry.party_id, run.attempt, run.manifest.h, digest(term.astype("<u4", copy=False).tobytes())):
            lost[entry.party_id] = "a receipt of other bytes"
        shares[entry.party_id], receipts[entry.party_id] = term, token
    if lost:
        raise _LostNodesError(lost)
    return shares, receipts


def _refusers(run: _Run, replies: Mapping[str, Reply]) -> dict[str, str]:
    """Who must leave: the lost, and those who refuse; for rows that do not fit, who is accused of them.

    Two receivers that accuse one sender outweigh it. One against one cannot be told apart: both leave.
    """
    lost: dict[str, str] = {}
    accused: Counter[str] = Counter()
    accusers: dict[str, str] = {}
    for entry in run.roster:
        reply = replies[entry.party_id]
        if isinstance(reply, Lost):
            lost[entry.party_id] = reply.reason
            continue
        refusal = read_refusal(reply, entry)
        if refusal is None:
            continue
        sender = refusal.partition(_SENDER)[2]
        if refusal.startswith("exchange-invalid") and sender in replies:
            accused[sender] += 1
            accusers[entry.party_id] = sender
            continue
        lost[entry.party_id] = refusal
    for accuser, sender in accusers.items():
        lost.setdefault(sender, f"its rows were refused by {accuser}")
        if accused[sender] == 1:
            lost.setdefault(accuser, f"exchange-invalid: {_SENDER}{sender}")
    return lost


def _announce(channel: Channel, manifest: Manifest, token: str, store: CampaignStore) -> None:
    """T4: the decision, to every node of the attempt; who did not hear it is on record."""
    attempt = manifest.terms.attempt
    parcels = {entry.party_id: Parcel({"decision": token}) for entry in manifest.terms.roster}
    replies = channel.ask("train.outcome", parcels, attempt)
    entries = {entry.party_id: entry for entry in manifest.terms.roster}
    undelivered = tuple(
        party
        for party, reply in replies.items()
        if isinstance(reply, Lost) or read_refusal(reply, entries[party]) is not None
    )
    store.decision(attempt, manifest.h, token, undelivered)


def _witness_at_fault(plan: CampaignPlan, what: str) -> CampaignError:
    return CampaignError(
        f"the witness {plan.witness.party_id} {what}",
        field="witness",
        remedy="look at the witness's own log; undecided attempts stay charged until it signs a void",
        party=plan.witness.party_id,
    )
