"""The campaign over a Flower grid: the logic of the hub's `ServerApp`, whatever grid carries it.

Plain functions: no HTTP, no database. The caller gives a grid, a plan, and who is to be told.
"""

from __future__ import annotations

from collections.abc import Mapping

from flwr.serverapp.grid import Grid

from hub.campaign_plan import CampaignPlan, CampaignStore, NoStore, ProgressCallback, ReleasedTable
from hub.errors import CampaignError
from hub.grids.channel import Channel
from hub.scorecard_stage import run_scorecard_stage

TRIP_TIMEOUT_S = 600.0


def run_campaign(
    grid: Grid,
    plan: CampaignPlan,
    progress: ProgressCallback,
    store: CampaignStore | None = None,
    *,
    node_ids: Mapping[str, int],
    timeout: float = TRIP_TIMEOUT_S,
) -> ReleasedTable:
    """Runs a campaign's scorecard stage to its opened table.

    Args:
        grid: any Flower grid.
        plan: the campaign.
        progress: told every step of every attempt.
        store: what must survive the hub; nothing is kept without one.
        node_ids: party id → the grid's node id, for the nodes and the witness.
        timeout: seconds that a trip may take before its missing nodes count as lost.

    Raises:
        CampaignError: too few nodes, or the witness refuses or is lost.
        BudgetError, NoiseError: the plan's privacy cannot be had.
    """
    if plan.stages != ("scorecard",):
        raise CampaignError(
            f"stages {', '.join(plan.stages)} cannot be run by this function",
            field="stages",
            remedy="run the encoder stage first and name its encoders in the scorecard's plan",
        )
    channel = Channel(grid, node_ids, timeout)
    return run_scorecard_stage(channel, plan, progress, store or NoStore())
