"""Logs of a process: to standard error, one event a line, as JSON or for persons, and nobody's data (`log_guard`)."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict

from models.ops import log_guard, trace_context
from models.ops.metrics import LOG_EVENTS

Level = Literal["debug", "info", "warning", "error"]
_WORDY = {
    # They print addresses and paths of requests, or whole messages and statements.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "websockets": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "uvicorn.error": logging.WARNING,  # it tells the path of every WebSocket
    "sqlalchemy.engine": logging.CRITICAL,
    "alembic": logging.WARNING,
    "multipart": logging.WARNING,
    "python_multipart": logging.WARNING,
    "asyncio": logging.WARNING,
    "urllib3": logging.WARNING,
}


class LogOutput(BaseModel):
    """How a process logs.

    Attributes:
        format: `json`, one object a line, or `console`, for persons.
        level: the least that is logged.
        requests: a line for every request that was answered, too; without it only for those that failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["json", "console"] = "json"
    level: Level = "info"
    requests: bool = False


def _counted(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    LOG_EVENTS.labels(str(event.get("level", "info"))).inc()
    return event


def _shared() -> list[structlog.types.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        trace_context.add_request_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def bridge_logs(*, cached: bool = False) -> None:
    """Have structlog's events go the way of the standard library's, whose handlers decide where to."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=cached,
    )


def make_handler(output: LogOutput) -> logging.Handler:
    """A handler that writes guarded lines to standard error."""
    console = output.format == "console"
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _counted,
                log_guard.failures,
                log_guard.guard,
                renderer,
            ],
        )
    )
    return handler


def configure_logs(output: LogOutput) -> None:
    """Send all logs of this process, the libraries' too, to standard error."""
    bridge_logs(cached=True)
    root = logging.getLogger()
    root.handlers[:] = [make_handler(output)]
    root.setLevel(output.level.upper())
    logging.captureWarnings(True)
    for name, least in _WORDY.items():
        logging.getLogger(name).setLevel(least)


def quiet_logs() -> None:
    """For commands that talk to a person: warnings and worse to standard error, never to standard output."""
    bridge_logs()
    root = logging.getLogger()
    root.handlers[:] = [make_handler(LogOutput(format="console"))]
    root.setLevel(logging.WARNING)


def elapsed_ms(started: float) -> float:
    """Milliseconds since a `time.perf_counter()`."""
    return round((time.perf_counter() - started) * 1000, 1)
