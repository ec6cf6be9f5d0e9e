"""Pages: templates in the reader's language, with what every page shows, and the files they need.

All values are escaped; texts are message ids that catalogues translate. Pages hold no script and no style of their own,
as the content security policy allows none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from models.i18n import Catalogue, Language, catalogue
from models.said import Said
from models.web import formats
from models.web.language import LanguageMiddleware, address_in, language_of_reader
from models.web.listing import Ident, Link, Moment, State, Term

TAGS: Mapping[Language, str] = {"zh": "zh-Hans", "en": "en"}


@dataclass(frozen=True)
class NavItem:
    """A place in the navigation.

    Attributes:
        text: message id.
        path: where it leads; its first part, e.g. ``/operator``, is its area.
        roles: whose navigation it is in; without any, everyone's who is in its area.
        order: small ones first.
    """

    text: str
    path: str
    roles: frozenset[str] = frozenset()
    order: int = 50


@dataclass(frozen=True)
class Alarm:
    """What every page says at its top until it is mended; texts are message ids or said.

    Attributes:
        text: what is wrong, in a few words.
        remedy: what to do.
        href: where more is told.
        detail: what is wrong, with numbers.
        since: when it began.
    """

    text: str | Said
    remedy: str | Said | None = None
    href: str | None = None
    detail: str | Said | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class _Voice:
    """Who reads the page that is being made."""

    lang: Language
    catalogues: tuple[Catalogue, ...]
    csrf_token: str


_voice: ContextVar[_Voice] = ContextVar("voice")


@dataclass
class Pages:
    """The pages of one application.

    Attributes:
        package: whose ``templates``, ``static`` and catalogue are used, e.g. ``"hub.web"``, before those shared.
        title: the application's name on every page, e.g. the hub's id.
        alarms: what is wrong now; asked for every page.
        nav: the places of the navigation; page modules add theirs.
    """

    package: str
    title: str = ""
    alarms: Callable[[], Sequence[Alarm]] = tuple
    nav: list[NavItem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.package.partition(".")[0]
        self.catalogues = tuple(catalogue(each) for each in dict.fromkeys((self.name, "models")))
        self.environment = make_environment(self.package)

    def render(
        self, request: Request, template: str, status_code: int = 200, *, anew: str | None = None, **context: Any
    ) -> HTMLResponse:
        """Make a page.

        Args:
            request: whose reader's language, person and form token are used: ``request.state.person`` and
                ``request.state.csrf_token``, which the access layer sets.
            template: below the package's ``templates``, or ``web/…`` of the shared ones.
            anew: where the page can be opened anew, if that is not the address of the form that brought it.
            context: what the template names; a missing name is an error.
        """
        language = language_of_reader(request)
        url = request.url if anew is None else request.url.replace(path=anew, query="")
        person = getattr(request.state, "person", None)
        token = _voice.set(_Voice(language, self.catalogues, getattr(request.state, "csrf_token", "")))
        try:
            text = self.environment.get_template(template).render(
                request=request,
                lang=language,
                html_lang=TAGS[language],
                path=url.path,
                languages={each: address_in(url, each) for each in TAGS},
                person=person,
                nav=self.nav_for(url.path, person),
                alarms=self.alarms(),
                app_title=self.title,
                **context,
            )
        finally:
            _voice.reset(token)
        headers = {"Content-Language": TAGS[language], "Vary": "Cookie", "Cache-Control": "no-store"}
        return HTMLResponse(text, status_code, headers=headers)

    def nav_for(self, path: str, person: object) -> list[NavItem]:
        """Return the navigation of a person on a page; nobody signed in sees the places open to all in its area."""
        roles = {str(role) for role in getattr(person, "roles", ())}
        area = "/" + path.strip("/").partition("/")[0]
        found = [
            item
            for item in self.nav
            if (roles & item.roles if item.roles else (item.path + "/").startswith(area + "/"))
        ]
        return sorted(found, key=lambda item: item.order)

    def translate(self, request: Request, text: str | Said, **params: object) -> str:
        """Return a text in the reader's language, for answers that are not pages."""
        voice = _Voice(language_of_reader(request), self.catalogues, "")
        return _translated(voice, text, params, str)

    def install(self, app: FastAPI) -> None:
        """Serve the static files under ``/static`` and the choice of a language; `app.state.pages` is this."""
        app.state.pages = self
        for package, name in (("models.web", "web"), (self.package, self.name)):
            if resources.files(package).joinpath("static").is_dir():
                app.mount(f"/static/{name}", _Static(package), name=f"static-{name}")
        app.add_middleware(LanguageMiddleware)


