"""The front page `/`, `/account` (one's own means and sessions) and `/access-record` (who looked at personal data)."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from models.web.access import SESSION, Access, access_of, needs
from models.web.errors import FormInvalid, WebError
from models.web.looks import PAGE
from models.web.passwords import MIN_PASSWORD
from models.web.people import Person
from models.web.problems import problem_of
from models.web.rights import Right
from models.web.sessions import SignedIn
from models.web.signin_pages import Text, answer_of, options_of, pages_of

router = APIRouter(include_in_schema=False)

OwnAccount = Annotated[Person, needs(Right.OWN_ACCOUNT)]
OwnAccountNow = Annotated[Person, needs(Right.OWN_ACCOUNT, fresh=True)]


@router.get("/")
async def read_front(request: Request) -> Response:
    """Lead to the first page of the person's own, or to the sign-in."""
    access = access_of(request)
    signed_in = await to_thread.run_sync(access.signed_in, request)
    if signed_in is None:
        return RedirectResponse("/signin", 303)
    own = [item.path for item in pages_of(request).nav_for("/", signed_in.person) if item.roles]
    return RedirectResponse(own[0] if own else "/account", 303)


@router.get("/account")
async def read_account(request: Request, person: OwnAccount) -> Response:
    """Show one's own account."""
    return await _account_page(request, person)


@router.post("/account/password")
async def change_password(
    request: Request, person: OwnAccountNow, password: Text = "", repeated: Text = ""
) -> Response:
    """Change the password; other sessions end, and recovery codes are new."""
    desk, signed_in = access_of(request).desk, _signed_in(request)
    try:
        codes = await to_thread.run_sync(desk.change_password, signed_in, password, repeated)
    except FormInvalid as error:
        return await _account_page(request, person, error=error)
    return pages_of(request).render(request, "access/recovery.html.j2", codes=codes, next="/account")


@router.post("/account/passkeys/options")
async def begin_adding(request: Request, person: OwnAccountNow) -> Response:
    """Begin making one more passkey."""
    return options_of(await to_thread.run_sync(access_of(request).passkeys.begin_registration, person))


@router.post("/account/passkeys")
async def add_passkey(request: Request, person: OwnAccountNow) -> Response:
    """Finish it; other sessions end."""
    given = await answer_of(request)
    desk = access_of(request).desk
    await to_thread.run_sync(desk.add_passkey, _signed_in(request), given.ceremony_id, given.credential, given.label)
    return JSONResponse({"next": "/account"})


@router.post("/account/passkeys/remove")
async def remove_passkey(request: Request, person: OwnAccountNow, passkey: Text = "") -> Response:
    """Take a passkey away; other sessions end."""
    try:
        credential_id = urlsafe_b64decode(passkey + "=" * (-len(passkey) % 4))
    except (binascii.Error, ValueError):
        credential_id = b""
    try:
        await to_thread.run_sync(access_of(request).desk.remove_passkey, _signed_in(request), credential_id)
    except FormInvalid as error:
        return await _account_page(request, person, error=error)
    return RedirectResponse("/account", 303)


@router.post("/account/signout-everywhere")
async def sign_out_everywhere(request: Request, person: OwnAccount) -> Response:
    """End all sessions, this one too."""
    access = access_of(request)
    await to_thread.run_sync(access.sessions.end_all, person.person_id)
    response = RedirectResponse("/signin", 303)
    access.drop_cookie(response, SESSION)
    return response


@router.get("/access-record")
async def read_record(
    request: Request,
    _person: Annotated[Person, needs(Right.READ_LOOKS)],
    before: Annotated[int | None, Query(ge=1, lt=1 << 62)] = None,
) -> Response:
    """Show who looked at personal data, the newest first."""
    looks = access_of(request).looks
    found = await to_thread.run_sync(lambda: looks.newest(before=before))
    total = await to_thread.run_sync(looks.count)
    older = found[-1].seq if len(found) == PAGE and found[-1].seq > 1 else None
    return pages_of(request).render(
        request, "access/record.html.j2", looks=found, total=total, older=older, newest=before is None
    )


def _signed_in(request: Request) -> SignedIn:
    """As `needs` found it."""
    found: SignedIn = request.state.signed_in
    return found


async def _account_page(request: Request, person: Person, *, error: WebError | None = None) -> Response:
    shown = await to_thread.run_sync(_facts, access_of(request), person)
    problem = None if error is None else problem_of(pages_of(request), request, error)
    status = 200 if error is None else error.status
    return pages_of(request).render(
        request,
        "access/account.html.j2",
        status,
        problem=problem,
        min_password=MIN_PASSWORD,
        means=_signed_in(request).means,
        may_read_looks=person.may(Right.READ_LOOKS),
        **shown,
    )


def _facts(access: Access, person: Person) -> dict[str, Any]:
    account = next(each for each in access.people.all() if each.person.person_id == person.person_id)
    return {
        "account": account,
        "sessions": access.sessions.count(person.person_id),
        "passkeys_possible": access.site.passkeys,
        "keys": [
            {
                "handle": urlsafe_b64encode(key.credential_id).rstrip(b"=").decode(),
                "label": key.label,
                "added_at": datetime.fromtimestamp(key.added_at, tz=UTC),
                "used_at": None if key.used_at is None else datetime.fromtimestamp(key.used_at, tz=UTC),
            }
            for key in access.passkeys.of(person.person_id)
        ],
    }
