"""Registering: the form for merchants, open to all, and the operators' pages of the applications that wait."""

from __future__ import annotations

import secrets
from typing import Annotated, cast

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.merchants import RegisterOf
from hub.platform.errors import PlatformError
from hub.platform.merchants import Facts, Industries
from hub.platform.people import Member
from hub.platform.registrations import Application, Registrations
from hub.platform.web import words
from hub.platform.web.members import of_party, people_of
from models.said import Said, said
from models.web.access import access_of
from models.web.errors import WebError
from models.web.listing import Link, Moment, Term
from models.web.pages import NavItem, PagesOf
from models.web.problems import problem_of
from models.web.rights import Right, Role
from models.web.signin_pages import Text, open_page, own_form

router = APIRouter(include_in_schema=False)
Admitter = Annotated[Member, of_party(Right.ADMIT_MERCHANTS)]
OPERATORS = frozenset({Role.OPERATOR.value})
NAV = (NavItem("Applications", "/operator/registrations", OPERATORS, 10),)
_FIELDS = ("id_type", "identifier", "name", "kind", "industry", "origin", "place", "contact")


def registrations_of(request: Request) -> Registrations:
    """Return the applications of the application that serves this."""
    return cast(Registrations, request.app.state.registrations)


RegistrationsOf = Annotated[Registrations, Depends(registrations_of)]


@router.get("/register")
def read_form(request: Request, register: RegisterOf) -> Response:
    """Show the form by which a merchant asks for an account."""
    known = access_of(request).signed_in(request) is not None
    return _form(request, register.industries, {"id_type": "uscc", "kind": "supermarket"}, signed_in=known)


@router.post("/register")
async def apply(
    request: Request,
    register: RegisterOf,
    registrations: RegistrationsOf,
    id_type: Text = "",
    identifier: Text = "",
    name: Text = "",
    kind: Text = "",
    industry: Text = "",
    origin: Text = "",
    place: Text = "",
    contact: Text = "",
) -> Response:
    """Take an application; whoever sends one learns its number and nothing else."""
    access = await own_form(request)
    given = dict(zip(_FIELDS, (id_type, identifier, name.strip(), kind, industry, origin, place, contact), strict=True))
    facts = Facts(kind, name.strip(), industry, origin, place)
    faults = register.faults(id_type, identifier, facts)
    if faults:
        return _form(request, register.industries, given, wrong=words.faults_shown(faults))
    try:
        access.throttle.request(access.browser(request).address)
        number = await to_thread.run_sync(registrations.apply, id_type, identifier, facts, contact)
    except (PlatformError, WebError) as error:
        return _form(request, register.industries, given, error=error)
    return open_page(request, "merchant/registered.html.j2", number=number)


@router.get("/operator")
def read_start(_member: Admitter) -> Response:
    """Lead to the applications."""
    return RedirectResponse("/operator/registrations", 303)


@router.get("/operator/registrations")
def read_waiting(request: Request, _member: Admitter, registrations: RegistrationsOf, pages: PagesOf) -> Response:
    """List the applications that wait."""
    rows = [
        [Link(each.number, f"/operator/registrations/{each.number}"), Moment(each.asked_at)]
        for each in registrations.waiting()
    ]
    return pages.render(request, "operator/registrations.html.j2", rows=rows)


@router.get("/operator/registrations/{number}")
def read_application(
    request: Request, member: Admitter, registrations: RegistrationsOf, pages: PagesOf, number: str
) -> Response:
    """Show an application; the look at it is written down."""
    return _application(request, pages, member, registrations.read(number))


@router.post("/operator/registrations/{number}/confirm")
async def confirm(
    request: Request,
    member: Admitter,
    registrations: RegistrationsOf,
    pages: PagesOf,
    number: str,
    name: Text = "",
    checked: Text = "",
) -> Response:
    """Make the merchant's account and its person; the one-time link is shown this once."""
    found = await to_thread.run_sync(registrations.read, number)
    if checked != "yes":
        unchecked = said("Say that you have seen licence or identity card: anybody can type an identifier.")
        return _application(request, pages, member, found, name=name, unchecked=unchecked)
    try:
        merchant, link = await to_thread.run_sync(
            lambda: registrations.confirm(number, name.strip(), actor=member.actor)
        )
    except (PlatformError, WebError) as error:
        return _application(request, pages, member, found, name=name, error=error)
    return pages.render(
        request,
        "operator/confirmed.html.j2",
        anew="/operator/registrations",
        merchant=merchant,
        name=name.strip(),
        link=link,
    )


@router.post("/operator/registrations/{number}/refuse")
async def refuse(_request: Request, member: Admitter, registrations: RegistrationsOf, number: str) -> Response:
    """Turn an application down; what was written is deleted."""
    await to_thread.run_sync(lambda: registrations.refuse(number, actor=member.actor))
    return RedirectResponse("/operator/registrations", 303)


def _form(
    request: Request,
    industries: Industries,
    given: dict[str, str],
    *,
    error: PlatformError | WebError | None = None,
    wrong: dict[str, Said | str] | None = None,
    signed_in: bool = False,
) -> Response:
    pages = request.app.state.pages
    wrong = dict(wrong or {})
    if error is not None and error.field == "contact":
        wrong["contact"] = error.message
    return open_page(
        request,
        "merchant/register.html.j2",
        status=error.status if error is not None else 422 if wrong else 200,
        wrong=wrong,
        given={name: given.get(name, "") for name in _FIELDS},
        problem=None if error is None else problem_of(pages, request, error),
        id_types=list(words.ID_TYPES.items()),
        kinds=list(words.KINDS.items()),
        industries=words.industry_options(industries),
        counties=list(words.COUNTIES.items()),
        places=list(words.PROVINCES.items()),
        signed_in=signed_in,
    )


def _application(
    request: Request,
    pages: PagesOf,
    member: Member,
    found: Application,
    *,
    name: str | None = None,
    error: PlatformError | WebError | None = None,
    unchecked: Said | None = None,
) -> Response:
    people_of(request).access.looks.record(member.person, "registration", found.entrant.identifier)
    facts = found.entrant.facts
    wrong = error is not None or unchecked is not None
    return pages.render(
        request,
        "operator/registration.html.j2",
        422 if wrong else 200,
        anew=f"/operator/registrations/{found.number}",
        found=found,
        facts=[
            ("Kind of identifier", Term(words.ID_TYPES[found.entrant.id_type])),
            ("Identifier", found.entrant.identifier),
            (words.FACTS["name"], facts.name),
            *((words.FACTS[each], words.fact(facts, each)) for each in ("kind", "industry", "origin", "place")),
            ("How to reach them", found.contact),
            ("Asked", Moment(found.asked_at)),
        ],
        name=name if name is not None else f"shop-{secrets.token_hex(3)}",
        problem=None if error is None else problem_of(pages, request, error),
        unchecked=unchecked,
    )
