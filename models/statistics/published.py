"""A published report as it is passed on and kept once it was verified: the opened counts, and what is made of them."""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import DataError, ModelsError
from models.schema import Schema
from models.statistics.choice import StatisticsChoice
from models.statistics.privacy import ReportPrivacy
from models.statistics.report import StatisticsReport, make_report
from models.statistics.table import StatisticsTable, statistics_from_vector


class PublishedStatistics(BaseModel):
    """Noisy counts of a campaign.

    Attributes:
        campaign_id, attempt: that opened them.
        schema_document: canonical JSON of the schema.
        choice: what was released, and which feature is which.
        members: kind → merchants whose consent names a node of that kind.
        cohort_size: merchants who agreed.
        sigma: standard deviation of the noise on every cell, all nodes' shares together.
        epsilon, delta, t_collude: what it cost each merchant, and the colluding nodes withstood.
        counts: in released order.
        opened_at: when the log says so.
        log_index: of the log entry that names these counts, under a checkpoint of hub and witness.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    campaign_id: Annotated[str, Field(min_length=1, max_length=128)]
    attempt: Annotated[str, Field(min_length=1, max_length=128)]
    schema_document: Annotated[str, Field(max_length=1 << 20)]
    choice: StatisticsChoice
    members: dict[str, Annotated[int, Field(ge=0)]]
    cohort_size: Annotated[int, Field(ge=1)]
    sigma: Annotated[float, Field(gt=0)]
    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=0.1)]
    t_collude: Annotated[int, Field(ge=1)]
    counts: Annotated[tuple[float, ...], Field(min_length=1, max_length=8_000_000)]
    opened_at: AwareDatetime
    log_index: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _makes_a_report(self) -> Self:
        try:
            self.report()
        except ModelsError as error:
            raise ValueError(f"no report can be made of it: {error.message}") from error
        return self

    @property
    def privacy(self) -> ReportPrivacy:
        """What it cost."""
        return ReportPrivacy(self.epsilon, self.delta, self.t_collude)

    def table(self) -> StatisticsTable:
        """The counts as blocks; DataError or SchemaError where they are not those of the choice."""
        schema = Schema.from_json(self.schema_document)
        if missing := [kind for kind in schema.kinds_in_order() if kind not in self.members]:
            raise DataError(f"nobody is counted at {missing[0]}", field="members", remedy="name every kind")
        return statistics_from_vector(
            np.array(self.counts, dtype=np.float64),
            schema,
            self.choice,
            members=self.members,
            cohort_size=self.cohort_size,
            sigma=self.sigma,
        )

    def report(self) -> StatisticsReport:
        """The report, made anew.

        Raises:
            DataError, SchemaError: the counts are not those of the choice, or it names no report.
        """
        if self.choice.report is None:
            raise DataError("the choice names no report", field="choice.report", remedy="order it with its features")
        return make_report(self.table(), self.choice.report)


def read_published(document: str | bytes) -> PublishedStatistics:
    """Read a published report from its JSON.

    Raises:
        DataError: it is none; the message names the first field at fault.
    """
    try:
        return PublishedStatistics.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"this is no published report: {first['msg']}",
            field=".".join(str(part) for part in first["loc"]) or "document",
            remedy="take the document as the hub or the gateway gave it",
        ) from error
