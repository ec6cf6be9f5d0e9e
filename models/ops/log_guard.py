"""What may stand in a log: known fields with bounded values, texts without identifiers, failures without their data.

P1  A field that is not in `FIELDS` is withheld: whoever logs something new says here that it is nobody's data.
P2  Texts lose whatever looks like an identifier, a pseudonym, a telephone number, a token, a key or raw bytes.
P3  Of a failure, the places in the code and the kinds stay. Its words stay only where they are our own or the system's:
    those of libraries quote the values that they failed on.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

from models.errors import ModelsError

WITHHELD = "[withheld]"
NAMES = frozenset(
    {
        "level", "logger", "timestamp", "request_id", "span_id", "support_id",
        "campaign", "attempt", "model", "batch", "run", "party", "code", "command", "pid", "type", "kind", "method",
        "path", "status", "at", "item", "phase", "instance", "machine",
    }
)  # fmt: skip
"""Fields whose values are names and codes of ours: they stay as they are."""
TEXTS = frozenset({"event", "reason", "remedy", "what", "withheld"})
"""Fields that hold sentences (P2)."""
NUMBERS = frozenset(
    {"again_in_s", "let_in", "let_go", "entries", "count", "done", "of", "left", "ms", "seq", "port", "size"}
)
FIELDS = NAMES | TEXTS | NUMBERS
_FAILURE = "exception"

_PLACES = r"[A-Za-z0-9_-]"
_PATTERNS = (
    re.compile(rf"(?<!{_PLACES})eyJ{_PLACES}+(?:\.{_PLACES}*){{1,4}}"),  # compact JWS
    re.compile(r"(?<![A-Za-z])(?:Bearer|Digua|Basic)\s+\S+"),
    re.compile(r"""(?<![A-Za-z0-9])b(['"]).*?(?<!\\)\1""", re.DOTALL),  # bytes as Python prints them
    re.compile(r"(?:\\x[0-9a-fA-F]{2}){2,}"),  # bytea
    re.compile(r"(?<!sha256:)(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])"),  # pseudonyms, consent ids, hashes
    re.compile(rf"(?<!sha256:)(?<!{_PLACES}){_PLACES}{{40,}}=?(?!{_PLACES})"),  # 30 bytes and more in base64url
    re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{22,}={1,2}"),  # base64 with its padding
    re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{17}[0-9A-Za-z](?![0-9A-Za-z])"),  # GB 32100, GB 11643
    re.compile(r"(?<!\d)\d{15}(?!\d)"),  # resident identity numbers of before 1999
    re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d{9}(?!\d)"),  # mobile telephones
    re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"),
    re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*@"),  # names and passwords in addresses
)
_FROM_DATABASE = frozenset({"sqlalchemy.exc.OperationalError", "sqlalchemy.exc.InterfaceError"})
"""A full disk, a server that is gone: no values in them. By name, as commands that need no database load none."""
_HOME = Path(__file__).parents[2]


class _Told(str):
    """What `failures` made: places in the code stay whole, and their words are scrubbed already."""

    __slots__ = ()


def scrubbed(text: str) -> str:
    """P2: the text without what could tell of a person."""
    for pattern in _PATTERNS:
        text = pattern.sub(WITHHELD, text)
    return text


def guard(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """P1, P2 as a structlog processor, the last before the renderer."""
    unknown = sorted(name for name in event if not _may_stand(name, event[name]))
    for name in unknown:
        del event[name]
    if unknown:
        event["withheld"] = ",".join(unknown)
    for name, value in event.items():
        if name in TEXTS:
            event[name] = scrubbed(str(value))
        elif name in NAMES and not isinstance(value, int | None):
            event[name] = str(value)[:200]
        elif name in NUMBERS and not isinstance(value, int | float):
            event[name] = WITHHELD
    return event


def _may_stand(name: str, value: object) -> bool:
    return name in FIELDS or name.startswith("_") or (name == _FAILURE and isinstance(value, _Told))


def failures(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """P3 as a structlog processor, in the place of `format_exc_info`."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    if isinstance(error, BaseException):
        event[_FAILURE] = _Told("\n".join(told(error)))
    return event


def told(error: BaseException) -> Iterator[str]:
    """P3: lines about a failure and what caused it, the cause first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from told(cause)
    yield from (f"  {place}" for place in _places(error.__traceback__))
    words = scrubbed(_words(error))
    yield f"{type(error).__module__}.{type(error).__qualname__}{': ' if words else ''}{words}"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from told(each)


def _places(trace: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace):
        path = Path(frame.filename)
        shown = path.relative_to(_HOME) if path.is_relative_to(_HOME) else Path(*path.parts[-3:])
        yield f"{shown}:{frame.lineno} {frame.name}"


def _words(error: BaseException) -> str:
    if isinstance(error, ModelsError) or (hasattr(error, "code") and hasattr(error, "message")):
        return f"{getattr(error, 'code', '')}: {getattr(error, 'message', '')}"
    if isinstance(error, OSError):
        return error.strerror or ""
    if _FROM_DATABASE & {f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__}:
        return str(getattr(error, "orig", ""))
    return ""
