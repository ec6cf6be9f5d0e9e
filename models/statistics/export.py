"""The report as lines, a line per figure with its interval: names of columns are for machines, texts for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from models.statistics.report import MEASURES, StatisticsReport
from models.statistics.words import NAMES, Unit, name_of, row_name

COLUMNS = ("year", "baseline_year", "group", "row", "row_name", "figure", "figure_name", "unit", "value", "low", "high")


@dataclass(frozen=True)
class ReportLine:
    """A figure of some merchants, by the names of its columns.

    Attributes:
        value, low, high: it and the ends of its 95 % interval; all None where noise drowns it.
    """

    group: str
    row: int
    row_name: str
    figure: str
    figure_name: str
    unit: Unit
    value: float | None = None
    low: float | None = None
    high: float | None = None


def report_lines(report: StatisticsReport, lang: str) -> Iterator[ReportLine]:
    """All figures: of everybody, of the label's classes, of every bin of every group."""
    for row in (report.everybody, *report.classes, *(row for rows in report.groups.values() for row in rows)):
        named = row_name(report, row, lang)
        for name in MEASURES:
            found = row.figures[name]
            numbers = {} if found is None else vars(found)
            yield ReportLine(row.group, row.number, named, name, name_of(name, lang), NAMES[name][1], **numbers)


def report_csv(report: StatisticsReport, lang: str) -> Iterator[str]:
    """Lines of the file, the first with the columns; a figure that noise drowns has empty numbers."""
    yield _line(COLUMNS)
    for each in report_lines(report, lang):
        cells = (f"{cell:.10g}" if isinstance(cell, float) else cell for cell in astuple(each))
        yield _line((report.year, report.features.baseline_year, *cells))


def _line(cells: tuple[object, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
