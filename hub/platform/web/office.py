"""The programme office's desk: merchants by county, programmes with their money, accruals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import Response, StreamingResponse

from hub.platform.api.dependencies import PlatformOf
from hub.platform.errors import PlatformError
from hub.platform.overviews import MerchantCount, Overviews
from hub.platform.people import Member
from hub.platform.programme_book import Programme
from hub.platform.services import Platform
from hub.platform.statements import grants_csv
from hub.platform.subsidy_book import Part
from hub.platform.subsidy_errors import AccrualDayError
from hub.platform.subsidy_rules import SubsidyRule
from hub.platform.web import lending_words, words
from hub.platform.web.members import of_party
from models.said import said
from models.web.begun import begun
from models.web.language import language_of_reader
from models.web.pages import NavItem, Pages, PagesOf
from models.web.problems import problem_of
from models.web.rights import Right, Role

router = APIRouter(prefix="/office", include_in_schema=False)
Officer = Annotated[Member, of_party(Right.OFFICE_DESK)]
OFFICERS = frozenset({Role.GOVERNMENT.value})
NAV = (
    NavItem("Merchants by county", "/office", OFFICERS, 10),
    NavItem("Published statistics", "/office/statistics", OFFICERS, 20),
    NavItem("Subsidy programmes", "/office/programmes", OFFICERS, 30),
    NavItem("Grants", "/office/grants", OFFICERS, 40),
)
ProgrammeId = Annotated[str, Path(max_length=64)]
PARTS_AT_ONCE = 10
"""Parts of an accrual that one press carries out; the page says what is left."""


@dataclass(frozen=True)
class Money:
    """A programme's budget in fen, and the widths of its bar in thousandths."""

    budget: int
    aside: int
    accrued: int

    @property
    def left(self) -> int:
        """Neither accrued nor set aside."""
        return self.budget - self.aside

    @property
    def bar(self) -> tuple[int, int]:
        """Accrued, and set aside but not accrued."""
        accrued = max(0, min(1000, round(1000 * self.accrued / self.budget)))
        return accrued, max(0, min(1000 - accrued, round(1000 * (self.aside - self.accrued) / self.budget)))


@router.get("")
def read_overview(request: Request, _member: Officer, platform: PlatformOf, pages: PagesOf) -> Response:
    """Show how many merchants the platform has, by home county and kind."""
    counts = Overviews(platform.db).merchants()
    return pages.render(
        request,
        "office/overview.html.j2",
        figures=[
            {"name": "Accounts open", "value": _sum(counts, state="active")},
            {"name": "Small supermarkets", "value": _sum(counts, state="active", kind="supermarket")},
            {"name": "Small inns", "value": _sum(counts, state="active", kind="inn")},
            {"name": "Accounts closed or merged", "value": _sum(counts) - _sum(counts, state="active")},
        ],
        most=max((_sum(counts, state="active", origin=each) for each in words.COUNTIES), default=0),
        counties=[
            (
                words.county(code),
                *(_sum(counts, state="active", origin=code, kind=kind) for kind in words.KINDS),
                _sum(counts, state="active", origin=code),
            )
            for code in words.COUNTIES
        ],
    )


@router.get("/programmes")
def read_programmes(request: Request, _member: Officer, platform: PlatformOf, pages: PagesOf) -> Response:
    """List the programmes of interest subsidies, each with what of its budget is spoken for."""
    language = language_of_reader(request)
    return pages.render(
        request,
        "office/programmes.html.j2",
        programmes=[
            (each.rule.programme, lending_words.in_language(each.rule.title, language), _money(platform, each))
            for each in platform.programmes.all()
        ],
    )


@router.get("/programmes/{programme}")
def read_programme(
    request: Request, _member: Officer, platform: PlatformOf, pages: PagesOf, programme: ProgrammeId
) -> Response:
    """Show one programme: rule, money by year, the form of an accrual; ProgrammeUnknownError where there is none."""
    return _programme_page(request, pages, platform, programme)


