"""For banks: who allowed offers and meets a rule, and events not delivered. For the regulator: the record."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, JsonValue
from starlette.responses import Response

from hub.platform.api.dependencies import BankOf, CallerOf, ChangeOf, PlatformOf, takes
from hub.platform.prequalification import MAX_PAGE, OfferState
from hub.platform.webhook_box import DeliveryState, Event

router = APIRouter(prefix="/v1", tags=["banks"])


class OfferLine(BaseModel):
    """An offer that stands."""

    offer_id: str
    account_id: str
    product_id: str
    product_version: int
    state: OfferState
    made_on: date
    valid_until: date


class OfferList(BaseModel):
    """Offers in order of their identifiers; `next` is the `after` of the next page, or null."""

    offers: list[OfferLine]
    next: str | None


class EventLine(BaseModel):
    """An event and how its delivery stands."""

    event_id: str
    bank: str
    body: str
    state: DeliveryState
    tries: int
    made_at: datetime
    due_at: datetime
    last_failure: str | None


class EventList(BaseModel):
    """Events, the newest first."""

    events: list[EventLine]


class Nothing(BaseModel):
    """An empty body."""

    model_config = ConfigDict(extra="forbid")


class AuditLine(BaseModel):
    """An entry of the audit record."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    what: dict[str, JsonValue]
    hash: str


class AuditPage(BaseModel):
    """Entries in their order."""

    entries: list[AuditLine]


@router.get("/prequalified")
def list_prequalified(
    platform: PlatformOf,
    bank: BankOf,
    after: Annotated[str, Query(pattern=r"^[0-9a-f]{0,32}$")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
) -> OfferList:
    """List the calling bank's offers: to merchants that allowed them and meet the rule, and to no others."""
    found = platform.offers.offers_of(bank.party, after=after, limit=limit)
    return OfferList(
        offers=[
            OfferLine(
                offer_id=each.offer_id,
                account_id=each.account_id,
                product_id=each.product_id,
                product_version=each.product_version,
                state=each.state,
                made_on=each.made_on,
                valid_until=each.valid_until,
            )
            for each in found.offers
        ],
        next=found.next,
    )


@router.get("/webhooks/events")
def list_events(
    platform: PlatformOf,
    caller: CallerOf,
    state: DeliveryState | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> EventList:
    """List events: a bank its own, operators all; `state=dead` are those whose delivery was given up."""
    caller.one_of("bank", "operator")
    bank = caller.party if caller.kind == "bank" else None
    return EventList(events=[_event(each) for each in platform.events.events(bank=bank, state=state, limit=limit)])


@router.post("/webhooks/events/{event_id}/retry", openapi_extra=takes(Nothing), response_model=EventLine)
def retry_event(change: ChangeOf, event_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]) -> Response:
    """Have an event that was given up tried again at once."""
    caller = change.caller.one_of("bank", "operator")
    change.parsed(Nothing)
    bank = caller.party if caller.kind == "bank" else None
    return change.once(lambda session: _event(change.platform.events.retry_in(session, event_id, bank=bank)))


@router.get("/audit")
def read_audit(
    platform: PlatformOf,
    caller: CallerOf,
    subject: Annotated[str | None, Query(max_length=160)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 500,
) -> AuditPage:
    """Read the audit record; for the regulator and operators."""
    caller.one_of("regulator", "operator")
    return AuditPage(
        entries=[
            AuditLine(
                seq=each.seq,
                at=each.at,
                actor=each.actor,
                action=each.action,
                subject=each.subject,
                what=dict(each.what),
                hash=each.hash.hex(),
            )
            for each in platform.audit.entries(subject=subject, after=after, limit=limit)
        ]
    )


def _event(event: Event) -> EventLine:
    return EventLine(
        event_id=event.event_id,
        bank=event.bank,
        body=event.body,
        state=event.state,
        tries=event.tries,
        made_at=event.made_at,
        due_at=event.due_at,
        last_failure=event.last_failure,
    )
