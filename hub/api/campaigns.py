"""Campaigns over HTTP, for the administrator."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import JSONResponse, Response

from hub.api.dependencies import AdminOnly, HubOf, RawBody, parse
from hub.api.described import about
from hub.api.views import CampaignLine, CampaignList, CampaignOrdered, CampaignView
from hub.budget_plan import budget_plan
from hub.campaign_forecast import MOST_CAMPAIGNS, Wishes
from hub.campaign_views import CampaignSubmission, detail, summary
from hub.plan_document import PlanDocument, plan_document
from hub.problem_details import language_of_request
from models.schema import Schema

router = APIRouter(prefix="/v1/campaigns", tags=["campaigns"], dependencies=[AdminOnly])


@router.post("", **about(takes=CampaignSubmission, gives=CampaignOrdered, status=201, caller="administrator"))
def order_campaign(
    hub: HubOf, body: RawBody, idempotency_key: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Response:
    """Accept an order, which a worker takes up; how it goes on is read with GET."""
    submission = parse(body, CampaignSubmission)
    schema = Schema.from_json(json.dumps(submission.schema_document))
    campaign_id = hub.campaigns.order(submission.campaign, schema, key=idempotency_key)
    return JSONResponse({"campaign_id": campaign_id, "status": "queued"}, 201)


@router.post("/plan", **about(takes=CampaignSubmission, gives=PlanDocument, caller="administrator", made=True))
def plan_campaign(
    request: Request,
    hub: HubOf,
    body: RawBody,
    campaigns: Annotated[int, Query(ge=1, le=MOST_CAMPAIGNS)] = 4,
    default_rate: Annotated[float | None, Query(gt=0, le=0.5)] = None,
    limit: Annotated[float | None, Query(gt=0, le=100)] = None,
    target: Annotated[float, Query(gt=0, lt=0.5)] = 0.005,
) -> PlanDocument:
    """Foretell what an order would cost and how exact it would be; nothing is ordered, and no node is asked.

    `campaigns` a year; `default_rate` where no table was published yet; `limit` of the nodes' owners (ε), where it is
    known; `target`: the loss of AUC that would be acceptable.
    """
    submission = parse(body, CampaignSubmission)
    schema = Schema.from_json(json.dumps(submission.schema_document))
    wishes = Wishes(campaigns=campaigns, default_rate=default_rate, limit=limit, target=target)
    plan = budget_plan(hub, submission.campaign, schema, wishes)
    language = language_of_request(request.headers.get("accept-language"))
    return plan_document(plan, submission.campaign, schema, language)


@router.get("", **about(gives=CampaignList, caller="administrator", made=True))
def list_campaigns(hub: HubOf) -> dict[str, object]:
    """List all campaigns, the newest first."""
    return {"campaigns": [summary(each, taken=hub.campaigns.taken(each)) for each in hub.campaigns.book.all()]}


@router.get("/{campaign_id}", **about(gives=CampaignView, caller="administrator", made=True))
def read_campaign(hub: HubOf, campaign_id: str, after: Annotated[int, Query(ge=0)] = 0) -> dict[str, object]:
    """Return a campaign with its steps that follow number `after`."""
    book = hub.campaigns.book
    campaign = book.get(campaign_id)
    return detail(campaign, book, taken=hub.campaigns.taken(campaign), after=after)


@router.post("/{campaign_id}/abort", **about(gives=CampaignLine, caller="administrator", made=True))
def abort_campaign(hub: HubOf, campaign_id: str) -> dict[str, object]:
    """End a campaign at its next step; a table attempt under way is voided."""
    hub.campaigns.abort(campaign_id)
    campaign = hub.campaigns.book.get(campaign_id)
    return summary(campaign, taken=hub.campaigns.taken(campaign))
