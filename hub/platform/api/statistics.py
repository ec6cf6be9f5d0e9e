"""The programme's published statistics, for the programme office's own systems, operators and the regulator."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from hub.platform.api.dependencies import CallerOf, PlatformOf
from hub.platform.callers import CallerKind
from hub.platform.statistics_book import KeptReport
from hub.problem_details import language_of_request
from models.statistics.export import report_csv, report_lines

router = APIRouter(prefix="/v1/programme-statistics", tags=["statistics"])
_READERS: tuple[CallerKind, ...] = ("government", "operator", "regulator")
CampaignId = Annotated[str, Path(max_length=128)]


class ReportHead(BaseModel):
    """A published report; `log_index` is its entry in the hub's audit log, `sha256` that of the counts kept here."""

    campaign_id: str
    year: int
    baseline_year: int | None
    merchants: int
    epsilon: float
    delta: float
    opened_at: datetime
    taken_at: datetime
    log_index: int
    sha256: str


class ReportList(BaseModel):
    """Reports, the newest first."""

    reports: list[ReportHead]


class FigureOut(BaseModel):
    """A figure with the ends of its 95 % interval; all three are null where noise drowns it. Money is in yuan."""

    group: str
    row: int
    row_name: str
    figure: str
    figure_name: str
    unit: str
    value: float | None
    low: float | None
    high: float | None


class ReportOut(BaseModel):
    """A report and all its figures, with names in the language of `Accept-Language`."""

    report: ReportHead
    figures: list[FigureOut]


@router.get("")
def list_reports(platform: PlatformOf, caller: CallerOf) -> ReportList:
    """List the programme statistics that the hub has published."""
    caller.one_of(*_READERS)
    return ReportList(reports=[_head(each) for each in platform.statistics.all()])


@router.get("/{campaign_id}")
def read_report(request: Request, platform: PlatformOf, caller: CallerOf, campaign_id: CampaignId) -> ReportOut:
    """Return every figure of a report."""
    caller.one_of(*_READERS)
    kept = platform.statistics.get(campaign_id)
    language = language_of_request(request.headers.get("accept-language"))
    lines = report_lines(kept.report, language)
    return ReportOut(
        report=_head(kept), figures=[FigureOut.model_validate(each, from_attributes=True) for each in lines]
    )


@router.get("/{campaign_id}/figures.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def export_report(request: Request, platform: PlatformOf, caller: CallerOf, campaign_id: CampaignId) -> Response:
    """Return the same as CSV, as the hub's policy page gives it."""
    caller.one_of(*_READERS)
    kept = platform.statistics.get(campaign_id)
    lines = report_csv(kept.report, language_of_request(request.headers.get("accept-language")))
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8")


def _head(kept: KeptReport) -> ReportHead:
    its = kept.published
    return ReportHead(
        campaign_id=its.campaign_id,
        year=its.choice.year,
        baseline_year=kept.report.features.baseline_year,
        merchants=its.cohort_size,
        epsilon=its.epsilon,
        delta=its.delta,
        opened_at=its.opened_at,
        taken_at=kept.taken_at,
        log_index=its.log_index,
        sha256=kept.sha256,
    )
