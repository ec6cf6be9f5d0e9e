"""The scorecard stage at the hub: attempts of the cross-source tables over a Flower grid (docs/protocol.md, 3 and 4).

The hub relays signed documents and sealed boxes; of all that passes it can read who holds which pseudonym, and in the
end the noisy table. All or nothing: a party that refuses or is lost ends the attempt with the witness's void, and the
next attempt has a new manifest without it, new keys, seeds and noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from crypto.parcel import Parcel
from crypto.wire.campaign import PrivacyTerms, Terms
from hub.attempt_run import (
    AttemptRun,
    LostNodesError,
    obtain_acceptances,
    obtain_cosignature,
    read_refusal,
)
from hub.campaign_plan import CampaignPlan, CampaignStore, ProgressCallback, ReleasedTable
from hub.cohort import Cohort
from hub.cohort_course import CohortCourse
from hub.grids.channel import Channel, Lost, Reply
from hub.manifests import table_terms
from hub.table_opening import open_attempt, read_shares

_SENDER = "sender="
Boxes = dict[str, dict[str, NDArray[np.uint8]]]
"""Receiver → sender → sealed rows."""


def run_scorecard_stage(
    channel: Channel,
    plan: CampaignPlan,
    progress: ProgressCallback,
    store: CampaignStore,
    *,
    encoder_widths: Mapping[str, int] | None = None,
    promised: PrivacyTerms | None = None,
) -> ReleasedTable:
    """Runs attempts until one is released.

    Args:
        channel: the grid and who is behind it; the witness too.
        plan: the campaign.
        progress: told every step.
        store: told manifests, decisions and the table.
        encoder_widths, promised: as in `hub.manifests.table_terms`.

    Raises:
        QuorumError: too few nodes are left.
        CampaignError: the witness refuses or is lost, or attempts are used up.
        BudgetError, NoiseError: the terms cannot be made.
    """

    def terms_of(cohort: Cohort, attempt: str) -> Terms:
        return table_terms(plan, cohort, attempt, encoder_widths=encoder_widths, promised=promised)

    return CohortCourse(channel, plan, "scorecard").until_released(
        progress, store, terms_of, lambda run, lost: run_table_attempt(run, store, lost)
    )


def run_table_attempt(run: AttemptRun, store: CampaignStore, lost: Mapping[str, str]) -> ReleasedTable:
    """T0 to T4 of one attempt at a table, a scorecard's or of statistics; `LostNodesError` where nodes end it."""
    cosignature = obtain_cosignature(run)
    store.manifest(run.attempt, run.manifest.h, run.manifest.token)
    acceptances = obtain_acceptances(run, cosignature)
    seeds = run.ask_witness("query.seeds", "seeds", Parcel({"attempt": run.attempt, "acceptances": acceptances}))
    boxes = _exchange(run, acceptances, seeds)
    shares, receipts = _share(run, boxes)
    return open_attempt(run, store, acceptances, shares, receipts, lost=lost)


def _exchange(run: AttemptRun, acceptances: str, seeds: Parcel) -> Boxes:
    """T2: the first block's rows."""
    parcels = {
        entry.party_id: Parcel(
            {"attempt": run.attempt, "acceptances": acceptances},
            {"seed": seeds.array(f"seed.{entry.party_id}", np.uint8, 1)},
        )
        for entry in run.roster
    }
    return _sorted(run, run.ask("train.exchange", "exchange", parcels))


def _share(run: AttemptRun, boxes: Boxes) -> tuple[dict[str, NDArray[np.uint32]], dict[str, str]]:
    """T3, block by block: nodes answer with the next block's rows, after the last with their terms and receipts."""
    for block in range(run.manifest.blocks.count - 1):
        boxes = _sorted(run, _deliver(run, boxes, block))
    replies = _deliver(run, boxes, run.manifest.blocks.count - 1)
    lost = _refusers(run, replies)
    shares, receipts = read_shares(run.manifest.terms, run.manifest.h, replies, lost)
    if lost:
        raise LostNodesError(lost)
    return shares, receipts


def _deliver(run: AttemptRun, boxes: Boxes, block: int) -> dict[str, Reply]:
    texts = {"attempt": run.attempt, "block": str(block)}

    def inbox(receiver: str) -> Parcel:
        return Parcel(texts, {f"from.{sender}": box for sender, box in boxes.pop(receiver).items()})

    return run.ask_made("train.share", "share", inbox)


def _sorted(run: AttemptRun, replies: Mapping[str, Reply]) -> Boxes:
    """Boxes by receiver; `LostNodesError` where a node gave none."""
    lost = _refusers(run, replies)
    if lost:
        raise LostNodesError(lost)
    boxes: Boxes = {entry.party_id: {} for entry in run.roster}
    for sender, reply in replies.items():
        if isinstance(reply, Parcel):
            for receiver, name in reply.names("to.").items():
                if receiver in boxes:
                    boxes[receiver][sender] = reply.array(name, np.uint8, 1)
    return boxes


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
