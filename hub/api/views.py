"""Shapes of the answers that are no wire models: what the administrator and the public are told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hub.problem_details import Problem
from models.evaluation_result import Estimate


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AlarmView(_View):
    """What a person has to mend, in the caller's language."""

    code: str
    title: str
    what: str
    remedy: str
    since: str


class HealthView(_View):
    """Counts and alarms; `log_cosigned` is the size of the newest cosigned checkpoint."""

    status: Literal["ok"]
    log_size: int
    log_cosigned: int
    roster_version: int
    pending_parties: int
    connected_parties: int
    alarms: list[AlarmView]


class PartyLine(_View):
    """An enrolled party."""

    party_id: str
    kind: str
    region: str
    title: str
    approved: bool
    connected: bool


class PartyList(_View):
    """All enrolled parties."""

    parties: list[PartyLine]


class ModelLine(_View):
    """A model of the registry."""

    model_id: str
    model_type: str
    campaign_id: str
    line: str
    version: int | None
    status: str
    current: bool
    waiting: bool
    epsilon: float | None
    evaluation_epsilon: float | None
    auc: Estimate | None
    registered_at: str


class ModelList(_View):
    """The models that the caller may see."""

    models: list[ModelLine]


class RollbackList(_View):
    """JWS of type `model-rollback`, the oldest first."""

    rollbacks: list[str]


class CampaignLine(_View):
    """A campaign in lists."""

    campaign_id: str
    name: str
    status: str
    waits_for: Literal["worker"] | None
    schema_name: str = Field(alias="schema")
    stages: list[str]
    epsilon: float
    delta: float
    noise: str
    created_at: str
    ended_at: str | None
    model_id: str | None


class CampaignList(_View):
    """All campaigns, the newest first."""

    campaigns: list[CampaignLine]


class CampaignOrdered(_View):
    """An accepted order."""

    campaign_id: str
    status: Literal["queued"]


class RefusalLine(_View):
    """Who ended an attempt, and why."""

    attempt: str
    party: str
    code: str
    detail: str


class HoldoutView(_View):
    """Which merchants are held out: by hash under a salt (base64url)."""

    fraction: float
    salt: str


class WaitView(_View):
    """For whom a campaign waits."""

    until: str
    parties: list[str]


class StepView(_View):
    """A step of a campaign; `done` of `total` parties or rounds."""

    number: int
    stage: str
    attempt: str
    what: str
    done: int
    total: int
    seconds: float
    detail: str
    wait: WaitView | None = None


class CampaignView(CampaignLine):
    """One campaign, whole."""

    engine: str
    run_by: str | None
    models: dict[str, str]
    failure: Problem | None
    refusals: list[RefusalLine]
    holdout: HoldoutView
    progress: list[StepView]
