"""Published programme statistics, for everybody (S7 of docs/programme-statistics.md)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from crypto.wire.statistics_release import StatisticsList, StatisticsRelease
from hub.api.dependencies import HubOf, answer
from hub.api.described import about

router = APIRouter(prefix="/v1/programme-statistics", tags=["statistics"])


@router.get("", **about(gives=StatisticsList))
def list_reports(hub: HubOf) -> Response:
    """List published reports, the oldest first."""
    return answer(StatisticsList(reports=hub.statistics.published()))


@router.get("/{campaign_id}", **about(gives=StatisticsRelease))
def read_report(hub: HubOf, campaign_id: str) -> Response:
    """Return the noisy counts that a report is made of, with terms, the witness's decision and proofs of the log."""
    return answer(hub.statistics.release(campaign_id))
