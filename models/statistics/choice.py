"""Which cells a programme's statistics release, by the names of features: the fewest that answer the questions.

Every chosen block costs: a merchant stands in one cell of each, so noise grows with the root of their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.errors import SchemaError
from models.schema import Schema
from models.schema_base import Name


class ReportFeatures(BaseModel):
    """Which feature of the schema is which.

    Attributes:
        groups: features of the label's kind by which is reported.
        amount, amount_baseline: credit in the reporting and the baseline year; rounded to knots, missing is none.
        rate, rate_baseline: annual rates of these, likewise.
        overdue: two categories, the first for overdue; missing is no credit.
        subsidy: interest subsidy of the year, rounded to knots; missing is none.
        baseline_year: what is compared with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: tuple[Name, ...] = Field(min_length=1, max_length=8)
    amount: Name
    amount_baseline: Name | None = None
    rate: Name | None = None
    rate_baseline: Name | None = None
    overdue: Name | None = None
    subsidy: Name | None = None
    baseline_year: int | None = Field(default=None, ge=2000, le=2200, strict=True)

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures' features that are there."""
        named = (self.amount, self.amount_baseline, self.rate, self.rate_baseline, self.overdue, self.subsidy)
        return tuple(name for name in named if name is not None)

    def choice(self, year: int) -> StatisticsChoice:
        """The fewest cells that give the whole report: every group and measure by class, and every measure by group."""
        return StatisticsChoice(year=year, report=self)

    @property
    def by_label(self) -> tuple[str, ...]:
        """Groups and measures by class."""
        return (*self.groups, *self.measures)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every measure by every group."""
        return tuple((group, measure) for group in self.groups for measure in self.measures)


class StatisticsChoice(BaseModel):
    """The cells of one report.

    Attributes:
        year: the reporting year.
        by_label: features whose bins are counted by the label's two classes, e.g. supermarkets and inns.
        pairs: features whose bins are counted together.
        report: which feature is which; given alone, the fewest cells that give the whole report are chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    year: Annotated[int, Field(ge=2000, le=2200, strict=True)]
    by_label: tuple[Name, ...] = Field(default=(), max_length=64)
    pairs: tuple[tuple[Name, Name], ...] = Field(default=(), max_length=256)
    report: ReportFeatures | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_report(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("report") is not None and not {"by_label", "pairs"} & set(value):
            report = ReportFeatures.model_validate(value["report"])
            return {**value, "by_label": report.by_label, "pairs": report.pairs}
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        unordered = [frozenset(pair) for pair in self.pairs]
        if not self.by_label and not self.pairs:
            raise ValueError("choose at least one feature of by_label or one pair")
        if len(set(self.by_label)) != len(self.by_label) or len(set(unordered)) != len(unordered):
            raise ValueError("each feature of by_label, and each pair, once: every one of them costs noise")
        if any(len(pair) != 2 for pair in unordered):
            raise ValueError("pairs: needs two different features")
        return self

    @property
    def touched(self) -> int:
        """Cells in which one merchant stands, at most."""
        return len(self.by_label) + len(self.pairs)

    def numbers(self, schema: Schema) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """The same by the features' numbers over all kinds: those of `by_label` and the pairs, ascending.

        Raises:
            SchemaError: a name that the schema does not have.
        """
        place = {each.name: number for number, each in enumerate(schema.all_features())}
        unknown = [
            name for name in (*self.by_label, *(name for pair in self.pairs for name in pair)) if name not in place
        ]
        if unknown:
            raise SchemaError(
                f"feature {unknown[0]!r} is not in schema {schema.name!r}",
                field="statistics",
                remedy=f"use features of the schema: {', '.join(place)}",
            )
        pairs = [(min(place[f], place[g]), max(place[f], place[g])) for f, g in self.pairs]
        return tuple(sorted(place[name] for name in self.by_label)), tuple(sorted(pairs))
