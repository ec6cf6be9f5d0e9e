"""Programmes of subsidies, for the programme office; grants also for banks of loans and insurers of policies."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from hub.errors import RequestError
from hub.platform.api.dependencies import CallerOf, ChangeOf, PlatformOf, takes
from hub.platform.callers import Caller, CallerKind
from hub.platform.programme_book import Programme
from hub.platform.services import Platform
from hub.platform.statements import grants_csv
from hub.platform.subsidised import Thing
from hub.platform.subsidy_book import Cause, Grant
from hub.platform.subsidy_reasons import REASONS
from hub.platform.subsidy_rules import PremiumRule, SubsidyFile, SubsidyRule
from models.web.begun import begun

router = APIRouter(prefix="/v1", tags=["subsidies"])
_READERS: tuple[CallerKind, ...] = ("government", "operator", "regulator")


Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProgrammeOut(BaseModel):
    """A version of a programme's rule, and what is left of the budget."""

    version: int
    sha256: str
    rule: SubsidyRule | PremiumRule
    left_fen: int | None = None


class ProgrammeList(BaseModel):
    """Programmes."""

    programmes: list[ProgrammeOut]


class ThingIn(_Closed):
    """A loan by its financing, or a policy: one of the two."""

    financing_id: Identifier | None = None
    policy_id: Identifier | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.financing_id is None) == (self.policy_id is None):
            raise ValueError("financing_id: name this or policy_id, one of the two")
        return self

    @property
    def thing(self) -> Thing:
        """As the book takes it."""
        return Thing(self.financing_id, self.policy_id)


class UntilIn(_Closed):
    """The first day that is not accrued any more."""

    until: date


class CauseIn(_Closed):
    """Why a subsidy is taken back."""

    cause: Cause


class GrantOut(BaseModel):
    """A grant; amounts in fen by calendar year."""

    number: int
    programme: str
    version: int
    financing_id: str | None
    policy_id: str | None
    account_id: str
    state: str
    granted_on: date
    accrued_until: date | None
    aside_fen: dict[int, int]
    accrued_fen: dict[int, int]


class GrantList(BaseModel):
    """Grants in order of their numbers; ask again with `after` as the last of them."""

    grants: list[GrantOut]


class ReasonOut(BaseModel):
    """An unmet condition: a stable code, and the words for it."""

    code: str
    words: str


class ReasonList(BaseModel):
    """Every unmet condition; none where it would be subsidised."""

    reasons: list[ReasonOut]


class PartOut(BaseModel):
    """What a part of an accrual did; call again, under another key, while grants are left."""

    grants: int
    fen: int
    left: int


@router.post("/programmes", status_code=201, openapi_extra=takes(SubsidyFile), response_model=ProgrammeList)
def publish(change: ChangeOf) -> Response:
    """Publish rules: those that differ from their newest version become the next one."""
    office, file = change.caller.one_of("government"), change.parsed(SubsidyFile)
    publish_in = change.platform.programmes.publish_in
    return change.once(
        lambda session: ProgrammeList(
            programmes=[_out(each) for each in publish_in(session, office.actor, file.programmes)]
        ),
        status=201,
    )


@router.get("/programmes")
def list_programmes(platform: PlatformOf, _caller: CallerOf) -> ProgrammeList:
    """List the newest version of every programme, with what is left of its budget."""
    return ProgrammeList(
        programmes=[_out(each, platform.subsidies.left_fen(each.rule.programme)) for each in platform.programmes.all()]
    )


@router.get("/programmes/{programme}/reasons")
def read_reasons(
    platform: PlatformOf,
    caller: CallerOf,
    programme: str,
    financing_id: Annotated[Identifier | None, Query()] = None,
    policy_id: Annotated[Identifier | None, Query()] = None,
) -> ReasonList:
    """Tell every reason why a programme would not subsidise a loan or a policy now."""
    if (financing_id is None) == (policy_id is None):
        raise RequestError(
            "The question names a loan or a policy.", field="financing_id", remedy="Name this or policy_id."
        )
    thing = Thing(financing_id, policy_id)
    _may_see(platform, caller, thing)
    found = platform.subsidies.why_not(programme, thing)
    return ReasonList(reasons=[ReasonOut(code=each, words=REASONS[each]) for each in found])


@router.post("/programmes/{programme}/grants", status_code=201, openapi_extra=takes(ThingIn), response_model=GrantOut)
def grant(change: ChangeOf, programme: str) -> Response:
    """Subsidise a loan or a policy: the programme office, or on the merchant's behalf the bank or the insurer."""
    caller, thing = change.caller.one_of("government", "bank", "insurer"), change.parsed(ThingIn).thing
    _may_see(change.platform, caller, thing)
    grant_in = change.platform.subsidies.grant_in
    return change.once(lambda session: _grant(grant_in(session, caller.actor, programme, thing)), status=201)


@router.post("/programmes/{programme}/accruals", openapi_extra=takes(UntilIn), response_model=PartOut)
def accrue(change: ChangeOf, programme: str) -> Response:
    """Book what the days before `until` have brought to the programme's next grants."""
    office, until = change.caller.one_of("government"), change.parsed(UntilIn).until

    def part(session: Session) -> PartOut:
        found = change.platform.subsidies.accrue_in(session, office.actor, programme, until)
        return PartOut(grants=found.grants, fen=found.fen, left=found.left)

    return change.once(part)


@router.post("/grants/{number}/take-back", openapi_extra=takes(CauseIn), response_model=GrantOut)
def take_back(change: ChangeOf, number: int) -> Response:
    """Take back all that a grant brought."""
    office, cause = change.caller.one_of("government"), change.parsed(CauseIn).cause
    take_back_in = change.platform.subsidies.take_back_in
    return change.once(lambda session: _grant(take_back_in(session, office.actor, number, cause)))


@router.get("/grants")
def list_grants(
    platform: PlatformOf,
    caller: CallerOf,
    programme: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
) -> GrantList:
    """List grants, `PART` at a time."""
    caller.one_of(*_READERS)
    found = platform.subsidies.grants(programme=programme, after=after)
    return GrantList(grants=[_grant(each) for each in found])


@router.get("/grants.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def export_grants(platform: PlatformOf, caller: CallerOf, programme: Annotated[str, Query(max_length=64)]) -> Response:
    """Return a programme's statement: every grant and year with what is set aside and what was accrued."""
    caller.one_of(*_READERS)
    lines = grants_csv(platform.subsidies, programme)
    return StreamingResponse(begun(lines), media_type="text/csv; charset=utf-8")


def _may_see(platform: Platform, caller: Caller, thing: Thing) -> None:
    """Refuse what is another's: to a bank or an insurer it is unknown."""
    if thing.financing_id is not None:
        caller.one_of("bank", *_READERS)
        platform.financings.get(thing.financing_id, bank=caller.party if caller.kind == "bank" else None)
    if thing.policy_id is not None:
        caller.one_of("insurer", *_READERS)
        platform.policies.get(thing.policy_id, insurer=caller.party if caller.kind == "insurer" else None)


def _out(found: Programme, left_fen: int | None = None) -> ProgrammeOut:
    return ProgrammeOut(version=found.version, sha256=found.sha256, rule=found.rule, left_fen=left_fen)


def _grant(found: Grant) -> GrantOut:
    return GrantOut.model_validate(vars(found))
