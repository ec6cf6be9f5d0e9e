"""Which request this is about: one id from the first who asked, over hub and nodes, and back (W3C Trace Context).

It stands in every line of the logs as `request_id`, in every answer as `X-Request-Id`, and goes along as `traceparent`
with requests over HTTP and with frames. It is random and says nothing; where traces are recorded
(`models.ops.tracing`), theirs is the same.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

HEADER = "traceparent"
_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A request, and the step of it that is under way; hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool = False

    @property
    def header(self) -> str:
        """As it travels."""
        return f"00-{self.trace_id}-{self.span_id}-0{int(self.sampled)}"

    @classmethod
    def parse(cls, header: str | None) -> TraceContext | None:
        """Read what came; None for anything but the one form."""
        found = _FORM.fullmatch(header or "")
        if found is None or found[1] == _NO_TRACE or found[2] == _NO_SPAN:
            return None
        return cls(found[1], found[2], found[3] == "1")

    @classmethod
    def fresh(cls) -> TraceContext:
        """A request that begins here."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))


_CURRENT: ContextVar[TraceContext | None] = ContextVar("digua_trace", default=None)


def current() -> TraceContext | None:
    """The request that is worked on, if it is one."""
    return _CURRENT.get()


def outgoing() -> str | None:
    """What goes along with a message to another party or process."""
    found = _CURRENT.get()
    return None if found is None else found.header


@contextmanager
def carrying(context: TraceContext | None) -> Iterator[TraceContext | None]:
    """Work on this request inside the block, in its tasks and threads too."""
    before = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(before)


def add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the request's id on every line about it."""
    found = _CURRENT.get()
    if found is not None:
        event.setdefault("request_id", found.trace_id)
    return event
