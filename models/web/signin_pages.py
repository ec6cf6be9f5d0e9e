"""Pages `/signin`, `/signup/…`, `/signout`: for whoever has no session yet; forms are bound to a cookie of their own.

Passkeys go through a small script (`static/access/passkeys.js`); name, password and code work without any.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import segno
from anyio import to_thread
from fastapi import APIRouter, Form
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from models.web.access import BEFORE, SESSION, Access, access_of
from models.web.csrf import check_form, check_origin, form_token
from models.web.errors import ForgedForm, FormInvalid, SignInRefused, TooManyAttempts, WebError
from models.web.pages import Pages
from models.web.passkeys import CREDENTIAL_BYTES, Ceremony
from models.web.passwords import MIN_PASSWORD, totp_uri
from models.web.people import SignUp
from models.web.problems import problem_of
from models.web.signin import Entry
from models.web.site import local_path

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=512)]


class PasskeyAnswer(BaseModel):
    """What a browser's script sends back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ceremony_id: Annotated[str, Field(max_length=64)]
    credential: Annotated[str, Field(max_length=CREDENTIAL_BYTES)]
    next: Annotated[str, Field(max_length=1024)] = ""
    label: Annotated[str, Field(max_length=64)] = ""


@router.get("/signin")
async def read_sign_in(request: Request, next: str = "", again: bool = False) -> Response:
    """Show the form; who is signed in already goes on."""
    access = access_of(request)
    signed_in = await to_thread.run_sync(access.signed_in, request)
    if signed_in is not None and not again:
        return RedirectResponse(local_path(next), 303)
    return sign_in_page(request, next=next, again=again)


@router.post("/signin")
async def sign_in(
    request: Request, name: Text = "", password: Text = "", code: Text = "", next: Text = "", again: Text = ""
) -> Response:
    """Sign in with a password and a code."""
    access = await own_form(request)
    try:
        entry = await to_thread.run_sync(access.desk.by_password, name.strip(), password, code, access.browser(request))
    except (SignInRefused, TooManyAttempts) as error:
        return sign_in_page(request, next=next, again=bool(again), name=name.strip(), error=error)
    return _entered(access, entry, RedirectResponse(local_path(next), 303))


@router.post("/signin/passkey/options")
async def begin_passkey(request: Request) -> Response:
    """Begin signing in with a passkey."""
    access = await own_form(request)
    return options_of(await to_thread.run_sync(access.desk.begin_passkey, access.browser(request)))


@router.post("/signin/passkey")
async def sign_in_by_passkey(request: Request) -> Response:
    """Finish it."""
    access, given = await own_form(request), await answer_of(request)
    entry = await to_thread.run_sync(
        access.desk.by_passkey, given.ceremony_id, given.credential, access.browser(request)
    )
    return _entered(access, entry, JSONResponse({"next": local_path(given.next)}))


@router.get("/signup/{token}")
async def read_sign_up(request: Request, token: str) -> Response:
    """Show what a one-time link offers."""
    access = access_of(request)
    link = await to_thread.run_sync(access.desk.open_link, token, access.browser(request))
    return sign_up_page(request, token, link)


@router.post("/signup/{token}")
async def sign_up(request: Request, token: str, password: Text = "", repeated: Text = "", code: Text = "") -> Response:
    """Sign up with a password and an authenticator app; the recovery codes are shown this once."""
    access = await own_form(request)
    browser = access.browser(request)
    try:
        entry, codes = await to_thread.run_sync(access.desk.join_by_password, token, password, repeated, code, browser)
    except FormInvalid as error:
        link = await to_thread.run_sync(access.desk.open_link, token, browser)
        return sign_up_page(request, token, link, error=error)
    request.state.person = entry.person
    request.state.csrf_token = form_token(access.vault, entry.session_id)
    page = pages_of(request).render(request, "access/recovery.html.j2", codes=codes, next="/")
    return _entered(access, entry, page)


@router.post("/signup/{token}/passkey/options")
async def begin_joining(request: Request, token: str) -> Response:
    """Begin making the first passkey."""
    access = await own_form(request)
    return options_of(await to_thread.run_sync(access.desk.begin_joining, token, access.browser(request)))


