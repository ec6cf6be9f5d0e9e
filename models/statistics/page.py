"""The policy page of programme statistics: the report in one language as a page of its own, with charts and tables.

It is laid out and drawn as model cards are; a figure that noise drowns is a dash.
"""

from __future__ import annotations

from models.card import page_of
from models.card_charts import IntervalsChart
from models.card_content import Block, Bullets, Card, Facts, Headline, Section, Table, Text
from models.card_content import Figure as Drawn
from models.card_voice import Voice, factor
from models.statistics.privacy import ReportPrivacy
from models.statistics.report import MEASURES, ReportRow, StatisticsReport
from models.statistics.words import NAMES, group_name, name_of, number, row_name, told

_CHARTS = ("availability", "mean_amount", "mean_rate", "overdue_rate", "subsidy_share")
"""Figures drawn by group; the others stand in the tables."""
HEADLINES = ("with_credit", "mean_amount", "amount_change", "mean_rate", "rate_change", "overdue_rate")
"""Figures of all merchants that matter most."""


def statistics_page(report: StatisticsReport, privacy: ReportPrivacy, lang: str) -> str:
    """The report as one HTML page."""
    return page_of(statistics_card(report, privacy, lang))


def statistics_card(report: StatisticsReport, privacy: ReportPrivacy, lang: str) -> Card:
    """The page's content."""
    say = Voice(lang)
    sections = [
        _overall(say, report),
        *(_group(say, report, group) for group in report.features.groups),
        _method(say, report, privacy),
    ]
    return Card(
        lang=say.lang,
        title=say("Programme statistics {year}", year=report.year),
        subtitle=report.schema.name,
        lead=_lead(say, report, privacy),
        private=privacy.epsilon is not None,
        headlines=tuple(_headline(say, report, name) for name in HEADLINES if name in _shown(report)),
        sections=tuple(sections),
    )


def _lead(say: Voice, report: StatisticsReport, privacy: ReportPrivacy) -> str:
    size = number(report.cohort_size, "count")
    if privacy.epsilon is None:
        return say("Without noise: for synthetic data only. {size} merchants are counted.", size=size)
    return say(
        "Of {size} merchants who agreed. Every count has noise: whether any one merchant is in it changes what can be "
        "seen by a factor of {factor} at most. Each figure stands with its 95 % interval.",
        size=size,
        factor=factor(privacy.epsilon),
    )


def _shown(report: StatisticsReport) -> tuple[str, ...]:
    """Figures that were asked for: those without a feature are told of nobody."""
    rows = (report.everybody, *report.classes, *(row for rows in report.groups.values() for row in rows))
    return tuple(name for name in MEASURES if any(row.figures[name] is not None for row in rows))


def _headline(say: Voice, report: StatisticsReport, name: str) -> Headline:
    value, interval = told(report.everybody.figures[name], NAMES[name][1])
    return Headline(name_of(name, say.lang), value, interval)


def _table(say: Voice, report: StatisticsReport, rows: tuple[ReportRow, ...], names: tuple[str, ...]) -> Table:
    """Two columns per figure: itself and its interval."""
    columns = [say("Merchants of")]
    for name in names:
        columns += [name_of(name, say.lang), say("95 % interval")]
    lines = [
        (row_name(report, row, say.lang), *(cell for name in names for cell in told(row.figures[name], NAMES[name][1])))
        for row in rows
    ]
    return Table(tuple(columns), tuple(lines), numeric=1)


def _overall(say: Voice, report: StatisticsReport) -> Section:
    rows = (report.everybody, *report.classes)
    columns = (say("Figure"), *(row_name(report, row, say.lang) for row in rows))
    lines = []
    for name in _shown(report):
        cells = [told(row.figures[name], NAMES[name][1]) for row in rows]
        lines.append((name_of(name, say.lang), *(f"{value} ({ends})" if ends else value for value, ends in cells)))
    blocks: list[Block] = [Table(columns, tuple(lines), numeric=1)]
    baseline = report.features.baseline_year
    if baseline is not None:
        blocks.append(Text(say("The baseline year is {year}. Money is in yuan.", year=baseline)))
    return Section("overall", say("All merchants"), tuple(blocks))


def _group(say: Voice, report: StatisticsReport, group: str) -> Section:
    # Bins of what is unlisted or missing are shown only where somebody stands out of the noise there.
    rows = tuple(row for row in report.groups[group] if _stands_out(row))
    shown = _shown(report)
    blocks: list[Block] = []
    for name in _CHARTS:
        drawn = [(row, found) for row in rows if (found := row.figures[name]) is not None]
        if name in shown and drawn:
            title = name_of(name, say.lang)
            chart = IntervalsChart(
                labels=tuple(row_name(report, row, say.lang) for row, _ in drawn),
                values=tuple(found.value for _, found in drawn),
                low=tuple(found.low for _, found in drawn),
                high=tuple(found.high for _, found in drawn),
                percent=NAMES[name][1] in ("share", "rate"),
            )
            text = say("by {group}; lines are 95 % intervals", group=group_name(report, group, say.lang))
            blocks.append(Drawn(f"{group}-{name}", title, text, chart, _table(say, report, rows, (name,)), folded=True))
    rest = tuple(name for name in shown if name not in _CHARTS)
    for start in range(0, len(rest), 3):
        blocks.append(_table(say, report, rows, rest[start : start + 3]))
    return Section(f"by-{group}", group_name(report, group, say.lang), tuple(blocks))


def _stands_out(row: ReportRow) -> bool:
    found = row.figures["merchants"]
    return found is not None and found.low > 0


def _method(say: Voice, report: StatisticsReport, privacy: ReportPrivacy) -> Section:
    clipped = []
    for name, found in report.clipped.items():
        value, ends = told(found, "share")
        title = report.schema.feature(name).spec.title.text(say.lang)
        clipped.append((say("Above the last knot: {feature}", feature=title), f"{value} ({ends})" if ends else value))
    cost = say("none") if privacy.epsilon is None else f"ε = {privacy.epsilon:.3g}, δ = {privacy.delta:g}"
    facts = (
        (say("Privacy loss of each merchant"), cost),
        (say("Noise on each count (standard deviation)"), f"{report.sigma:.1f}"),
        (say("Colluding nodes withstood"), str(privacy.t_collude)),
        *clipped,
    )
    return Section(
        "method",
        say("How it was counted"),
        (
            Facts(facts),
            Bullets(
                (
                    say("Only merchants who agreed to this are counted; how others differ is not known."),
                    say("Counting ran across the sources under masks; nobody has joined their rows."),
                    say("Amounts and rates were rounded at random to public knots; means are right on average."),
                    say("What is above the last knot counts as that knot; where many are, means are too low."),
                    say("A dash stands where noise drowns the figure."),
                )
            ),
        ),
    )
