"""What the hub's command line shows: tables and sentences for persons, JSON for programs, errors as one block."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from crypto.errors import CryptoError
from hub.errors import HubError, RequestError
from hub.problem_details import describe
from models.errors import ModelsError
from models.findings import Finding
from models.i18n import catalogue, language_from_env
from models.said import Said

KnownError = HubError | CryptoError | ModelsError
KNOWN_ERRORS = (HubError, CryptoError, ModelsError)
_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}


def _out() -> Console:
    """Standard output. Made anew each time, so that stream and width are those of the moment."""
    return Console(highlight=False, soft_wrap=True)


def _err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def text(msgid: str, **params: object) -> str:
    """Return a sentence in the user's language (DIGUA_LANG, LC_ALL, LANG)."""
    return catalogue("hub").translate(language_from_env(), msgid, **params)


def say(msgid: str, **params: object) -> None:
    """Print a sentence in the user's language."""
    _out().print(text(msgid, **params), markup=False)


def echo(line: str) -> None:
    """Print a sentence that is in the user's language already."""
    _out().print(line, markup=False)


def show_json(value: object) -> None:
    """Print JSON, one document on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table whose title and columns are translated."""
    table = Table(title=text(title), title_justify="left")
    for column in columns:
        table.add_column(text(column), overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    _out().print(table)


def show_lines(title: str, lines: Iterable[str], lang: str) -> None:
    """Print lines that are in a language already, under a title in that language."""
    out = _out()
    out.print(Text(catalogue("hub").translate(lang, title), style="bold"))
    for line in lines:
        out.print(Text(f"  {line}"))
    out.print()


def tell(what: Said) -> str:
    """Return a text of this package or of the models, in the user's language."""
    params = {name: tell(value) if isinstance(value, Said) else value for name, value in what.params.items()}
    lang = language_from_env()
    found = catalogue("hub") if catalogue("hub").has(lang, what.text) else catalogue("models")
    return found.translate(lang, what.text, **params)


def show_link(name: str, link: str, *, as_json: bool) -> None:
    """Write a person's one-time sign-up link to standard output: alone on its line, or as JSON."""
    if as_json:
        show_json({"name": name, "link": link, "valid_hours": 24})
        return
    say("Hand this link to {name} over a safe channel; it works once, for 24 hours:", name=name)
    sys.stdout.write(link + "\n")


def status() -> Status:
    """Return a line on standard error that says what is being done; nothing where that is no terminal."""
    return _err().status("")


def show_finding(finding: Finding) -> None:
    """Print what a check found; below it whose matter it is and what to do."""
    line = Text()
    line.append(f"{text(finding.state)}  ", style=_STYLES[finding.state])
    line.append(f"{text(finding.check)}: ", style="bold").append(tell(finding.what))
    if finding.remedy is not None and finding.state != "ok":
        line.append(f"\n    {text('Party')}: {finding.party}\n    {text('Remedy')}: {tell(finding.remedy)}")
    _out().print(line)


def finding_as_plain(finding: Finding) -> dict[str, str | None]:
    """Return a finding as JSON, its texts in the user's language."""
    return {
        "check": finding.check,
        "state": finding.state,
        "party": finding.party,
        "what": tell(finding.what),
        "remedy": None if finding.remedy is None else tell(finding.remedy),
    }


def show_error(error: KnownError, *, as_json: bool = False) -> None:
    """Print an error to standard error: title and code, what happened, the field, the remedy."""
    problem = describe(error, language_from_env())
    if as_json:
        sys.stderr.write(problem.model_dump_json(exclude_none=True) + "\n")
        return
    _err().print(f"{problem.title} [{problem.code}]", style="bold red", markup=False)
    _err().print(f"  {problem.detail}", markup=False)
    for label, value in (("Field", problem.field), ("Party", problem.party), ("Remedy", problem.remedy)):
        if value:
            _err().print(f"  {text(label)}: {value}", markup=False)


def encode_key(key: bytes) -> str:
    """Return a public key as it is written on command lines: base64url without padding."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def decode_key(value: str, option: str) -> bytes:
    """Read a public key of 32 bytes from base64url (or base64), padded or not; RequestError otherwise."""
    plain = value.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise RequestError(
            f"{option} is not the base64url of 32 bytes.",
            field=option,
            remedy="Copy the key as `init` printed it, 43 characters.",
        )
    return key
