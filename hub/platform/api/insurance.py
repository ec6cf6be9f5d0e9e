"""Policies of comprehensive insurance, as insurers' core systems report them."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from hub.platform.api.dependencies import CallerOf, ChangeOf, PlatformOf, takes
from hub.platform.policies import EndCause, Policy, PolicyTerms
from hub.platform.policy_book import MAX_PAGE

router = APIRouter(prefix="/v1", tags=["insurance"])


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PoliciesIn(_Closed):
    """Policies to be taken over, all or none."""

    policies: Annotated[list[PolicyTerms], Field(min_length=1, max_length=500)]


class EndIn(_Closed):
    """The first day without cover, and why."""

    on: date
    cause: EndCause


class PolicyOut(BaseModel):
    """A policy; `covered_until` is the first day without cover."""

    policy_id: str
    insurer: str
    terms: PolicyTerms
    covered_until: date
    cause: EndCause | None


class PolicyList(BaseModel):
    """Policies in the order of their reporting; ask again with `after` as the last of a full list."""

    policies: list[PolicyOut]
    next: str | None = None


@router.post("/policies", status_code=201, openapi_extra=takes(PoliciesIn), response_model=PolicyList)
def report(change: ChangeOf) -> Response:
    """Report policies: those that are known with the same terms stay as they are."""
    insurer, body = change.caller.one_of("insurer"), change.parsed(PoliciesIn)
    report_in = change.platform.policies.report_in
    return change.once(
        lambda session: PolicyList(
            policies=[_out(each) for each in report_in(session, insurer.actor, insurer.party, body.policies)]
        ),
        status=201,
    )


@router.post("/policies/{policy_id}/end", openapi_extra=takes(EndIn), response_model=PolicyOut)
def end(change: ChangeOf, policy_id: str) -> Response:
    """End a policy before its time: its subsidy grows no further."""
    insurer, body = change.caller.one_of("insurer"), change.parsed(EndIn)
    end_in = change.platform.policies.end_in
    return change.once(
        lambda session: _out(end_in(session, insurer.actor, policy_id, body.on, body.cause, insurer=insurer.party))
    )


@router.get("/policies")
def list_policies(
    platform: PlatformOf,
    caller: CallerOf,
    account_id: Annotated[str | None, Query(max_length=32)] = None,
    after: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> PolicyList:
    """List policies: an insurer's own; all of them for the office, operators and the regulator."""
    caller.one_of("insurer", "government", "operator", "regulator")
    insurer = caller.party if caller.kind == "insurer" else None
    found = platform.policies.listed(insurer=insurer, account_id=account_id, after=after)
    return PolicyList(
        policies=[_out(each) for each in found], next=found[-1].policy_id if len(found) == MAX_PAGE else None
    )


def _out(found: Policy) -> PolicyOut:
    return PolicyOut(
        policy_id=found.policy_id,
        insurer=found.insurer,
        terms=found.terms,
        covered_until=found.covered_until,
        cause=found.cause,
    )
