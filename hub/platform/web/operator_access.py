"""Who may open the platform: people of its pages, and keys of its API; both end at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.errors import MembershipError
from hub.platform.people import Member
from hub.platform.web.members import of_party, people_of
from hub.platform.web.operator_register import OPERATORS
from models.web.listing import Moment, State, Term
from models.web.pages import NavItem, PagesOf
from models.web.rights import Right

router = APIRouter(prefix="/operator/access", include_in_schema=False)
Keeper = Annotated[Member, of_party(Right.KEEP_REGISTER)]
KeeperNow = Annotated[Member, of_party(Right.KEEP_REGISTER, fresh=True)]
NAV = (NavItem("People and keys", "/operator/access", OPERATORS, 40),)
Text = Annotated[str, Form(max_length=64)]


@router.get("")
def read_access(request: Request, member: Keeper, platform: PlatformOf, pages: PagesOf, done: str = "") -> Response:
    """List people with role and party, and keys, never the keys themselves."""
    people = [
        (
            account.person.name,
            [
                account.person.name,
                Term(next((str(role) for role in account.person.roles), "")),
                party,
                Moment(account.added_at),
                Moment(account.joined_at),
            ],
            account.person.person_id != member.person.person_id,
        )
        for account, party in people_of(request).all()
    ]
    keys = [
        (
            each.key_id,
            [
                each.key_id,
                each.caller.kind,
                each.caller.party,
                Moment(each.made_at),
                State("key in use", "good") if each.revoked_at is None else State("key revoked", "neutral"),
            ],
            each.revoked_at is None,
        )
        for each in platform.callers.listed()
    ]
    return pages.render(request, "operator/access.html.j2", people=people, keys=keys, done=done)


@router.post("/people/remove")
def remove_person(request: Request, member: KeeperNow, name: Text = "") -> Response:
    """End a person's account and sessions; PersonUnknown where there is none, MembershipError where it is oneself."""
    if name == member.person.name:
        raise MembershipError(
            "This is your own account.", field="name", remedy="Have another operator remove it, or the command line."
        )
    people_of(request).remove(name, actor=member.actor)
    return RedirectResponse("/operator/access?done=removed", 303)


@router.post("/keys/revoke")
def revoke_key(member: KeeperNow, platform: PlatformOf, key_id: Text = "") -> Response:
    """End a key at once; KeyUnknownError where there is none in use."""
    platform.callers.revoke(key_id, actor=member.actor)
    return RedirectResponse("/operator/access?done=revoked", 303)
