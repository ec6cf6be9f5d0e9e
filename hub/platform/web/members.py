"""What routes of the platform's pages ask for: who is signed in, whom they act for, and the platform itself.

    @router.get("/bank")
    def read_start(request: Request, member: Annotated[Member, of_party(Right.…)], pages: PagesOf) -> Response: …

A bank's person may see its own bank's alone, a merchant its own account's: whatever a route reads or changes, it asks
for `member.party`, never for a party that the request names.
"""

from __future__ import annotations

from typing import Any, cast

from fastapi import Depends, Request

from hub.platform.people import Member, PlatformPeople
from models.web.access import needs
from models.web.people import Person
from models.web.rights import Right


def people_of(request: Request) -> PlatformPeople:
    """Return the people of the application that serves this."""
    return cast(PlatformPeople, request.app.state.people)


def of_party(right: Right, *, fresh: bool = False) -> Any:
    """As `models.web.access.needs`, but it gives the `Member`; raises MembershipError besides."""

    asked = needs(right, fresh=fresh)

    def found(request: Request, person: Person = asked) -> Member:
        return people_of(request).member(person)

    return Depends(found)
