"""A campaign of programme statistics over the sources of a synthetic world, and its report beside the truth.

All parties stand in one process (`hub.simulation`): their keys, ledgers, masks, messages and noise are real; consents
are assumed, and pseudonyms are plain hashes. docs/programme-statistics.md says what a served hub does instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hub.campaign_errors import CampaignError
from hub.campaign_plan import CampaignPlan, NoStore, Progress
from hub.grids.channel import Channel
from hub.platform.world.facts import ProgrammeFacts, write_tables
from hub.simulated_data import NodeFile
from hub.simulation import Budget, Federation, load_nodes
from hub.statistics_reports import statistics_table
from hub.statistics_stage import run_statistics_stage
from models.campaign_file import CampaignFile
from models.errors import DataError
from models.schema import Schema
from models.statistics.choice import ReportFeatures, StatisticsChoice
from models.statistics.estimates import Figure
from models.statistics.report import StatisticsReport, make_report

LIFETIME_EPSILON, LIFETIME_DELTA, EPSILON_PER_YEAR = 10.0, 1e-5, 1.0
_TRIP_S = 300.0
Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Compared:
    """A figure of a report, and what is true.

    Attributes:
        row, figure: of whom, and which.
        published: with its 95 % interval; None where noise drowns it.
    """

    row: str
    figure: str
    published: Figure | None
    true: float | None

    @property
    def within(self) -> bool | None:
        """Whether the interval holds the truth; None where there is nothing to compare."""
        if self.published is None or self.true is None:
            return None
        slack = 1e-9 * max(1.0, abs(self.true))  # of sums of floats
        return self.published.low - slack <= self.true <= self.published.high + slack


class WorldStatistics:
    """The sources of a world in one process, each with the owner's budgets.

    Args:
        facts: of the world.
        campaign: what is counted, and what it may cost.
        schema: of the campaign.
        folder: the sources' tables and stores; new.
    """

    def __init__(self, facts: ProgrammeFacts, campaign: CampaignFile, schema: Schema, folder: Path) -> None:
        self.facts, self.campaign, self.schema = facts, campaign, schema
        self.choice, self.features = _report_of(campaign)
        tables = write_tables(facts, folder / "tables")
        loaded = load_nodes(schema, [NodeFile(each.party_id, each.kind, each.path) for each in tables])
        (folder / "state").mkdir(parents=True)
        self.federation = Federation(
            schema,
            loaded.nodes,
            loaded.sources,
            loaded.pseudonyms,
            folder / "state",
            budget=Budget(LIFETIME_EPSILON, LIFETIME_DELTA, EPSILON_PER_YEAR),
        )

    def publish(self, told: Told) -> StatisticsReport:
        """Run the campaign, with noise, and make its report.

        Raises:
            CampaignError: a party refuses it.
        """
        channel = Channel(self.federation.grid, self.federation.node_ids, _TRIP_S)
        released = run_statistics_stage(channel, self._plan(), told, NoStore())
        return make_report(statistics_table(released, self.choice), self.features)

    def refusal(self, told: Told) -> str | None:
        """Order the same once more and return why it is refused; None if it is not."""
        try:
            self.publish(told)
        except CampaignError as refused:
            return refused.message
        return None

    def compare(self, report: StatisticsReport) -> list[Compared]:
        """Every figure of the report with the truth."""
        found = [
            Compared("all", name, figure, self.facts.truth()[name]) for name, figure in report.everybody.figures.items()
        ]
        for row in (*report.classes, *(each for rows in report.groups.values() for each in rows)):
            label, where = self._of(report, row.group, row.number)
            true = self.facts.truth(where)
            found += [Compared(label, name, figure, true[name]) for name, figure in row.figures.items()]
        return found

    def close(self) -> None:
        """End the parties."""
        self.federation.close()

    def _plan(self) -> CampaignPlan:
        plan = self.federation.plan(
            epsilon=self.campaign.epsilon,
            delta=self.campaign.delta,
            holdout_salt=bytes(16),
            holdout_fraction=0.0,
            stages=("statistics",),
        )
        return replace(plan, statistics=self.choice)

    def _of(self, report: StatisticsReport, group: str, number: int) -> tuple[str, NDArray[np.bool_]]:
        if group == "class":
            first = np.array(self.facts.support) == report.schema.label.positive
            return f"class {number}", first if number == 0 else ~first
        categories = report.schema.feature(group).spec.categories or ()
        name = categories[number] if number < len(categories) else ""  # two further bins: others, missing
        return f"{group} {name or number}", np.array(getattr(self.facts, group)) == name


@contextmanager
def sources_of(
    facts: ProgrammeFacts, campaign: CampaignFile, schema: Schema, folder: Path
) -> Iterator[WorldStatistics]:
    """`WorldStatistics`, closed at the end."""
    its = WorldStatistics(facts, campaign, schema, folder)
    try:
        yield its
    finally:
        its.close()


def _report_of(campaign: CampaignFile) -> tuple[StatisticsChoice, ReportFeatures]:
    choice = campaign.statistics
    if choice is None or choice.report is None:
        raise DataError("the campaign orders no report", field="statistics.report", remedy="name the report's features")
    return choice, choice.report
