"""Every part that pages are made of, on one page: for tests only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from jinja2 import ChoiceLoader, FileSystemLoader
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import Response

from models.said import said
from models.web.listing import Choice, Column, Ident, Link, Moment, State, arrange
from models.web.pages import Alarm, NavItem, Pages
from models.web.problems import PageProblem, install_problem_pages

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
AT = 1_790_000_000
NOON = datetime(2026, 9, 22, 4, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A row of the gallery's table."""

    name: str
    state: str
    at: int | None
    amount: float | None


COLUMNS = (
    Column[Row]("name", "Party", lambda row: Link(row.name, f"/gallery/{row.name}"), key=lambda row: row.name),
    Column[Row]("state", "State", lambda row: State(row.state), key=lambda row: row.state),
    Column[Row]("at", "Time", lambda row: Moment(row.at), key=lambda row: row.at, first="desc"),
    Column[Row]("amount", "Number", lambda row: row.amount, key=lambda row: row.amount, numeric=True, first="desc"),
    Column[Row]("id", "Code", lambda row: Ident("0123456789abcdef" + row.name)),
)
STATE = Choice("state", "State", (("succeeded", "succeeded"), ("failed", "failed"), ("running", "running")))


def rows(word: str, count: int) -> list[Row]:
    """Rows in which every text is `word`."""
    states = ("succeeded", "failed", "running")
    return [
        Row(f"{word} {n}", states[n % 3], None if n % 7 == 0 else AT + 3600 * n, None if n % 5 == 0 else 1234.5 * n)
        for n in range(count)
    ]


class RefusedError(Exception):
    """An error that the gallery's application answers as problem details."""


def _alarms(word: str) -> list[Alarm]:
    return [Alarm(said("Checkpoint {word} was refused", word=word), word, "/gallery", word, NOON), Alarm(word)]


def create_gallery(word: str = "银行 Bank", *, alarms: bool = True, count: int = 120) -> FastAPI:
    """Make an application whose pages hold `word` wherever a page shows what it was given."""
    pages = Pages(
        "models.web",
        title=word,
        alarms=lambda: _alarms(word) if alarms else [],
        nav=[
            NavItem("Search", "/gallery", order=1),
            NavItem(word, "/gallery/other", order=2),
            NavItem("Code", "/elsewhere"),
            NavItem("Party", "/gallery/owners", frozenset({"owner"}), order=3),
        ],
    )
    own = FileSystemLoader(Path(__file__).parent / "web" / "templates")
    assert isinstance(pages.environment.loader, ChoiceLoader)
    pages.environment.loader.loaders = [own, *pages.environment.loader.loaders]
    app = FastAPI()

    async def refused(_request: Request, _error: Exception) -> Response:
        body = {"title": "Not found", "code": "signature-invalid", "detail": word, "remedy": word, "field": word}
        return JSONResponse(body, 422, media_type="application/problem+json", headers={"Retry-After": "7"})

    app.add_exception_handler(RefusedError, refused)
    install_problem_pages(app, pages)

    @app.get("/gallery")
    def gallery(request: Request) -> Response:
        request.state.person = SimpleNamespace(name=word, roles=frozenset({"owner"}))
        request.state.csrf_token = word
        return pages.render(
            request,
            "gallery.html.j2",
            word=word,
            at=AT,
            listing=arrange(
                rows(word, count),
                COLUMNS,
                request.query_params,
                text=lambda row: (row.name,),
                choices={STATE: lambda row, value: row.state == value},
                page_size=12,
            ),
            nothing=arrange([], COLUMNS, request.query_params, prefix="n_"),
            refusal=PageProblem(word, word, word, word, word, word, word),
            told=said("Waits for {word}", word=word),
        )

    turns: dict[str, int] = {}

    @app.get("/live/{mode}")
    def live(request: Request, mode: str) -> Response:
        """A part that counts; `ends` after three turns, `breaks` after the first, `goes-on`."""
        turns[mode] = turns.get(mode, 0) + 1
        if mode == "breaks" and turns[mode] > 1:
            raise RefusedError
        going = mode != "ends" or turns[mode] < 4
        return pages.render(request, "live.html.j2", turn=turns[mode], going=going)

    @app.get("/refused")
    def refuse() -> None:
        raise RefusedError

    @app.get("/v1/refused")
    def refuse_api() -> None:
        raise RefusedError

    async def secured(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = CSP
        return response

    pages.install(app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=secured)
    return app
