"""Names of a report's figures and rows, in the reader's language."""

from __future__ import annotations

from typing import Literal

from models.i18n import catalogue
from models.lishui.places import COUNTIES, PROVINCES
from models.statistics.estimates import Figure
from models.statistics.report import ReportRow, StatisticsReport

Unit = Literal["count", "share", "rate", "change", "money"]
NAMES: dict[str, tuple[str, Unit]] = {
    "merchants": ("Merchants", "count"),
    "with_credit": ("Merchants with credit", "count"),
    "availability": ("Share with credit", "share"),
    "mean_amount": ("Average credit", "money"),
    "mean_amount_baseline": ("Average credit, baseline year", "money"),
    "amount_change": ("Change of average credit", "change"),
    "mean_rate": ("Average rate", "rate"),
    "mean_rate_baseline": ("Average rate, baseline year", "rate"),
    "rate_change": ("Change of average rate", "change"),
    "overdue_rate": ("Overdue rate", "share"),
    "subsidised": ("Merchants with subsidy", "count"),
    "subsidy_share": ("Share with subsidy", "share"),
    "mean_subsidy": ("Average subsidy", "money"),
    "subsidy_total": ("Subsidies in all", "money"),
}
"""Figure → message id and what it is measured in; money is in yuan."""


def say(lang: str, msgid: str) -> str:
    """A text of the report."""
    return catalogue("models").translate(lang, msgid)


def name_of(figure: str, lang: str) -> str:
    """A figure's name."""
    return say(lang, NAMES[figure][0])


def row_name(report: StatisticsReport, row: ReportRow, lang: str) -> str:
    """What a row is of: everybody, a class of the label, or a bin of a group."""
    label = report.schema.label
    if row.group == "all":
        return say(lang, "All merchants")
    if row.group == "class":
        return label.title.text(lang) if row.number == 0 else say(lang, "All others")
    return _place(report.schema.bin_labels(row.group, lang)[row.number], lang)


def _place(label: str, lang: str) -> str:
    """A bin's label; codes of GB/T 2260 that are known with their names."""
    name = COUNTIES[label][0] if label in COUNTIES else PROVINCES[label].name if label in PROVINCES else None
    if name is None:
        return label
    return name if lang == "zh" else f"{label} {name}"


def group_name(report: StatisticsReport, group: str, lang: str) -> str:
    """What a table is by."""
    return report.schema.feature(group).spec.title.text(lang)


def number(value: float, unit: Unit) -> str:
    """A number as people read it: counts and money whole, shares in per cent with one decimal, rates with two."""
    if unit == "change":
        return f"{100 * value:+.1f} %".replace("-", "−")
    if unit in ("share", "rate"):
        return f"{100 * value:.{1 if unit == 'share' else 2}f} %"
    return f"{value:,.0f}"


def told(figure: Figure | None, unit: Unit) -> tuple[str, str]:
    """A figure and its interval; a dash where noise drowns it."""
    if figure is None:
        return "–", ""
    if figure.low == figure.high:  # public, or counted without noise
        return number(figure.value, unit), ""
    return number(figure.value, unit), f"{number(figure.low, unit)} – {number(figure.high, unit)}"
