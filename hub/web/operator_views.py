"""What the operator's pages of campaigns show, without HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hub.campaign_book import UNFINISHED, Campaign, CampaignBook
from hub.campaign_plan import Progress
from hub.problem_details import Problem
from hub.services import Hub
from hub.waiting import Wait
from hub.web.operator_words import Reason, reason_of
from models.said import Said, said

STEP_NAMES = {"release": "release of the sum"}
"""Message ids of steps whose own name means something else elsewhere."""
LAST_STEPS = 200
"""Steps shown, the newest first; older ones are in `digua-hub campaign show`."""


@dataclass(frozen=True)
class StepView:
    """How far a step of an attempt is.

    Attributes:
        stage: message id.
        step: message id.
        number: of the attempt, from 1.
        done, total: parties, or rounds.
        seconds: since the stage began.
        detail: in the campaign's own words.
    """

    stage: str
    number: str
    step: str
    done: int
    total: int
    seconds: float
    detail: str


@dataclass(frozen=True)
class RefusalView:
    """Who ended an attempt, and why."""

    party_id: str
    attempt: str
    reason: Reason
    code: str
    detail: str


@dataclass(frozen=True)
class WaitView:
    """For whom the campaign waits, until when."""

    parties: tuple[str, ...]
    until: datetime
    done: int
    total: int


@dataclass(frozen=True)
class CampaignLine:
    """A campaign in a list; `state` is its status, or that it waits for a worker."""

    campaign_id: str
    name: str
    state: str
    stages: tuple[str, ...]
    epsilon: float
    noise: str
    created_at: int
    ended_at: int | None
    model_id: str | None


@dataclass(frozen=True)
class CampaignView:
    """One campaign with all that is known of it."""

    line: CampaignLine
    schema: str
    delta: float
    holdout: float
    engine: str
    run_by: str | None
    unfinished: bool
    abort_asked: bool
    waiting: WaitView | None
    now: StepView | None
    failure: Problem | None
    steps: tuple[StepView, ...]
    refusals: tuple[RefusalView, ...]
    models: tuple[tuple[str, str], ...]


def campaign_lines(hub: Hub) -> tuple[CampaignLine, ...]:
    """Return all campaigns, the newest first."""
    return tuple(_line(each, taken=hub.campaigns.taken(each)) for each in hub.campaigns.book.all())


def campaign_view(hub: Hub, campaign_id: str) -> CampaignView:
    """Return one campaign; NotFoundError where there is none."""
    book = hub.campaigns.book
    campaign = book.get(campaign_id)
    taken = hub.campaigns.taken(campaign)
    unfinished = campaign.status in UNFINISHED
    events = [event for _, event in book.events(campaign_id)]
    steps = _newest_steps(events)
    last = events[-1] if events else None
    models = (("encoder", campaign.encoder_model), ("scorecard", campaign.scorecard_model))
    return CampaignView(
        line=_line(campaign, taken=taken),
        schema=campaign.schema.name,
        delta=campaign.order.delta,
        holdout=campaign.order.held_out,
        engine=campaign.order.engine,
        run_by=campaign.run_by if taken else None,
        unfinished=unfinished,
        abort_asked=unfinished and book.abort_asked(campaign_id),
        waiting=_waiting(last) if unfinished and last is not None else None,
        now=steps[0] if unfinished and steps else None,
        failure=campaign.failure,
        steps=steps,
        refusals=_refusals(book, campaign_id),
        models=tuple((f"{stage} stage", model_id) for stage, model_id in models if model_id is not None),
    )


def stages_said(stages: Sequence[str]) -> Said:
    """Stages in a row, each in the reader's language."""
    places = " → ".join("{" + f"s{number}" + "}" for number in range(len(stages)))
    return said(places, **{f"s{number}": said(f"{stage} stage") for number, stage in enumerate(stages)})


def _line(campaign: Campaign, *, taken: bool) -> CampaignLine:
    waits = campaign.status in UNFINISHED and not taken
    return CampaignLine(
        campaign_id=campaign.campaign_id,
        name=campaign.order.name,
        state="waits for a worker" if waits else campaign.status,
        stages=tuple(campaign.order.stages),
        epsilon=campaign.order.epsilon,
        noise=campaign.order.noise,
        created_at=campaign.created_at,
        ended_at=campaign.ended_at,
        model_id=campaign.model_id if campaign.status == "succeeded" else None,
    )


def _newest_steps(events: Sequence[Progress]) -> tuple[StepView, ...]:
    """The last word on each step of each attempt, the newest first."""
    newest: dict[tuple[str, str, str], Progress] = {}
    for event in events:
        key = (event.stage, event.attempt, event.step)
        newest.pop(key, None)
        newest[key] = event
    return tuple(
        StepView(
            stage=f"{event.stage} stage",
            number=event.attempt.rpartition("/")[2],
            step=STEP_NAMES.get(event.step, event.step),
            done=event.done,
            total=event.total,
            seconds=event.seconds,
            detail="" if event.step == "wait" else event.detail,
        )
        for event in reversed([*newest.values()][-LAST_STEPS:])
    )


def _waiting(event: Progress) -> WaitView | None:
    wait = Wait.of(event)
    return None if wait is None else WaitView(wait.parties, wait.until, event.done, event.total)


def _refusals(book: CampaignBook, campaign_id: str) -> tuple[RefusalView, ...]:
    found = []
    for each in book.refusals(campaign_id):
        reason, code, detail = reason_of(each.reason)
        found.append(RefusalView(each.party_id, each.attempt.removeprefix(f"{campaign_id}/"), reason, code, detail))
    return tuple(found)
