"""Serving: uvicorn from Python, logs as JSON lines without payloads."""

from __future__ import annotations

import logging
import signal
import sys

import structlog
import uvicorn

from hub.app import create_app
from hub.link import WS_MAX_BYTES
from hub.services import Hub
from models.web.headers import proxy_options

STOP_S = 15


def configure_logging(level: int = logging.INFO) -> None:
    """Send structlog's and the libraries' records to standard error as one JSON object a line."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # They print addresses and paths of requests, or whole messages.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def serve(hub: Hub) -> None:
    """Serve until SIGINT or SIGTERM; from the main thread."""
    listen, tls = hub.config.listen, hub.config.tls
    config = uvicorn.Config(
        create_app(hub),
        host=listen.host,
        port=listen.port,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        ws="websockets-sansio",
        ws_max_size=WS_MAX_BYTES,
        access_log=False,
        log_config=None,
        server_header=False,
        **proxy_options(listen.believed),
        timeout_graceful_shutdown=STOP_S,
        lifespan="on",
    )
    # Uvicorn shuts down on these and raises them again afterwards; then they must not end us before we have closed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run()
