"""What the hub's command line shows: tables and sentences for persons, JSON for programs, errors as one block."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from crypto.errors import CryptoError
from hub.errors import HubError, RequestError
from hub.problems import describe
from models.errors import ModelsError
from models.i18n import catalogue, language_from_env

KnownError = HubError | CryptoError | ModelsError
KNOWN_ERRORS = (HubError, CryptoError, ModelsError)


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