@router.post("/signup/{token}/passkey")
async def join_by_passkey(request: Request, token: str) -> Response:
    """Finish it."""
    access, given = await own_form(request), await answer_of(request)
    entry = await to_thread.run_sync(
        access.desk.join_by_passkey, token, given.ceremony_id, given.credential, given.label, access.browser(request)
    )
    return _entered(access, entry, JSONResponse({"next": "/"}))


@router.post("/signout")
async def sign_out(request: Request) -> Response:
    """End this session; without one there is nothing to do."""
    access = access_of(request)
    session_id = access.cookie(request, SESSION)
    response = RedirectResponse("/signin", 303)
    if session_id is not None and await to_thread.run_sync(access.sessions.find, session_id) is not None:
        check_origin(request, access.site)
        await check_form(request, access.vault, session_id)
        await to_thread.run_sync(access.sessions.end, session_id)
        # All that pages left in this browser's caches goes too.
        response.headers["clear-site-data"] = '"cache"'
    access.drop_cookie(response, SESSION)
    return response


def pages_of(request: Request) -> Pages:
    """The pages of the application that serves this."""
    pages: Pages = request.app.state.pages
    return pages


def sign_in_page(
    request: Request, *, next: str, again: bool = False, name: str = "", error: WebError | None = None
) -> Response:
    """The form, with what was wrong with it."""
    return open_page(
        request,
        "access/signin.html.j2",
        status=200 if error is None else error.status,
        next=local_path(next),
        again=again,
        name=name[:64],
        problem=None if error is None else problem_of(pages_of(request), request, error),
        retry_after=error.retry_after if isinstance(error, TooManyAttempts) else None,
    )


def sign_up_page(request: Request, token: str, link: SignUp, *, error: WebError | None = None) -> Response:
    """The form, with what was wrong with it."""
    access = access_of(request)
    uri = totp_uri(link.totp_secret, name=link.person.name, issuer=access.name)
    spaced = " ".join(link.totp_secret[at : at + 4] for at in range(0, len(link.totp_secret), 4))
    return open_page(
        request,
        "access/signup.html.j2",
        status=200 if error is None else error.status,
        token=token,
        newcomer=link.person,
        secret=spaced,
        qr=segno.make(uri, error="m", micro=False).svg_data_uri(scale=4, border=4, dark="#000", light="#fff"),
        min_password=MIN_PASSWORD,
        problem=None if error is None else problem_of(pages_of(request), request, error),
    )


def open_page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """A page for whoever has no session: its forms carry the token of a cookie that is set now, if there is none."""
    access = access_of(request)
    cookie = access.cookie(request, BEFORE)
    fresh = cookie or secrets.token_urlsafe(32)
    request.state.csrf_token = form_token(access.vault, fresh)
    page = pages_of(request).render(request, template, status, passkeys=access.site.passkeys, **context)
    if cookie is None:
        access.set_cookie(page, BEFORE, fresh)
    if context.get("retry_after") is not None:
        page.headers["retry-after"] = str(context["retry_after"])
    return page


async def own_form(request: Request) -> Access:
    """ForgedForm unless it comes from a page of ours."""
    access = access_of(request)
    check_origin(request, access.site)
    cookie = access.cookie(request, BEFORE)
    if cookie is None:
        raise ForgedForm(
            "Your browser did not keep the cookie of this form.",
            field="Cookie",
            remedy="Allow cookies for this site, open the page again, and send the form from there.",
        )
    await check_form(request, access.vault, cookie)
    return access


async def answer_of(request: Request) -> PasskeyAnswer:
    """What it sends back; FormInvalid where it is no such thing."""
    try:
        return PasskeyAnswer.model_validate_json(await request.body())
    except ValidationError as error:
        raise FormInvalid("This is no passkey's answer.", field="body", remedy="Open the page again.") from error


def options_of(ceremony: Ceremony) -> Response:
    """What a browser's script begins with."""
    return JSONResponse({"ceremony_id": ceremony.ceremony_id, "options": ceremony.options})


def _entered(access: Access, entry: Entry, response: Response) -> Response:
    access.enter(response, entry)
    return response
