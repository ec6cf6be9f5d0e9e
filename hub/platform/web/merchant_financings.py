"""The merchant's pages of its financings: state, score, plan, payments, subsidy, and what happened when."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.api.merchants import RegisterOf
from hub.platform.errors import PlatformError
from hub.platform.financing_book import Standing
from hub.platform.financing_orders import End
from hub.platform.financing_scores import ShownScore
from hub.platform.financing_states import State
from hub.platform.financings import Financing
from hub.platform.lending_errors import FinancingStateError
from hub.platform.people import Member
from hub.platform.services import Platform
from hub.platform.web import words
from hub.platform.web.merchant_parts import MERCHANTS, FollowingOf, Owner, borrower_of, looked
from models.said import said
from models.web.language import language_of_reader
from models.web.listing import Link, Term
from models.web.pages import NavItem, PagesOf
from models.web.problems import PageProblem, problem_of

router = APIRouter(prefix="/merchant", include_in_schema=False)
NAV = (NavItem("Financings", "/merchant/financings", MERCHANTS, 30),)


@router.get("/financings")
def read_financings(
    request: Request, owner: Owner, platform: PlatformOf, following: FollowingOf, pages: PagesOf
) -> Response:
    """List the merchant's financings."""
    current = looked(following, owner)
    tongue = language_of_reader(request)
    found = platform.financings.page(account_id=owner.party)
    rows = [
        [
            Link(_title(platform, each.financing, tongue), f"/merchant/financings/{each.financing.financing_id}"),
            each.financing.bank,
            words.FINANCINGS[each.financing.state],
            words.yuan(each.financing.amount_fen),
            words.yuan(each.financing.outstanding_fen),
            each.financing.applied_on.isoformat(),
        ]
        for each in sorted(found, key=lambda each: each.financing.applied_on, reverse=True)
    ]
    return pages.render(request, "merchant/financings.html.j2", rows=rows, current=current)


@router.get("/financings/{financing_id}")
def read_financing(
    request: Request,
    owner: Owner,
    platform: PlatformOf,
    following: FollowingOf,
    pages: PagesOf,
    financing_id: str,
) -> Response:
    """Show a financing."""
    platform.financings.get(financing_id, account_id=owner.party)
    current = looked(following, owner)
    return _page(request, platform, pages, owner, financing_id, current=current)


@router.post("/financings/{financing_id}/score")
def ask_score(
    request: Request, owner: Owner, platform: PlatformOf, register: RegisterOf, pages: PagesOf, financing_id: str
) -> Response:
    """Ask for the consent to a score for an application; the merchant signs it on the hub's own page."""
    standing = platform.financings.get(financing_id, account_id=owner.party)
    try:
        asked = platform.scores.ask(financing_id, borrower_of(register, owner), actor=owner.actor)
    except PlatformError as error:
        return _page(request, platform, pages, owner, financing_id, problem=problem_of(pages, request, error))
    return pages.render(
        request,
        "merchant/consent.html.j2",
        anew=f"/merchant/financings/{financing_id}",
        link=asked.link,
        first=asked.invitation_link,
        back=f"/merchant/financings/{financing_id}",
        title=said("Let {bank} see your score for this application", bank=standing.financing.bank),
        what="You sign your consent on the hub's own page, with your own key. Read there what it says before you sign.",
    )


@router.post("/financings/{financing_id}/score/show")
def show_score(
    request: Request, owner: Owner, platform: PlatformOf, register: RegisterOf, pages: PagesOf, financing_id: str
) -> Response:
    """Show the merchant its own score and the reasons; the look is written down."""
    standing = platform.financings.get(financing_id, account_id=owner.party)
    try:
        score = platform.scores.show(
            financing_id, standing.financing.bank, borrower_of(register, owner), actor=owner.actor
        )
    except PlatformError as error:
        return _page(request, platform, pages, owner, financing_id, problem=problem_of(pages, request, error))
    return _page(request, platform, pages, owner, financing_id, score=score)


