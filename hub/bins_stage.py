"""The bins stage at the hub: attempts at the trees of counts, and the schema that follows (docs/protocol.md, 6a).

As in the other stages all or nothing: a party that refuses or is lost ends the attempt with the witness's void.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crypto.count_trees import counts_sha256, plain_sum
from crypto.parcel import Parcel, as_array
from crypto.wire.bins import BinsRelease
from crypto.wire.campaign import Terms
from hub.attempt_run import (
    AttemptRun,
    LostNodesError,
    ask_witness,
    obtain_acceptances,
    obtain_cosignature,
    refusers,
    witness_at_fault,
)
from hub.bins_terms import bins_attempt_terms
from hub.campaign_plan import CampaignPlan, CampaignStore, ProgressCallback, ReleasedTable, SettledBins
from hub.cohort import Cohort
from hub.cohort_course import CohortCourse
from hub.grids.channel import Channel
from hub.table_opening import open_attempt, read_shares
from models.quantile_bins import settled
from models.schema import Schema


def run_bins_stage(
    channel: Channel, plan: CampaignPlan, progress: ProgressCallback, store: CampaignStore
) -> ReleasedTable:
    """Runs attempts until one is released.

    Args:
        channel: the grid and who is behind it; the witness too.
        plan: the campaign, its schema with bins still to come.
        progress: told every step.
        store: told manifests, decisions and the counts.

    Raises:
        QuorumError: too few nodes are left.
        CampaignError: the witness refuses or is lost, or attempts are used up.
        BudgetError, NoiseError: the terms cannot be made.
    """

    def terms_of(cohort: Cohort, attempt: str) -> Terms:
        terms = bins_attempt_terms(plan, cohort, attempt)
        plain_sum(terms)  # refuses, before anybody is asked, a sum that might wrap
        return terms

    return CohortCourse(channel, plan, "bins").until_released(
        progress, store, terms_of, lambda run, lost: _run_attempt(run, store, lost)
    )


def settle_bins(channel: Channel, plan: CampaignPlan, opened: ReleasedTable) -> SettledBins:
    """Q4: the schema that follows from the opened counts, with the witness's word that it does.

    Raises:
        CampaignError: the witness refuses, is lost, or found other bins.
        DataError: the counts are not those of the schema's trees.
    """
    terms, witness = opened.terms, plan.seat
    _, grid = plain_sum(terms)
    counts = np.rint(opened.counts * grid.scale).astype(np.int64)  # exact: the scale is a power of two
    shares = {f"share.{party}": as_array(data) for party, data in opened.shares.items()}
    reply = ask_witness(channel, witness, "query.settle", Parcel({"attempt": terms.attempt}, shares), terms.attempt)
    token = reply.text("bins_release")
    release = witness.said(token, BinsRelease, typ="bins-release")
    schema = settled(Schema.from_json(terms.schema_document), counts)
    named = (release.attempt, release.h, release.open_schema_sha256, release.schema_sha256, release.counts_sha256)
    if named != (terms.attempt, opened.h, terms.schema_sha256, schema.hash(), counts_sha256(counts)):
        raise witness_at_fault(witness, "released other bins than the opened counts give")
    return SettledBins(terms.attempt, schema, token, counts)


def _run_attempt(run: AttemptRun, store: CampaignStore, lost: Mapping[str, str]) -> ReleasedTable:
    """Q0 to Q3 of one attempt; `LostNodesError` where nodes end it."""
    terms, h = run.manifest.terms, run.manifest.h
    cosignature = obtain_cosignature(run)
    store.manifest(run.attempt, h, run.manifest.token)
    acceptances = obtain_acceptances(run, cosignature, message="train.enter")
    asked = Parcel({"attempt": run.attempt, "acceptances": acceptances})
    replies = run.ask("train.tally", "count", {entry.party_id: asked for entry in run.roster})
    gone = refusers(run.roster, replies)
    shares, receipts = read_shares(terms, h, replies, gone)
    if gone:
        raise LostNodesError(gone)
    return open_attempt(run, store, acceptances, shares, receipts, lost=lost)
