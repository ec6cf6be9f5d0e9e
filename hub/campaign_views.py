"""Campaigns as the administrator sees them over HTTP and on the command line."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hub.campaign_book import UNFINISHED, Campaign, CampaignBook
from hub.campaign_plan import Progress
from hub.waiting import Wait
from models.campaign_file import CampaignFile


class CampaignSubmission(BaseModel):
    """Body of POST /v1/campaigns: the campaign file as JSON, and the document of the schema that it names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaign: CampaignFile
    schema_document: dict[str, Any] = Field(alias="schema")


def summary(campaign: Campaign, *, taken: bool) -> dict[str, object]:
    """What lists show; `taken`: a process runs it now."""
    waits = campaign.status in UNFINISHED and not taken
    return {
        "campaign_id": campaign.campaign_id,
        "name": campaign.order.name,
        "status": campaign.status,
        "waits_for": "worker" if waits else None,
        "schema": campaign.schema.name,
        "stages": list(campaign.order.stages),
        "epsilon": campaign.order.epsilon,
        "delta": campaign.order.delta,
        "noise": campaign.order.noise,
        "created_at": _moment(campaign.created_at),
        "ended_at": None if campaign.ended_at is None else _moment(campaign.ended_at),
        "model_id": campaign.model_id if campaign.status == "succeeded" else None,
    }


def detail(campaign: Campaign, book: CampaignBook, *, taken: bool, after: int = 0) -> dict[str, object]:
    """All of one campaign: its steps from number `after` on, who refused and why, its models or its failure."""
    models = {"encoder": campaign.encoder_model, "scorecard": campaign.scorecard_model}
    return {
        **summary(campaign, taken=taken),
        "engine": campaign.order.engine,
        "run_by": campaign.run_by if taken else None,
        "models": {stage: model_id for stage, model_id in models.items() if model_id is not None},
        "failure": None if campaign.failure is None else campaign.failure.model_dump(mode="json", exclude_none=True),
        "refusals": [
            {
                "attempt": each.attempt,
                "party": each.party_id,
                "code": each.reason.partition(":")[0],
                "detail": each.reason.partition(":")[2].strip(),
            }
            for each in book.refusals(campaign.campaign_id)
        ],
        "holdout": {
            "fraction": campaign.order.held_out,
            "salt": base64.urlsafe_b64encode(campaign.holdout_salt).decode().rstrip("="),
        },
        "progress": [_step(number, event) for number, event in book.events(campaign.campaign_id, after=after)],
    }


def _step(number: int, event: Progress) -> dict[str, object]:
    wait = Wait.of(event)
    about = {"detail": event.detail} if wait is None else {"detail": "", "wait": wait.model_dump(mode="json")}
    return {
        "number": number,
        "stage": event.stage,
        "attempt": event.attempt,
        "what": event.step,
        "done": event.done,
        "total": event.total,
        "seconds": round(event.seconds, 3),
        **about,
    }


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
