"""A stage's cohort from attempt to attempt: without nodes that were lost, formed again where consents changed.

A node refuses a whole slice for one merchant whose consent was revoked since the cohort was formed. It is not at fault:
the cohort is formed from the consents of now, and the same nodes are asked again. Only so often, so that a node that
always claims it cannot hold a campaign up.

A node that is merely away is left behind, unless the quorum needs it: then it is given time to come back, once, and the
next attempt asks it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

from crypto.errors import CryptoError
from crypto.wire.campaign import Stage, Terms
from hub.attempt_run import AttemptRun, LostNodesError, check_quorum, void_attempt
from hub.campaign_errors import CampaignError, QuorumError
from hub.campaign_plan import CampaignPlan, CampaignStore, ProgressCallback, ReleasedTable
from hub.cohort import Cohort
from hub.errors import HubError
from hub.grids.channel import AWAY, LATE, Channel
from hub.manifests import build_manifest

CONSENTS_CHANGED = frozenset({"consent-unknown", "source-not-consented"})
"""Refusals which say that the slice is not what the node's consents say now."""
MAX_REFORMS = 3


class AwaitedOnce:
    """Nodes that are away and that the quorum needs: each is given time to come back, once.

    Args:
        channel: gives them time.
        enough: whether those who are left without some nodes are a quorum.
    """

    def __init__(self, channel: Channel, enough: Callable[[Collection[str]], bool]) -> None:
        self._channel = channel
        self._enough = enough
        self._awaited: set[str] = set()

    def gone(self, lost: Mapping[str, str]) -> dict[str, str]:
        """Of those whom an attempt lost, the ones that are out; who may be back has been waited for."""
        away = {party for party, why in lost.items() if why in (LATE, AWAY)} - self._awaited
        gone = {party: why for party, why in lost.items() if party not in away}
        if not away or self._enough(lost) or not self._enough(gone):
            return dict(lost)
        self._awaited |= away
        self._channel.wait_for(sorted(away))
        return gone


class CohortCourse:
    """The training part of a plan's cohort as a stage goes on.

    Args:
        channel: gives parties time: a consent's change may have reached a node later than the hub, or sooner.
        plan: the campaign.
        stage: whose attempts are numbered.
        kind: the only kind that takes part, or None for all.

    Attributes:
        cohort: of the next attempt.
        lost: nodes that are out of it, and why.
    """

    def __init__(self, channel: Channel, plan: CampaignPlan, stage: Stage, *, kind: str | None = None) -> None:
        self._channel = channel
        self._plan = plan
        self._stage = stage
        self._kind = kind
        self._ended = 0
        self._reforms = 0
        self._absent = AwaitedOnce(channel, self._quorum_without)
        self.lost: dict[str, str] = {}
        self.cohort = self._cut(plan.cohort)

    def numbers(self) -> Iterator[int]:
        """Numbers of the stage's attempts, until those are used up that may lose nodes."""
        number = self._plan.attempts_before.get(self._stage, 0)
        while self._ended < self._plan.max_attempts:
            number += 1
            yield number

    def go_on(self, ended: LostNodesError) -> None:
        """Take what ended an attempt into account."""
        changed = {party for party, why in ended.lost.items() if why.partition(":")[0] in CONSENTS_CHANGED}
        reform = self._plan.reform
        if not changed or reform is None or self._reforms == MAX_REFORMS:
            self._ended += 1
            gone = self._absent.gone(ended.lost)
            self.lost |= gone
            self.cohort = self.cohort.without(gone)
            return
        self._reforms += 1
        gone = {party: why for party, why in ended.lost.items() if party not in changed}
        self._ended += bool(gone)
        self.lost |= gone
        self._channel.wait_for(sorted(changed))
        self.cohort = self._cut(reform()).without(self.lost)

    def _quorum_without(self, lost: Collection[str]) -> bool:
        try:
            kinds = None if self._kind is None else (self._kind,)
            check_quorum(self._plan, self.cohort.without(lost), {}, kinds=kinds)
        except QuorumError:
            return False
        return True

    def until_released(
        self,
        progress: ProgressCallback,
        store: CampaignStore,
        terms_of: Callable[[Cohort, str], Terms],
        attempt_of: Callable[[AttemptRun, Mapping[str, str]], ReleasedTable],
    ) -> ReleasedTable:
        """Runs attempts until one is released; any that is not ends with the witness's void.

        Args:
            progress: told every step.
            store: told manifests, decisions and the counts.
            terms_of: cohort and attempt → terms; refuses, before anybody is asked, a sum that might wrap.
            attempt_of: attempt and nodes lost before it → what it opened; `LostNodesError` where nodes end it.

        Raises:
            QuorumError: too few nodes are left.
            CampaignError: the witness refuses or is lost, or attempts are used up.
            BudgetError, NoiseError: the terms cannot be made.
        """
        plan, began = self._plan, time.monotonic()
        for number in self.numbers():
            cohort = self.cohort
            check_quorum(plan, cohort, self.lost)
            terms = terms_of(cohort, f"{plan.campaign_id}/{self._stage}/{number}")
            run = AttemptRun(self._channel, plan, progress, build_manifest(terms, cohort, plan), began)
            try:
                return attempt_of(run, self.lost)
            except LostNodesError as ended:
                store.lost(run.attempt, ended.lost)
                _void(run, store)
                run.tell("void", 0, len(run.roster), str(ended))
                self.go_on(ended)
                continue
            except (HubError, CryptoError):
                with suppress(HubError, CryptoError):  # what ended the campaign is the error to report
                    _void(run, store)
                raise
        raise self.used_up()

    def used_up(self) -> CampaignError:
        """The error of a stage that has no attempt left."""
        return CampaignError(
            f"campaign {self._plan.campaign_id} used up its {self._plan.max_attempts} attempts; "
            f"lost: {', '.join(self.lost) or 'none'}",
            field="max_attempts",
            remedy="look at the lost nodes' own logs, then start a new campaign",
        )

    def _cut(self, cohort: Cohort) -> Cohort:
        training = cohort.training(self._plan.holdout_salt, self._plan.holdout_fraction)
        return training if self._kind is None else training.only(self._kind)


def _void(run: AttemptRun, store: CampaignStore) -> None:
    if run.cosigned:
        void_attempt(run.channel, run.plan.seat, run.manifest.terms, run.manifest.h, store)
