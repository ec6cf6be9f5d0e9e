"""Published programme statistics at the gateway: fetched from the hub, verified by this node, and passed on whole."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from crypto.wire.base import Identifier
from crypto.wire.statistics_release import StatisticsList
from models.statistics.published import PublishedStatistics
from nodes.statistics_releases import StatisticsReader


def statistics_router(reader: StatisticsReader) -> APIRouter:
    """The statistics as routes."""
    router = APIRouter(prefix="/v1/programme-statistics", tags=["statistics"])

    @router.get("", summary="Published statistics")
    def list_reports() -> StatisticsList:
        """List the reports that the hub has published, the oldest first; each is verified when it is read."""
        return StatisticsList(reports=reader.list())

    @router.get("/{campaign_id}", summary="One report", response_model=PublishedStatistics)
    def read_report(campaign_id: Identifier) -> Response:
        """Return what a report is made of: noisy counts that the witness released and the audit log names."""
        return Response(reader.read(campaign_id).model_dump_json(), media_type="application/json")

    return router
