"""Published statistics at the programme office's desk: the programme's reports, and merchants by band of the model.

A report's page and file are those of the hub's own policy page, made by the same code from the same counts.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from hub.platform.api.dependencies import PlatformOf
from hub.platform.reach import ReachTable, interval_of
from hub.platform.statistics_book import KeptReport
from hub.platform.web import lending_words, words
from hub.platform.web.office import Officer
from models.said import Said, said
from models.statistics.export import report_csv
from models.statistics.page import HEADLINES, statistics_page
from models.statistics.words import NAMES, told
from models.web.headers import DOCUMENT_POLICY
from models.web.language import language_of_reader
from models.web.listing import Cell, Link, Moment
from models.web.pages import PagesOf

router = APIRouter(prefix="/office/statistics", include_in_schema=False)
CampaignId = Annotated[str, Path(max_length=128)]


@router.get("")
def read_statistics(request: Request, _member: Officer, platform: PlatformOf, pages: PagesOf) -> Response:
    """Show the newest report's figures with what it cost, the earlier ones, and the newest table of counts by band."""
    reports, table = platform.statistics.all(), platform.products.reach_table()
    newest = reports[0] if reports else None
    return pages.render(
        request,
        "office/statistics.html.j2",
        newest=newest,
        figures=[] if newest is None else _figures(newest),
        facts=[] if newest is None else _facts(newest),
        reports=[_row(each) for each in reports],
        table=table,
        rows=[] if table is None else _counts_shown(table),
        headings=[] if table is None else ["Band", *(lending_words.UNSEGMENTED[each] for each in table.segments)],
    )


@router.get("/{campaign_id}")
def read_report(request: Request, _member: Officer, platform: PlatformOf, campaign_id: CampaignId) -> Response:
    """Show a whole report with its charts; StatisticsUnknownError where there is none."""
    kept, language = platform.statistics.get(campaign_id), language_of_reader(request)
    text = statistics_page(kept.report, kept.published.privacy, language)
    return HTMLResponse(text, headers={"Content-Language": language, "Content-Security-Policy": DOCUMENT_POLICY})


@router.get("/{campaign_id}/figures.csv")
def read_file(request: Request, _member: Officer, platform: PlatformOf, campaign_id: CampaignId) -> Response:
    """Give a report's figures as CSV; StatisticsUnknownError where there is none."""
    kept, language = platform.statistics.get(campaign_id), language_of_reader(request)
    name = f"two-small-statistics-{kept.report.year}-{language}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Language": language}
    return StreamingResponse(report_csv(kept.report, language), media_type="text/csv; charset=utf-8", headers=headers)


def _figures(kept: KeptReport) -> list[dict[str, object]]:
    """The headlines of the policy page; a figure that noise drowns, or that was not asked for, is left out."""
    found = [(name, kept.report.everybody.figures[name]) for name in HEADLINES]
    shown = [(name, told(figure, NAMES[name][1])) for name, figure in found if figure is not None]
    return [{"name": NAMES[name][0], "value": value, "note": interval or None} for name, (value, interval) in shown]


def _facts(kept: KeptReport) -> list[tuple[str, Cell]]:
    its = kept.published
    return [
        ("Reporting year", str(kept.report.year)),
        ("Baseline year", str(kept.report.features.baseline_year or "–")),
        ("Merchants who agreed", its.cohort_size),
        ("Cost to each merchant's privacy", f"ε = {its.epsilon:.3g}, δ = {its.delta:g}"),
        ("Opened", Moment(its.opened_at)),
        ("Campaign at the hub", its.campaign_id),
        ("Entry of the hub's audit log", str(its.log_index)),
    ]


def _row(kept: KeptReport) -> tuple[Cell, ...]:
    own = f"/office/statistics/{kept.published.campaign_id}"
    cost = f"{kept.published.epsilon:.3g}"
    return (Link(str(kept.report.year), own), kept.published.cohort_size, cost, Moment(kept.taken_at))


def _counts_shown(table: ReachTable) -> list[tuple[Cell, ...]]:
    return [
        (
            cell.band,
            *(_value(segment, value) for segment, value in zip(table.segments, cell.values, strict=True)),
            *interval_of(table, [cell.count]),
        )
        for cell in table.cells
    ]


def _value(segment: str, value: str) -> Said:
    shown = {"kind": said(words.KINDS.get(value, value)), "origin": words.county(value), "place": words.place(value)}
    return shown.get(segment, said(value))