@router.post("/financings/{financing_id}/withdraw")
def withdraw(request: Request, owner: Owner, platform: PlatformOf, pages: PagesOf, financing_id: str) -> Response:
    """Withdraw an application before a contract was made."""
    standing = platform.financings.get(financing_id, account_id=owner.party)
    end = End(step="withdraw", reference=standing.reference, on=platform.lending.today(), reason="by the merchant")
    try:
        if standing.financing.state == State.CONTRACTED:
            raise FinancingStateError(
                "A contract was signed.", field="financing_id", remedy="Speak with the bank: it ends a contract."
            )
        platform.financings.execute(standing.financing.bank, owner.actor, [end])
    except PlatformError as error:
        return _page(request, platform, pages, owner, financing_id, problem=problem_of(pages, request, error))
    return RedirectResponse(f"/merchant/financings/{financing_id}", 303)


def _page(
    request: Request,
    platform: Platform,
    pages: PagesOf,
    owner: Member,
    financing_id: str,
    *,
    current: bool = True,
    problem: PageProblem | None = None,
    score: ShownScore | None = None,
) -> Response:
    standing: Standing = platform.financings.get(financing_id, account_id=owner.party)
    financing, today = standing.financing, platform.lending.today()
    return pages.render(
        request,
        "merchant/financing.html.j2",
        200 if problem is None else 422,
        anew=f"/merchant/financings/{financing_id}",
        of=financing,
        title=_title(platform, financing, language_of_reader(request)),
        state=words.FINANCINGS[financing.state],
        facts=_facts(financing),
        overdue=financing.overdue_days(today),
        arrears=financing.arrears_fen(today),
        plan=[
            [
                each.due_on.isoformat(),
                words.yuan(each.principal_fen),
                words.yuan(each.interest_fen),
                words.yuan(each.total_fen),
            ]
            for each in financing.plan
        ],
        repayments=[
            [
                each.paid_on.isoformat(),
                words.yuan(each.principal_fen),
                words.yuan(each.interest_fen),
                words.yuan(each.total_fen),
            ]
            for each in financing.repayments
        ],
        subsidies=_subsidies(platform, financing, language_of_reader(request)),
        timeline=_timeline(platform, financing_id),
        asks_score=financing.state == State.APPLIED,
        may_show=financing.state in (State.SCORED, State.OFFERED),
        current=current,
        problem=problem,
        score=score,
    )


def _title(platform: Platform, financing: Financing, language: str) -> str:
    terms = platform.products.version(financing.bank, financing.product_id, financing.product_version).terms
    return terms.title.zh if language == "zh" else terms.title.en


def _facts(financing: Financing) -> list[tuple[str, object]]:
    """Pairs of names and cells; days and rates that there are not yet are left out."""
    days = (
        ("Applied on", financing.applied_on),
        ("Contracted on", financing.contracted_on),
        ("Paid out on", financing.disbursed_on),
        ("Ended on", financing.ended_on),
    )
    return [
        ("Bank", financing.bank),
        ("Amount", words.yuan(financing.amount_fen)),
        ("Term", said("{n} months", n=financing.term_months)),
        *([("Yearly rate", words.rate(financing.annual_rate))] if financing.annual_rate else []),
        *((name, day.isoformat()) for name, day in days if day is not None),
        *([("Outstanding principal", words.yuan(financing.outstanding_fen))] if financing.disbursed_on else []),
    ]


def _subsidies(platform: Platform, financing: Financing, language: str) -> list[dict[str, Any]]:
    """Grants to this loan, each with what was booked on it."""
    shown = []
    for grant in platform.subsidies.grants(account_id=financing.account_id):
        if grant.financing_id != financing.financing_id:
            continue
        with platform.db.reading() as session:
            title = platform.programmes.version_in(session, grant.programme, grant.version).rule.title
        shown.append(
            {
                "title": title.zh if language == "zh" else title.en,
                "state": words.GRANTS[grant.state],
                "booked": words.yuan(sum(grant.accrued_fen.values())),
                "aside": words.yuan(sum(grant.aside_fen.values())),
                "rows": [
                    [until.isoformat(), str(year), words.yuan(fen)]
                    for year, until, fen in platform.subsidies.bookings(grant.number)
                ],
            }
        )
    return shown


def _timeline(platform: Platform, financing_id: str) -> list[dict[str, Any]]:
    """What the audit record has of it, in words."""
    return [
        {
            "at": each.at,
            "title": words.STEPS.get(each.action, "Something else was noted"),
            "detail": Term(words.who(each.actor)),
            "tone": words.STEP_TONES.get(each.action, "info"),
        }
        for each in platform.audit.entries(subject=financing_id)
    ]
