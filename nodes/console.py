"""What the node says to persons: tables, JSON, and every error as one clear block, in Chinese or English."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ParamSpec

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from crypto.errors import CryptoError
from models.errors import ModelsError
from models.i18n import catalogue, language_from_env, title_of
from models.said import Said
from nodes.errors import NodeError, PeerError, PolicyRefusal, SourceError

P = ParamSpec("P")

REFUSED, WRONG_USAGE = 1, 2
LANGUAGE_VARIABLE = "DIGUA_LANG"
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON. 输出 JSON。")]


@contextmanager
def speaking(lang: str | None) -> Iterator[None]:
    """Say everything in this language within the block; None leaves it to the environment."""
    before = os.environ.get(LANGUAGE_VARIABLE)
    if lang is not None:
        os.environ[LANGUAGE_VARIABLE] = lang
    try:
        yield
    finally:
        if lang is not None and before is None:
            del os.environ[LANGUAGE_VARIABLE]
        elif before is not None:
            os.environ[LANGUAGE_VARIABLE] = before


def say(text: str, **params: object) -> str:
    """A text of this package in the user's language."""
    return catalogue("nodes").translate(language_from_env(), text, **params)


def tell(text: Said) -> str:
    """A text of this package or of the models, in the user's language."""
    params = {name: tell(value) if isinstance(value, Said) else value for name, value in text.params.items()}
    lang = language_from_env()
    found = catalogue("nodes") if catalogue("nodes").has(lang, text.text) else catalogue("models")
    return found.translate(lang, text.text, **params)


def out() -> Console:
    """Standard output. Made anew each time, so that a redirected stream is respected."""
    return Console()


def err() -> Console:
    """Standard error."""
    return Console(stderr=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with translated headings; cells are printed as they are."""
    # no lines between columns: names are not broken at eighty columns
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        table.add_column(say(column), justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out().print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Name and value, a line each; values in full, for copying."""
    width = max(cell_len(say(name)) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{set_cell_size(say(name), width)}  {value}")


def print_error(error: BaseException, *, as_json: bool = False) -> None:
    """An error on standard error: code, what, field, remedy; never a traceback."""
    facts = describe(error)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False), err=True)
        return
    lines = Text()
    for name in ("what", "party", "field", "remedy"):
        if facts.get(name):
            lines.append(f"{say(name)}: ", style="bold").append(f"{facts[name]}\n")
    title = f"{facts['code']} · {facts['title']}" if facts.get("title") else str(facts["code"])
    lines.rstrip()
    err().print(Panel(lines, title=Text(title), title_align="left", border_style="red"))


def describe(error: BaseException) -> dict[str, str | None]:
    """An error's parts, in the user's language where there is a text for them."""
    if not isinstance(error, (CryptoError, ModelsError, NodeError)):
        code, what = "node-failed", f"{type(error).__name__}: {error}"
        remedy = say("this is a fault of the software: run it again with DIGUA_DEBUG=1 and report what it prints")
        return {"code": code, "title": _title(code), "what": what, "field": None, "remedy": remedy, "party": None}
    code, party = error.code, None
    if isinstance(error, PeerError):
        code, party = error.peer_code or code, error.party
    elif isinstance(error, PolicyRefusal):
        code = error.reason
    return {
        "code": code,
        "title": _title(code) or _title(error.code),
        "what": "\n".join(map(tell, error.lines)) if isinstance(error, SourceError) else error.message,
        "field": error.field,
        "remedy": _remedy(error),
        "party": party,
    }


def _remedy(error: CryptoError | ModelsError | NodeError) -> str | None:
    if isinstance(error, SourceError) and error.said_remedy is not None:
        return tell(error.said_remedy)
    return say(error.remedy) if error.remedy else None


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Print a command's error as one block and exit with 1; `as_json` of the command decides the form."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if os.environ.get("DIGUA_DEBUG"):
                raise
            print_error(error, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(REFUSED) from error

    return run


def _title(code: str) -> str | None:
    return title_of(code, language_from_env(), catalogue("nodes"))
