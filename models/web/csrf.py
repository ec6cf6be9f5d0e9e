"""Forms count only from a page of ours, in the browser's own session.

Three checks, each of which suffices against most attacks: the cookie is SameSite=Strict; the browser's own word on
where the request comes from (Sec-Fetch-Site, Origin) has to be this site; and the form carries a token made from the
session's id under the site's key, which no other site, and no other session, can know.
"""

from __future__ import annotations

from starlette.requests import Request

from models.web.errors import ForgedForm
from models.web.site import PageSite
from models.web.vault import Vault

FIELD = "csrf_token"
HEADER = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def form_token(vault: Vault, cookie: str) -> str:
    """The token that belongs to a browser's cookie."""
    return vault.sign("form", cookie)


def check_origin(request: Request, site: PageSite) -> None:
    """ForgedForm where the browser says that the request comes from elsewhere, or does not say where from."""
    fetched, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = origin is not None and site.serves(origin)
    if fetched is None:
        trusted = ours  # a browser from before 2023 says its Origin with every POST
    else:
        # `null` is what a browser says for its own site's forms under a strict referrer policy; a page elsewhere cannot
        # bring it together with `same-origin`.
        trusted = fetched == "same-origin" and (ours or origin in (None, "null"))
    if not trusted:
        raise _forged()


async def check_form(request: Request, vault: Vault, cookie: str) -> None:
    """ForgedForm where the form, or the header of a script's request, lacks the cookie's token."""
    given: object = request.headers.get(HEADER)
    if given is None and request.headers.get("content-type", "").partition(";")[0].strip().lower() in _FORMS:
        given = (await request.form()).get(FIELD)
    if not isinstance(given, str) or not vault.signed("form", cookie, given):
        raise _forged()


def _forged() -> ForgedForm:
    return ForgedForm(
        "This form does not come from a page of this site in your session.",
        field=FIELD,
        remedy="Open the page again and send the form from there.",
    )