@router.post("/programmes/{programme}/accruals")
def accrue(
    request: Request,
    member: Officer,
    platform: PlatformOf,
    pages: PagesOf,
    programme: ProgrammeId,
    until: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Book what the days before `until` have brought; a form sent again books nothing twice.

    Each part of the grants is a transaction of its own, so that one that was cut off goes on where it was.
    """
    try:
        done = _accrued(platform, member.actor, programme, until)
    except PlatformError as error:
        return _programme_page(request, pages, platform, programme, refused=error, until=until)
    return _programme_page(request, pages, platform, programme, done=done, until=until)


@router.get("/programmes/{programme}/statement.csv")
def read_statement(_member: Officer, platform: PlatformOf, programme: ProgrammeId) -> Response:
    """Give a programme's statement as CSV; ProgrammeUnknownError where there is none."""
    with platform.db.reading() as session:
        platform.programmes.newest_in(session, programme)
    headers = {"Content-Disposition": f'attachment; filename="{programme}-statement.csv"', "Cache-Control": "no-store"}
    lines = grants_csv(platform.subsidies, programme)
    return StreamingResponse(begun(lines), media_type="text/csv; charset=utf-8", headers=headers)


def _accrued(platform: Platform, actor: str, programme: str, until: str) -> Part:
    try:
        day = date.fromisoformat(until)
    except ValueError as error:
        raise AccrualDayError(
            "This is no day.", field="until", remedy="Write it as year, month and day, such as 2026-07-01."
        ) from error
    grants = fen = left = 0
    for number, part in enumerate(platform.subsidies.accrue(actor, programme, day), 1):
        grants, fen, left = grants + part.grants, fen + part.fen, part.left
        if number == PARTS_AT_ONCE:
            break
    return Part(grants, fen, left)


def _programme_page(
    request: Request,
    pages: Pages,
    platform: Platform,
    programme: str,
    *,
    done: Part | None = None,
    refused: PlatformError | None = None,
    until: str = "",
) -> Response:
    with platform.db.reading() as session:
        newest = platform.programmes.newest_in(session, programme)
    books = Overviews(platform.db)
    return pages.render(
        request,
        "office/programme.html.j2",
        200 if refused is None else refused.status,
        anew=f"/office/programmes/{programme}",
        programme=programme,
        title=lending_words.in_language(newest.rule.title, language_of_reader(request)),
        money=_money(platform, newest),
        years=[
            (
                str(each.year),
                words.yuan(each.aside_fen),
                words.yuan(each.accrued_fen),
                words.yuan(each.aside_fen - each.accrued_fen),
            )
            for each in books.programme_years(programme)
        ],
        grants=[(words.GRANTS[state], number) for state, number in sorted(books.grant_states(programme).items())],
        facts=_rule_shown(newest),
        done=done,
        problem=None if refused is None else problem_of(pages, request, refused),
        until=until or platform.lending.today().isoformat(),
    )


def _money(platform: Platform, programme: Programme) -> Money:
    years = Overviews(platform.db).programme_years(programme.rule.programme)
    return Money(
        programme.rule.budget_fen, sum(each.aside_fen for each in years), sum(each.accrued_fen for each in years)
    )


def _rule_shown(programme: Programme) -> list[tuple[str, Any]]:
    rule, everywhere = programme.rule, said("everywhere")
    shown: list[tuple[str, Any]] = [
        ("Version", programme.version),
        ("Begins on", rule.since.isoformat()),
        ("Ends before", rule.until.isoformat()),
        ("Kinds of merchants", lending_words.listed([said(words.KINDS[each]) for each in rule.who.kinds])),
        ("Home counties", lending_words.listed([words.county(each) for each in rule.who.origins]) or everywhere),
        ("Places of business", lending_words.listed([words.place(each) for each in rule.who.places]) or everywhere),
        ("Most for one merchant in a year", _yuan(rule.most_fen_a_year)),
    ]
    if isinstance(rule, SubsidyRule):
        rates = " · ".join(f"{each.since.isoformat()}: {words.percentage(each.rate)}" for each in rule.rates)
        return [
            *shown,
            ("Rates of the subsidy", rates),
            ("Banks", " · ".join(rule.who.banks) or everywhere),
            ("Principal that counts at most", _yuan(rule.most_principal_fen)),
            ("Loans of a merchant at once", rule.loans_at_once),
        ]
    shares = " · ".join(f"{each.since.isoformat()}: {words.percentage(each.share)}" for each in rule.shares)
    return [
        *shown,
        ("Shares of the premium", shares),
        ("Insurers", " · ".join(rule.who.insurers) or everywhere),
        ("Premium that counts at most", _yuan(rule.most_premium_fen)),
        ("Policies of a merchant at once", rule.policies_at_once),
    ]


def _yuan(fen: int | None) -> str | None:
    return None if fen is None else words.yuan(fen)


def _sum(counts: Iterable[MerchantCount], **of: str) -> int:
    return sum(each.merchants for each in counts if all(getattr(each, name) == value for name, value in of.items()))
