"""The statistics stage at the hub: attempts at chosen cells, by the messages of the scorecard's table (S1 to S5)."""

from __future__ import annotations

from hub.campaign_plan import CampaignPlan, CampaignStore, ProgressCallback, ReleasedTable
from hub.cohort_course import CohortCourse
from hub.grids.channel import Channel
from hub.scorecard_stage import run_table_attempt
from hub.statistics_terms import statistics_terms


def run_statistics_stage(
    channel: Channel, plan: CampaignPlan, progress: ProgressCallback, store: CampaignStore
) -> ReleasedTable:
    """Runs attempts until one is released; raises as `hub.scorecard_stage.run_scorecard_stage`."""
    return CohortCourse(channel, plan, "statistics").until_released(
        progress,
        store,
        lambda cohort, attempt: statistics_terms(plan, cohort, attempt),
        lambda run, lost: run_table_attempt(run, store, lost),
    )
