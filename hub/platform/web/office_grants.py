"""Grants of interest subsidies at the programme office: listed, weighed with every reason against, made, taken back."""

from __future__ import annotations

from typing import Annotated, get_args

from fastapi import APIRouter, Form, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.errors import PlatformError
from hub.platform.people import Member
from hub.platform.services import Platform
from hub.platform.subsidised import Thing
from hub.platform.subsidy_book import Cause, Grant
from hub.platform.subsidy_errors import GrantStateError
from hub.platform.subsidy_reasons import REASONS, Refusal
from hub.platform.subsidy_rules import PremiumRule
from hub.platform.web import lending_words, words
from hub.platform.web.members import of_party
from hub.platform.web.office import Officer
from models.web.language import language_of_reader
from models.web.listing import Cell, Ident
from models.web.pages import PagesOf
from models.web.problems import problem_of
from models.web.rights import Right

router = APIRouter(prefix="/office/grants", include_in_schema=False)
OfficerNow = Annotated[Member, of_party(Right.OFFICE_DESK, fresh=True)]
ProgrammeName = Annotated[str, Form(max_length=64)]
Number = Annotated[str, Form(max_length=64)]
CAUSES: tuple[Cause, ...] = get_args(Cause)
_PAGE = 50


@router.get("")
def read_grants(
    request: Request,
    _member: Officer,
    platform: PlatformOf,
    pages: PagesOf,
    programme: Annotated[str, Query(max_length=64)] = "",
    after: Annotated[int, Query(ge=0)] = 0,
    done: str = "",
) -> Response:
    """List grants in order of their numbers, of one programme or of all."""
    found = platform.subsidies.grants(programme=programme or None, after=after, limit=_PAGE)
    language = language_of_reader(request)
    return pages.render(
        request,
        "office/grants.html.j2",
        rows=[_row(each) for each in found],
        programmes=[
            (each.rule.programme, lending_words.in_language(each.rule.title, language))
            for each in platform.programmes.all()
        ],
        programme=programme,
        following=found[-1].number if len(found) == _PAGE else None,
        first=after == 0,
        done=done,
        causes=[(each, lending_words.CAUSES[each]) for each in CAUSES],
    )


@router.post("/weigh")
def weigh(
    request: Request,
    _member: Officer,
    platform: PlatformOf,
    pages: PagesOf,
    programme: ProgrammeName = "",
    number: Number = "",
) -> Response:
    """Tell every reason why a programme would not subsidise a loan or a policy now, or that it would."""
    reasons: tuple[Refusal, ...] = ()
    refused: PlatformError | None = None
    try:
        reasons = platform.subsidies.why_not(programme, _thing(platform, programme, number))
    except PlatformError as error:
        refused = error
    return pages.render(
        request,
        "office/weighed.html.j2",
        200 if refused is None else refused.status,
        anew="/office/grants",
        programme=programme,
        number=number.strip(),
        problem=None if refused is None else problem_of(pages, request, refused),
        reasons=[REASONS[each] for each in reasons],
    )


@router.post("")
def grant(member: Officer, platform: PlatformOf, programme: ProgrammeName = "", number: Number = "") -> Response:
    """Subsidise a loan or a policy; GrantRefusedError names every condition that is not met."""
    thing = _thing(platform, programme, number)
    with platform.db.session() as session:
        platform.subsidies.grant_in(session, member.actor, programme, thing)
    return RedirectResponse(f"/office/grants?programme={programme}&done=granted", 303)


@router.post("/{number}/take-back")
def take_back(
    member: OfficerNow,
    platform: PlatformOf,
    number: Annotated[int, Path(ge=1)],
    cause: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Take back all that a grant brought; GrantUnknownError, GrantStateError where that cannot be."""
    found = next((each for each in CAUSES if each == cause), None)
    if found is None:
        raise GrantStateError("No reason is named.", field="cause", remedy="Choose why the subsidy is taken back.")
    with platform.db.session() as session:
        taken = platform.subsidies.take_back_in(session, member.actor, number, found)
    return RedirectResponse(f"/office/grants?programme={taken.programme}&done=taken-back", 303)


def _thing(platform: Platform, programme: str, number: str) -> Thing:
    """What a programme subsidises, by its number; ProgrammeUnknownError where there is no such programme."""
    with platform.db.reading() as session:
        rule = platform.programmes.newest_in(session, programme).rule
    name = number.strip()
    return Thing(policy_id=name) if isinstance(rule, PremiumRule) else Thing(financing_id=name)


def _row(grant: Grant) -> tuple[Grant, list[Cell]]:
    aside, accrued = sum(grant.aside_fen.values()), sum(grant.accrued_fen.values())
    return grant, [
        grant.number,
        words.GRANTS[grant.state],
        grant.programme,
        Ident(grant.financing_id or grant.policy_id or ""),
        lending_words.day(grant.granted_on),
        lending_words.day(grant.accrued_until),
        words.yuan(aside),
        words.yuan(accrued),
    ]
