"""The report of programme statistics: a pure function of opened counts (docs/programme-statistics.md).

Groups (county, region, industry) are features of the label's kind; measures (amount, rate, overdue, subsidy) are
features of other kinds. Figures of all merchants and of the label's two classes come from blocks by class, figures of a
group from its blocks with each measure. Nothing here costs privacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.schema import Schema
from models.statistics.choice import ReportFeatures
from models.statistics.estimates import Block, Estimate, Figure, change, figure, quotient, rounding_variance
from models.statistics.table import StatisticsTable

FloatArray = NDArray[np.float64]
MEASURES = (
    "merchants",
    "with_credit",
    "availability",
    "mean_amount",
    "mean_amount_baseline",
    "amount_change",
    "mean_rate",
    "mean_rate_baseline",
    "rate_change",
    "overdue_rate",
    "subsidised",
    "subsidy_share",
    "mean_subsidy",
    "subsidy_total",
)
"""Figures of a row, in order."""


@dataclass(frozen=True)
class ReportRow:
    """Figures of some merchants; a figure that noise drowns is None."""

    group: str
    number: int
    figures: Mapping[str, Figure | None]


@dataclass(frozen=True)
class StatisticsReport:
    """All figures.

    Attributes:
        everybody: of all merchants who agreed.
        classes: of the label's two classes.
        groups: feature → one row per bin of it.
        clipped: measure → share of its merchants who are above its last knot: their means are too low by what is cut.
    """

    schema: Schema
    features: ReportFeatures
    year: int
    cohort_size: int
    sigma: float
    everybody: ReportRow
    classes: tuple[ReportRow, ...]
    groups: Mapping[str, tuple[ReportRow, ...]]
    clipped: Mapping[str, Figure | None]


def make_report(table: StatisticsTable, features: ReportFeatures) -> StatisticsReport:
    """The report of an opened table.

    Raises:
        DataError: a block that it needs was not released, or a feature is not of the sort that it needs.
        SchemaError: a feature is not in the schema.
    """
    _check(table.schema, features)
    source = _Source(table, features)
    both, first, second = (np.array(each, dtype=np.float64) for each in ((1, 1), (1, 0), (0, 1)))
    everybody = source.row("all", 0, None, both)
    classes = tuple(source.row("class", number, None, chosen) for number, chosen in enumerate((first, second)))
    groups = {
        group: tuple(source.row(group, number, group, both) for number in range(table.schema.n_bins(group)))
        for group in features.groups
    }
    return StatisticsReport(
        schema=table.schema,
        features=features,
        year=table.choice.year,
        cohort_size=table.cohort_size,
        sigma=table.sigma,
        everybody=everybody,
        classes=classes,
        groups=groups,
        clipped={name: source.clipped(name) for name in features.measures if table.schema.feature(name).spec.rounded},
    )


def _check(schema: Schema, features: ReportFeatures) -> None:
    for group in features.groups:
        if schema.feature(group).kind != schema.label.kind:
            raise DataError(
                f"{group} is not of the label's kind",
                field="groups",
                remedy="group by features that every merchant has",
            )
    for name in features.measures:
        spec = schema.feature(name).spec
        if name == features.overdue:
            if len(spec.categories or ()) != 2:
                raise DataError(f"{name} has not two categories", field="overdue", remedy="name overdue and current")
        elif not spec.rounded:
            raise DataError(f"{name} is not rounded to knots", field=name, remedy="give it rounded: true in the schema")


class _Source:
    """Blocks of a table as the report reads them: rows are those that a figure is of, columns a measure's bins."""

    def __init__(self, table: StatisticsTable, features: ReportFeatures) -> None:
        self._table, self._features = table, features
        self._schema = table.schema
        self._blocks: dict[tuple[str | None, str], Block] = {}

    def row(self, group: str, number: int, by: str | None, classes: FloatArray) -> ReportRow:
        """Figures of the classes chosen, or of one bin of a group."""
        place = classes if by is None else np.eye(self._schema.n_bins(by))[number]
        names, found = self._features, dict.fromkeys(MEASURES, None)
        merchants = self._merchants(by, number, classes)
        credit = self._users(names.amount, by, place)
        amount, before = self._mean(names.amount, by, place), self._mean(names.amount_baseline, by, place)
        rate, rate_before = self._mean(names.rate, by, place), self._mean(names.rate_baseline, by, place)
        subsidised = self._users(names.subsidy, by, place)
        figures: dict[str, Figure | None] = found | {
            "merchants": figure(merchants),
            "with_credit": figure(credit),
            "availability": figure(_share(credit, merchants), most=1.0),
            "mean_amount": figure(amount),
            "mean_amount_baseline": figure(before),
            "amount_change": figure(change(amount, before), least=-1.0),
            "mean_rate": figure(rate),
            "mean_rate_baseline": figure(rate_before),
            "rate_change": figure(change(rate, rate_before), least=-1.0),
            "overdue_rate": figure(self._overdue(by, place), most=1.0),
            "subsidised": figure(subsidised),
            "subsidy_share": figure(_share(subsidised, merchants), most=1.0),
            "mean_subsidy": figure(self._mean(names.subsidy, by, place)),
            "subsidy_total": figure(self._total(names.subsidy, by, place)),
        }
        return ReportRow(group, number, figures)

    def clipped(self, name: str) -> Figure | None:
        """Share above the last knot among all that have a value."""
        block = self._block(name, None)
        top = np.zeros(self._schema.n_bins(name))
        top[-2] = 1.0
        both = np.ones(2)
        return figure(block.ratio(np.outer(both, top), np.outer(both, self._given(name))), most=1.0)

    def _merchants(self, by: str | None, number: int, classes: FloatArray) -> Estimate:
        """Merchants of a bin, or of a class: of the latter the group with the fewest bins tells most exactly."""
        schema = self._schema
        if by is None and classes.all():
            return Estimate(float(self._table.members[schema.label.kind]), 0.0)  # public
        name = by or min(self._features.groups, key=schema.n_bins)
        block = Block.of(self._table.of_label(name), self._table.members[schema.label.kind], self._table.sigma)
        bins = np.ones(schema.n_bins(name)) if by is None else np.eye(schema.n_bins(name))[number]
        return block.linear(np.outer(bins, classes))

    def _block(self, name: str, by: str | None) -> Block:
        """(bins of the group or the two classes, bins of the measure)."""
        if (by, name) not in self._blocks:
            counts = self._table.of_label(name).T if by is None else self._table.pair(by, name)
            total = self._table.members[self._schema.feature(name).kind]
            self._blocks[by, name] = Block.of(counts, total, self._table.sigma)
        return self._blocks[by, name]

    def _given(self, name: str) -> FloatArray:
        """1 for every bin of a measure but the missing one."""
        given = np.ones(self._schema.n_bins(name))
        given[-1] = 0.0
        return given

    def _knots(self, name: str) -> FloatArray:
        """What a merchant in each bin of a measure counts as: its knot, above the last one that, missing nothing."""
        knots = self._schema.feature(name).spec.bins or ()
        return np.array([*knots, knots[-1], 0.0])

    def _users(self, name: str | None, by: str | None, place: FloatArray) -> Estimate | None:
        if name is None:
            return None
        return self._block(name, by).linear(np.outer(place, self._given(name)))

    def _mean(self, name: str | None, by: str | None, place: FloatArray) -> Estimate | None:
        if name is None:
            return None
        above = np.outer(place, self._knots(name))
        return self._block(name, by).ratio(above, np.outer(place, self._given(name)), self._rounding(name, by, place))

    def _total(self, name: str | None, by: str | None, place: FloatArray) -> Estimate | None:
        if name is None:
            return None
        sum_of = self._block(name, by).linear(np.outer(place, self._knots(name)))
        return Estimate(sum_of.value, sum_of.variance + self._rounding(name, by, place))

    def _rounding(self, name: str, by: str | None, place: FloatArray) -> float:
        counts = place @ self._block(name, by).cells
        return rounding_variance(self._knots(name)[:-2], counts[:-2])

    def _overdue(self, by: str | None, place: FloatArray) -> Estimate | None:
        name = self._features.overdue
        if name is None:
            return None
        late, known = np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0])
        return self._block(name, by).ratio(np.outer(place, late), np.outer(place, known))


def _share(part: Estimate | None, whole: Estimate) -> Estimate | None:
    return None if part is None else quotient(part, whole)