def pages_of(request: Request) -> Pages:
    """Return the pages of the application that serves a request."""
    pages: Pages = request.app.state.pages
    return pages


PagesOf = Annotated[Pages, Depends(pages_of)]


def make_environment(package: str) -> Environment:
    """Return the environment of templates: the package's own before the shared ones, everything escaped."""
    own = [PackageLoader(package)] if resources.files(package).joinpath("templates").is_dir() else []
    environment = Environment(
        loader=ChoiceLoader([*own, PackageLoader("models.web")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update({"_": _say, "ngettext": _say_plural, "csrf_token": _csrf_token})
    environment.filters.update(
        {
            "moment": formats.moment,
            "day": formats.day,
            "number": formats.number,
            "percent": formats.percent,
            "significant": formats.significant,
            "short": formats.short,
            "tone": formats.tone_of,
            "coded": formats.coded,
            "cell": _cell,
        }
    )
    return environment


def _say(text: str | Said, **params: object) -> Markup:
    """Translate a text and fill its places, each escaped unless it is markup itself."""
    return Markup(_translated(_voice.get(), text, params, escape))  # noqa: S704 - all is escaped


def _say_plural(singular: str, plural: str, n: int, **params: object) -> Markup:
    """Translate a text that goes by a number, which is its place ``{n}``."""
    voice = _voice.get()
    own = (singular, plural)
    texts = (each.plural(voice.lang, singular, plural, n) for each in voice.catalogues)
    found = next((text for text in texts if text not in own), singular if n == 1 else plural)
    return Markup(_filled(found, {"n": formats.number(n), **params}, voice, escape))  # noqa: S704 - all is escaped


def _translated(voice: _Voice, text: str | Said, params: Mapping[str, object], safe: Callable[[object], str]) -> str:
    if isinstance(text, Said):
        return _translated(voice, text.text, {**text.params, **params}, safe)
    found = next((each.translate(voice.lang, text) for each in voice.catalogues if each.has(voice.lang, text)), text)
    return _filled(found, params, voice, safe)


def _filled(text: str, params: Mapping[str, object], voice: _Voice, safe: Callable[[object], str]) -> str:
    if not params:
        return safe(text)
    filled = {
        name: _translated(voice, value, {}, safe) if isinstance(value, Said) else safe(value)
        for name, value in params.items()
    }
    return str(safe(text)).format_map(_Kept(filled))


@pass_context  # so that no template is compiled with a cell in one reader's language
def _cell(_context: Context, value: object) -> Markup:
    """A cell of a table as markup: texts escaped, numbers with separators, the kinds of `models.web.listing`."""
    if value is None or value == "":
        return escape(formats.DASH)
    if isinstance(value, Link):
        return Markup('<a href="{}">{}</a>').format(value.href, value.text)
    if isinstance(value, State):
        tone = value.tone or formats.tone_of(value.name)
        return Markup('<span class="badge {}">{}</span>').format(tone, _say(value.name))
    if isinstance(value, Moment):
        return formats.moment(value.at, value.seconds)
    if isinstance(value, (Term, Said)):
        return _say(value.text if isinstance(value, Term) else value)
    if isinstance(value, Ident):
        shown = formats.short(value.value)
        return shown if value.href is None else Markup('<a href="{}">{}</a>').format(value.href, shown)
    if isinstance(value, bool):
        return _say("yes" if value else "no")
    if isinstance(value, int):
        return escape(formats.number(value))
    if isinstance(value, float):
        return escape(formats.significant(value))
    return escape(value)


def _csrf_token() -> str:
    return _voice.get().csrf_token


class _Kept(dict[str, object]):
    """Leaves places without a parameter as they stand."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


class _Static(StaticFiles):
    """A package's files, asked for anew each time but sent only when they changed."""

    def __init__(self, package: str) -> None:
        super().__init__(packages=[(package, "static")])

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(full_path, *args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        if Path(full_path).suffix == ".js":
            response.headers["Content-Type"] = "text/javascript; charset=utf-8"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
