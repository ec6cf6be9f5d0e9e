"""Campaigns of the statistics stage over LocalGrid, and the exact counts that they open without noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from hub.campaign_plan import CampaignPlan, NoStore, ReleasedTable
from hub.grids.channel import Channel
from hub.statistics_stage import run_statistics_stage
from models.codes import ABSENT
from models.statistics.choice import StatisticsChoice
from models.statistics.table import statistics_from_codes
from tests.federation import World

CHOICE = StatisticsChoice(year=2025, by_label=("b2", "u1"), pairs=(("t1", "b1"), ("b1", "b2"), ("t2", "u1")))


def plan_of(world: World, *, noise: bool = False, epsilon: float = 1.0, **changes: Any) -> CampaignPlan:
    changed = {"stages": ("statistics",), "statistics": CHOICE, "holdout_fraction": 0.0, **changes}
    return world.plan(noise="on" if noise else "off", epsilon=epsilon, **changed)


def run(world: World, plan: CampaignPlan) -> ReleasedTable:
    federation = world.federation
    channel = Channel(federation.grid, federation.node_ids, 30.0)
    return run_statistics_stage(channel, plan, world.events.append, NoStore())


def exact(world: World, plan: CampaignPlan, choice: StatisticsChoice = CHOICE) -> np.ndarray[Any, Any]:
    """The chosen blocks of the joined rows."""
    cohort = plan.cohort
    place = {row.tobytes(): index for index, row in enumerate(world.pseudonyms)}
    order = np.array([place[row.tobytes()] for row in cohort.pseudonyms], dtype=np.intp)
    codes = {
        kind: np.where(cohort.holders[kind][:, None] >= 0, world.codes[kind][order], np.uint8(ABSENT))
        for kind in cohort.kinds
    }
    return statistics_from_codes(world.federation.schema, choice, codes, world.outcome[order]).to_vector()
