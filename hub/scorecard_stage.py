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

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from crypto.canonical import digest
from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.parcel import Parcel
from crypto.secure_sum import open_sum
from crypto.table_grid import terms_grid, terms_layout
from crypto.wire.campaign import Decision, Receipt
from hub.attempt_run import (
    AttemptRun,
    LostNodesError,
    announce_decision,
    check_quorum,
    obtain_acceptances,
    obtain_cosignature,
    read_refusal,
    void_attempt,
    witness_at_fault,
)
from hub.campaign_plan import CampaignPlan, CampaignStore, ProgressCallback, ReleasedTable
from hub.errors import CampaignError, HubError
from hub.grids.channel import Channel, Lost, Reply
from hub.manifests import EncoderCharge, build_manifest, table_terms

_SENDER = "sender="


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
    for number in plan.attempt_numbers("scorecard"):
        check_quorum(plan, cohort, lost)
        attempt = f"{plan.campaign_id}/scorecard/{number}"
        terms = table_terms(plan, cohort, attempt, encoder_widths=encoder_widths, encoder=encoder)
        run = AttemptRun(channel, plan, progress, build_manifest(terms, cohort, plan), began)
        try:
            result = _run_attempt(run, store, number, lost)
        except LostNodesError as ended:
            store.lost(run.attempt, ended.lost)
            _void(run, store)
            run.tell("void", 0, len(run.roster), str(ended))
            lost |= ended.lost
            cohort = cohort.without(ended.lost)
            continue
        except (HubError, CryptoError):
            with suppress(HubError, CryptoError):  # what ended the campaign is the error to report
                _void(run, store)
            raise
        store.opened(result)
        return result
    raise CampaignError(
        f"campaign {plan.campaign_id} used up its {plan.max_attempts} attempts; lost: {', '.join(lost) or 'none'}",
        field="max_attempts",
        remedy="look at the lost nodes' own logs, then start a new campaign",
    )


def _run_attempt(run: AttemptRun, store: CampaignStore, number: int, lost: Mapping[str, str]) -> ReleasedTable:
    """T0 to T4 of one attempt; `LostNodesError` where nodes end it."""
    plan, manifest = run.plan, run.manifest
    cosignature = obtain_cosignature(run)
    store.manifest(run.attempt, manifest.h, manifest.token)
    acceptances = obtain_acceptances(run, cosignature)
    seeds = run.ask_witness("query.seeds", "seeds", Parcel({"attempt": run.attempt, "acceptances": acceptances}))
    boxes = _exchange(run, acceptances, seeds)
    shares, receipts = _share(run, boxes)
    ordered = " ".join(receipts[entry.party_id] for entry in run.roster)
    documents = {"attempt": run.attempt, "acceptances": acceptances, "receipts": ordered}
    final = run.ask_witness("query.release", "release", Parcel(documents))
    token, term = final.text("decision"), final.array("term", np.uint32, 1)
    decision = verify_model(token, plan.witness.sign_key, Decision, typ="decision", kid=plan.witness.party_id)
    if (decision.attempt, decision.h, decision.decision) != (run.attempt, manifest.h, "released"):
        raise witness_at_fault(plan.witness, "signed another decision than a release")
    if decision.term_sha256 != digest(term.astype("<u4", copy=False).tobytes()):
        raise witness_at_fault(plan.witness, "sent a term that its decision does not name")
    start = time.monotonic()
    announce_decision(run.channel, manifest.terms, manifest.h, token, store)
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


def _void(run: AttemptRun, store: CampaignStore) -> None:
    if run.cosigned:
        void_attempt(run.channel, run.plan.witness, run.manifest.terms, run.manifest.h, store)


def _exchange(run: AttemptRun, acceptances: str, seeds: Parcel) -> dict[str, dict[str, NDArray[np.uint8]]]:
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
        raise LostNodesError(lost)
    boxes: dict[str, dict[str, NDArray[np.uint8]]] = {entry.party_id: {} for entry in run.roster}
    for sender, reply in replies.items():
        if isinstance(reply, Parcel):
            for receiver, name in reply.names("to.").items():
                if receiver in boxes:
                    boxes[receiver][sender] = reply.array(name, np.uint8, 1)
    return boxes


def _share(
    run: AttemptRun, boxes: dict[str, dict[str, NDArray[np.uint8]]]
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
        if entry.party_id in lost or not isinstance(reply, Parcel) or "refusal" in reply.texts:
            continue  # whoever refused without being lost accused another, who is
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
        raise LostNodesError(lost)
    return shares, receipts


def _refusers(run: AttemptRun, replies: Mapping[str, Reply]) -> dict[str, str]:
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
