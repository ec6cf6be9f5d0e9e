"""The evaluation stage at the hub: V1 to V4 over a Flower grid (docs/protocol.md, 6).

As in the other stages the hub relays signed documents and sealed boxes; what it can read in the end is the noisy
histogram. All or nothing: a party that refuses or is lost ends the attempt with the witness's void, and the next one
has a new manifest without it. A merchant whose consent names a node that is not there leaves with it: a score is made
from all of a consent's sources or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import digest
from crypto.errors import CryptoError
from crypto.parcel import Parcel, as_array
from crypto.wire.campaign import Terms
from hub.attempt_run import (
    AttemptRun,
    LostNodesError,
    check_quorum,
    obtain_acceptances,
    obtain_cosignature,
    refusers,
    void_attempt,
)
from hub.campaign_errors import CampaignError, QuorumError
from hub.campaign_plan import CampaignPlan, CampaignStore, ProgressCallback, ReleasedTable
from hub.cohort import Cohort
from hub.cohort_course import CONSENTS_CHANGED, MAX_REFORMS, AwaitedOnce
from hub.errors import HubError
from hub.evaluation_terms import evaluation_attempt_terms
from hub.grids.channel import Channel
from hub.manifests import build_manifest
from hub.table_opening import open_attempt, read_shares

Boxes = dict[str, dict[str, NDArray[np.uint8]]]
"""Bank → source → sealed points."""


@dataclass(frozen=True)
class EvaluationTask:
    """What is to be evaluated.

    Attributes:
        model: the artefact.
        release: the witness's JWS `model-release` of it, in any scope.
        trained: terms of the attempt that it came from.
        edges: upper ends of the score bands.
        form: nodes that are lost → the held-out merchants who may be scored at those that are left.
    """

    model: bytes
    release: str
    trained: Terms
    edges: tuple[int, ...]
    form: Callable[[Collection[str]], Cohort]

    @property
    def model_id(self) -> str:
        """The artefact's hash."""
        return f"sha256:{digest(self.model).hex()}"


def run_evaluation_stage(
    channel: Channel, plan: CampaignPlan, task: EvaluationTask, progress: ProgressCallback, store: CampaignStore
) -> ReleasedTable:
    """Runs attempts until one is released.

    Args:
        channel: the grid and who is behind it; the witness too.
        plan: the campaign.
        task: the model.
        progress: told every step.
        store: told manifests, what points were passed on, decisions and the histogram.

    Raises:
        QuorumError: too few nodes are left, or nobody may be scored.
        CampaignError: the witness refuses or is lost, or attempts are used up.
        NoiseError, RangeError: the terms cannot be made.
    """
    lost: dict[str, str] = {}
    ended = reforms = 0
    number = plan.attempts_before.get("evaluation", 0)
    began = time.monotonic()

    def enough(gone: Collection[str]) -> bool:
        try:
            left = task.form({*lost, *gone})
            check_quorum(plan, left, {}, kinds=left.kinds)
        except QuorumError:
            return False
        return True

    absent = AwaitedOnce(channel, enough)
    while ended < plan.max_attempts:
        number += 1
        cohort = task.form(lost)
        check_quorum(plan, cohort, lost, kinds=cohort.kinds)
        attempt = f"{plan.campaign_id}/evaluation/{number}"
        terms = evaluation_attempt_terms(
            plan, cohort, attempt, model_id=task.model_id, edges=task.edges, trained=task.trained
        )
        run = AttemptRun(channel, plan, progress, build_manifest(terms, cohort, plan), began)
        try:
            return _run_attempt(run, task, store, lost)
        except LostNodesError as gone:
            store.lost(run.attempt, gone.lost)
            _void(run, store)
            run.tell("void", 0, len(run.roster), str(gone))
            changed = {party for party, why in gone.lost.items() if why.partition(":")[0] in CONSENTS_CHANGED}
            if changed and reforms < MAX_REFORMS:  # as in `hub.cohort_course`: consents of now, the same nodes
                reforms += 1
                channel.wait_for(sorted(changed))
            else:
                changed = set()
            others = {party: why for party, why in gone.lost.items() if party not in changed}
            lost |= absent.gone(others)
            ended += bool(others)
            continue
        except (HubError, CryptoError):
            with suppress(HubError, CryptoError):  # what ended the campaign is the error to report
                _void(run, store)
            raise
    raise CampaignError(
        f"the evaluation of campaign {plan.campaign_id} used up its {plan.max_attempts} attempts; "
        f"lost: {', '.join(lost) or 'none'}",
        field="max_attempts",
        remedy="look at the lost nodes' own logs, then start a new campaign",
    )


def _run_attempt(run: AttemptRun, task: EvaluationTask, store: CampaignStore, lost: Mapping[str, str]) -> ReleasedTable:
    """V1 to V4 of one attempt; `LostNodesError` where nodes end it."""
    terms, h = run.manifest.terms, run.manifest.h
    cosignature = obtain_cosignature(run)
    store.manifest(run.attempt, h, run.manifest.token)
    model = Parcel({"model_release": task.release}, {"model": as_array(task.model)})
    acceptances = obtain_acceptances(run, cosignature, message="train.admit", further=model)
    boxes = _points(run, acceptances)
    store.points_passed(terms, {bank: {source: _sha256(box) for source, box in b.items()} for bank, b in boxes.items()})
    replies = run.ask(
        "train.count",
        "count",
        {
            entry.party_id: Parcel(
                {"attempt": run.attempt, "acceptances": acceptances},
                {f"from.{source}": box for source, box in boxes.get(entry.party_id, {}).items()},
            )
            for entry in run.roster
        },
    )
    gone = _who_left(run, refusers(run.roster, replies))
    shares, receipts = read_shares(terms, h, replies, gone)
    if gone:
        raise LostNodesError(gone)
    return open_attempt(run, store, acceptances, shares, receipts, lost=lost)


def _points(run: AttemptRun, acceptances: str) -> Boxes:
    """V2: every source's boxes, by bank."""
    terms = run.manifest.terms
    sources = [entry for entry in run.roster if entry.kind != terms.label_kind]
    boxes: Boxes = {entry.party_id: {} for entry in run.roster if entry.kind == terms.label_kind}
    if not sources:
        return boxes
    asked = Parcel({"attempt": run.attempt, "acceptances": acceptances})
    replies = run.ask("train.points", "points", {entry.party_id: asked for entry in sources})
    gone = refusers(sources, replies)
    if gone:
        raise LostNodesError(gone)
    for source, reply in replies.items():
        if isinstance(reply, Parcel):
            for bank, name in reply.names("to.").items():
                if bank in boxes:
                    boxes[bank][source] = reply.array(name, np.uint8, 1)
    return boxes


def _who_left(run: AttemptRun, gone: dict[str, str]) -> dict[str, str]:
    """For boxes that do not fit, the source that is accused leaves with the bank that accuses it: one of the two is
    at fault, and they cannot be told apart."""
    parties = {entry.party_id for entry in run.roster}
    for bank, why in list(gone.items()):
        sender = why.partition("sender=")[2]
        if why.startswith("exchange-invalid") and sender in parties:
            gone.setdefault(sender, f"its points were refused by {bank}")
    return gone


def _void(run: AttemptRun, store: CampaignStore) -> None:
    if run.cosigned:
        void_attempt(run.channel, run.plan.seat, run.manifest.terms, run.manifest.h, store)


def _sha256(box: NDArray[np.uint8]) -> str:
    return digest(box.tobytes()).hex()
