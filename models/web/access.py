"""Who is asking, and may they: the dependency that every page's route names, and what stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from anyio import to_thread
from fastapi import Depends
from limits.storage import Storage as CountStorage
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from models.web.csrf import SAFE, check_form, check_origin, form_token
from models.web.errors import RightMissing, SignInNeeded
from models.web.looks import Anchor, Looks
from models.web.passkeys import Passkeys
from models.web.people import Clock, PeopleBook, Person
from models.web.rights import Right, Role
from models.web.sessions import Sessions, SignedIn
from models.web.signin import Browser, Entry, SignInDesk
from models.web.site import PageSite
from models.web.tables import AccessTables, Storage
from models.web.throttle import Throttle
from models.web.vault import open_vault

SESSION, BEFORE, DEVICE = "digua", "digua-form", "digua-device"
"""Cookies: the session; before one, what forms are bound to; a browser in which somebody signed in."""
_DEVICE_LIFE_S = 180 * 86_400


@dataclass(frozen=True)
class Asked:
    """What a dependency made by `needs` asks for."""

    right: Right
    fresh: bool


_ASKED: dict[Callable[..., Any], Asked] = {}


class Access:
    """The people of one site, their sessions and their rights.

    Args:
        storage, tables: where they lie.
        site: where the pages are served.
        name: the site's, as authenticator apps and passkeys show it.
        roles: those that exist here.
        key_file: the pages' secret; made where it is absent.
        clock: the time.
        anchor: writes the access record's hashes into the site's log.
        counts: storage of counted attempts, where several processes serve the site.

    Raises:
        AccessStateError: the key file cannot be used.
    """

    def __init__(
        self,
        storage: Storage,
        tables: AccessTables,
        *,
        site: PageSite,
        name: str,
        roles: Iterable[Role],
        key_file: Path,
        clock: Clock,
        anchor: Anchor | None = None,
        counts: CountStorage | None = None,
    ) -> None:
        self.site = site
        self.name = name
        self.vault = open_vault(key_file)
        self.people = PeopleBook(storage, tables, self.vault, roles=roles, clock=clock)
        self.sessions = Sessions(storage, tables, clock=clock)
        self.passkeys = Passkeys(storage, tables, site, name=name, clock=clock)
        self.looks = Looks(storage, tables, self.vault, clock=clock, anchor=anchor)
        self.throttle = Throttle(counts, self.vault.count_key if counts is not None else None)
        self.desk = SignInDesk(
            storage,
            tables,
            self.vault,
            people=self.people,
            sessions=self.sessions,
            passkeys=self.passkeys,
            throttle=self.throttle,
            clock=clock,
        )

    def sign_up_link(self, token: str) -> str:
        """The address to hand to a new person."""
        return f"{self.site.origin}/signup/{token}"

    def cookie(self, connection: HTTPConnection, name: str) -> str | None:
        """A cookie of ours; None where it is absent or far too long."""
        value = connection.cookies.get(self.site.cookie(name))
        return value if value and len(value) <= 256 else None

    def browser(self, request: Request) -> Browser:
        """What is known of whoever asks."""
        address = request.client.host if request.client is not None else ""
        return Browser(address, self.cookie(request, SESSION), self.cookie(request, DEVICE))

    def signed_in(self, connection: HTTPConnection) -> SignedIn | None:
        """The session that a request belongs to."""
        session_id = self.cookie(connection, SESSION)
        return None if session_id is None else self.sessions.find(session_id)

    def enter(self, response: Response, entry: Entry) -> None:
        """Give the browser its new session."""
        self.set_cookie(response, SESSION, entry.session_id)
        self.set_cookie(response, DEVICE, entry.device, max_age=_DEVICE_LIFE_S)
        self.drop_cookie(response, BEFORE)

    def set_cookie(self, response: Response, name: str, value: str, *, max_age: int | None = None) -> None:
        """Set a cookie that scripts cannot read and other sites cannot send."""
        response.set_cookie(
            self.site.cookie(name),
            value,
            max_age=max_age,
            path="/",
            secure=self.site.secure,
            httponly=True,
            samesite="strict",
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        """Have the browser forget a cookie."""
        response.delete_cookie(
            self.site.cookie(name), path="/", secure=self.site.secure, httponly=True, samesite="strict"
        )


def access_of(connection: HTTPConnection) -> Access:
    """The access layer of the application that serves this."""
    return cast(Access, connection.app.state.access)


def needs(right: Right, *, fresh: bool = False) -> Any:
    """What a route of pages depends on: `person: Annotated[Person, needs(Right.…)]`.

    Whoever changes something also has to come from a form of ours, see `models.web.csrf`.

    Args:
        right: of the rights table; the route stands in its row there.
        fresh: the person must have signed in within the last five minutes: for acts that cannot be undone.

    Raises (when the route is asked for):
        SignInNeeded: nobody is signed in, or not lately enough.
        RightMissing: the person's roles do not grant it.
        ForgedForm: it comes from elsewhere.
    """

    async def check(request: Request) -> Person:
        access = access_of(request)
        signed_in = await to_thread.run_sync(access.signed_in, request)
        if signed_in is None:
            raise SignInNeeded("Nobody is signed in.", remedy="Sign in; you come back to this page.")
        request.state.signed_in = signed_in
        request.state.person = signed_in.person
        session_id = access.cookie(request, SESSION) or ""
        request.state.csrf_token = form_token(access.vault, session_id)
        if not signed_in.person.may(right):
            raise RightMissing(
                "Your role does not allow this.", remedy="Whoever looks after the people of this site gives roles."
            )
        if request.method not in SAFE:
            check_origin(request, access.site)
            await check_form(request, access.vault, session_id)
        if fresh and not signed_in.fresh:
            raise SignInNeeded(
                "This needs a sign-in within the last five minutes.",
                again=True,
                remedy="Sign in again, then repeat it.",
            )
        return signed_in.person

    _ASKED[check] = Asked(right, fresh)
    return Depends(check)


def asked_by(call: Callable[..., Any] | None) -> Asked | None:
    """What a dependency made by `needs` asks for; None for any other."""
    return None if call is None else _ASKED.get(call)
