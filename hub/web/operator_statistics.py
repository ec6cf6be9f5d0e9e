"""The policy page of a campaign of programme statistics, and the same as CSV."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from hub.api.dependencies import HubOf
from hub.web.operator import Watcher
from models.statistics.export import report_csv
from models.statistics.page import statistics_page
from models.web.headers import DOCUMENT_POLICY
from models.web.language import language_of_reader

router = APIRouter(prefix="/operator", include_in_schema=False)


@router.get("/campaigns/{campaign_id}/statistics")
def read_statistics(request: Request, hub: HubOf, _person: Watcher, campaign_id: str) -> Response:
    """Show a campaign's report; NotFoundError where there is none."""
    language = language_of_reader(request)
    report, privacy = hub.statistics.report(campaign_id)
    text = statistics_page(report, privacy, language)
    return HTMLResponse(text, headers={"Content-Language": language, "Content-Security-Policy": DOCUMENT_POLICY})


@router.get("/campaigns/{campaign_id}/statistics.csv")
def read_statistics_file(request: Request, hub: HubOf, _person: Watcher, campaign_id: str) -> Response:
    """Give the report's figures as CSV; NotFoundError where there is none."""
    language = language_of_reader(request)
    report, _ = hub.statistics.report(campaign_id)
    name = f"digua-statistics-{report.year}-{language}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Language": language}
    return StreamingResponse(report_csv(report, language), media_type="text/csv; charset=utf-8", headers=headers)
